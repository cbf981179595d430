#!/usr/bin/env bash
# What the main paths cost in instructions (valgrind's callgrind, bench/paths.c), against what is recorded in bench/costs.txt for
# this compiler, within 5 %. A compiler that has no record is told so, and passes. --record writes what was measured.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh
. scripts/instructions.sh

[[ ${1---record} == --record ]] || { echo "$0: \"$1\": expected --record" >&2; exit 2; }
(($# < 2)) || { echo "$0: \"$2\": expected no further argument" >&2; exit 2; }
costs=bench/costs.txt build=build/cost
need_packages $build_packages valgrind
{
	cmake --preset release -DEXECUTORS_TESTS=OFF -DEXECUTORS_EXAMPLES=OFF -B $build
	cmake --build $build -j "$(nproc)" --target paths
} >&2
cc=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' $build/CMakeCache.txt)
compiler=$("$cc" --version | sed -nE '1s/^([a-z]+).* ([0-9.]+)$/\1-\2/p')-$(uname -m)
paths=$build/bench/paths

passed=0 failed=0 measured=()
for name in $("$paths"); do
	now=$(instructions "$paths" "$name")
	measured+=("$compiler $name $now")
	before=$(awk -v c="$compiler" -v n="$name" '$1 == c && $2 == n { print $3 }' $costs)
	if [[ -z $before ]]; then
		echo "$name: $now instructions; nothing is recorded for $compiler"
	elif ((now * 100 > before * 105)); then
		echo "$name: $now instructions, recorded are $before"
		failed=$((failed + 1))
		continue
	else
		echo "$name: $now instructions ($before)"
	fi
	passed=$((passed + 1))
done
if (($#)); then
	{ grep -v "^$compiler " $costs || true; printf '%s\n' "${measured[@]}"; } >$build/costs && mv $build/costs $costs
fi
echo "$passed passed, $failed failed"
((failed == 0))

#!/usr/bin/env bash
# Each fuzzer of tests/fuzz (NAME_fuzz.c, libFuzzer) under ASan and UBSan: first what is kept in tests/fuzz/corpus/NAME, then new inputs for
# some time. An input that fails is left in build/fuzz. The last line counts the two of each fuzzer.
#   tests/check_fuzz.sh [SECONDS [--merge]]   20 s for each; --merge: what is new and reaches more is kept (to be committed)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. scripts/packages.sh

seconds=${1:-20} merge=${2-}
refuse() { echo "$0: \"$1\": expected $2" >&2; exit 2; }
[[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || refuse "$seconds" "a number of seconds, from 1 to 999999"
[[ ! $merge || $merge == --merge ]] || refuse "$merge" "--merge"
(($# < 3)) || refuse "$3" "no further argument"
need_packages clang libclang-rt-14-dev || exit 1
command -v clang >/dev/null || { echo "there is no clang"; echo "0 passed, 1 failed"; exit 1; }

passed=0 failed=0
build=build/fuzz
mkdir -p $build/objects
flags=(-std=c11 -g -O1 -Iinclude -Isrc -DEXSI_BUILDING -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1

# compile SOURCE: what is fuzzed tells the fuzzer which branches were taken; the rest of the library is only checked.
compile() {
	local object=$build/objects/${1//\//_}.o more=()
	[[ $1 != src/process/* && $1 != src/base/bytes.c ]] || more=(-fsanitize=fuzzer-no-link)
	clang "${flags[@]}" "${more[@]}" -c "$1" -o "$object"
}

# count NAME STATUS: of one step.
count() {
	if (($2 == 0)); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	echo "== $1: $( (($2 == 0)) && echo passed || echo failed)"
}

fuzz() {
	local name=$1 program=$build/$1 corpus=tests/fuzz/corpus/$1 found=$build/found/$1 status
	local run=("$program" -timeout=20 -rss_limit_mb=1024 -artifact_prefix="$build/$1-")
	clang "${flags[@]}" -fsanitize=fuzzer "tests/fuzz/$1_fuzz.c" $build/objects/*.o -o "$program" -lpthread -lm
	status=$?
	((status == 0)) && [[ $(find "$corpus" -type f 2>/dev/null) ]] && "${run[@]}" -runs=0 "$corpus"
	count "$name, corpus" $?
	mkdir -p "$found"
	((status == 0)) && "${run[@]}" -max_total_time="$seconds" -print_final_stats=1 -max_len=4096 "$found" "$corpus"
	count "$name, $seconds s" $?
	[[ ! $merge ]] || "${run[@]}" -merge=1 "$corpus" "$found"
}

rm -f $build/objects/*.o
mapfile -t sources < <(find src -path src/http -prune -o -path src/nats -prune -o -name '*.c' -print)
running=0 built=0
for source in "${sources[@]}"; do
	((running++ < $(nproc))) || { wait -n || built=1; }
	compile "$source" &
done
while ((running-- > 0)); do wait -n 2>/dev/null; status=$?; ((status == 0 || status == 127)) || built=1; done
((built == 0)) || { echo "the library could not be built"; echo "0 passed, 1 failed"; exit 1; }
for source in tests/fuzz/*_fuzz.c; do
	name=${source##*/}
	fuzz "${name%_fuzz.c}"
done
echo "$passed passed, $failed failed"
((failed == 0))

#!/usr/bin/env bash
# clang-tidy (.clang-tidy: size and nesting of functions, bugprone-*) over all C files but the peers' of the benchmarks, or over those
# named. With --analyze first: the analyzer's checks of memory instead, which take minutes, over src, examples and bench.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset dev >/dev/null
tool=${CLANG_TIDY:-$(command -v clang-tidy-14 || echo clang-tidy)}
checks=() out="^$PWD/bench/peers/"
[[ ${1:-} != --analyze ]] || { checks=(--checks='-*,clang-analyzer-unix.*') out="^$PWD/(tests|bench/peers)/"; shift; }
files=("$@")
(($#)) || mapfile -t files < <(sed -nE 's/^ *"file": "(.*)",?$/\1/p' build/dev/compile_commands.json | grep -vE "$out" | sort -u)
printf '%s\0' "${files[@]}" |
	xargs -0 -n 4 -P "$(nproc)" "$tool" --quiet "${checks[@]}" -p build/dev 2> >(grep -v 'warnings\? generated' >&2)

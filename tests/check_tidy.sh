#!/usr/bin/env bash
# clang-tidy (.clang-tidy: size and nesting of functions, bugprone-*, memory) over the C files of src, examples and bench.
# tests/check_tidy.sh FILE...: over these only, the tests' own among them.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset dev >/dev/null
tool=${CLANG_TIDY:-$(command -v clang-tidy-14 || echo clang-tidy)}
files=("$@")
(($#)) || mapfile -t files < <(sed -nE 's/^ *"file": "(.*)",?$/\1/p' build/dev/compile_commands.json | grep -v "^$PWD/tests/" | sort -u)
printf '%s\0' "${files[@]}" |
	xargs -0 -n 4 -P "$(nproc)" "$tool" --quiet -p build/dev 2> >(grep -v 'warnings\? generated' >&2)

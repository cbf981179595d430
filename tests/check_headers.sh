#!/usr/bin/env bash
# Each public header (or those given) compiles alone, as C11 and as C++17.
set -euo pipefail
cd "$(dirname "$0")/.."
warnings=(-Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only -I include)
status=0
(($#)) || set -- include/executors/*.h
for header; do
	name=executors/${header##*/}
	"${CC:-cc}" -std=c11 "${warnings[@]}" -x c - <<<"#include <$name>" || { echo "$name: not C11"; status=1; }
	"${CXX:-c++}" -std=c++17 "${warnings[@]}" -x c++ - <<<"#include <$name>" || { echo "$name: not C++17"; status=1; }
done
exit $status

#!/usr/bin/env bash
# The layout of all C files is clang-format's (.clang-format; version 14). "tests/check_format.sh --fix" applies it.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=${CLANG_FORMAT:-$(command -v clang-format-14 || echo clang-format)}
mode=(--dry-run -Werror)
[[ ${1-} != --fix ]] || mode=(-i)
find include src tests examples bench -name '*.[ch]' -print0 | xargs -0 "$tool" "${mode[@]}"

#!/usr/bin/env bash
# The symbols that a shared library exports are those that its public headers declare. Builds build/dev if need be.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset dev >/dev/null
targets=(executors)
[[ ! -e include/executors/http.h ]] || targets+=(executors_http)
cmake --build build/dev -j "$(nproc)" --target "${targets[@]}" >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# declared HEADER...: functions by gcc's own list of prototypes (NC: declared, not defined), objects by their "extern".
declared() {
	local header
	for header; do
		gcc -std=c11 -I include -fsyntax-only -aux-info "$work/list" -x c "$header"
		# A function that answers a function is put in parentheses there: f (*name (...)).
		sed -nE "s/ \(\*([a-z_0-9]+ \()/ *\1/; s|^/\* $header:[0-9]+:NC \*/ [^(]*[ *]([a-z_0-9]+) \(.*|\1|p" "$work/list"
		sed -nE 's/^EXS_API extern .*[ *]([a-z_0-9]+)(\[[^]]*\])*;.*/\1/p' "$header"
	done | sort -u
}

# compare LIBRARY HEADER...
compare() {
	local library=$1
	shift
	declared "$@" >"$work/declared"
	nm -D --defined-only "$library" | awk '{ print $3 }' | sort -u >"$work/exported"
	[[ -s $work/declared ]] || { echo "no declarations found for $library"; status=1; }
	comm -23 "$work/declared" "$work/exported" | sed "s|$| is declared, but ${library##*/} does not export it|" >"$work/diff"
	comm -13 "$work/declared" "$work/exported" | sed "s|$| is exported by ${library##*/}, but not declared|" >>"$work/diff"
	[[ ! -s $work/diff ]] || { cat "$work/diff"; status=1; }
}

mapfile -t core < <(find include/executors -name '*.h' ! -name http.h)
compare build/dev/libexecutors.so "${core[@]}"
[[ ! -e include/executors/http.h ]] || compare build/dev/libexecutors-http.so include/executors/http.h
exit $status

#!/usr/bin/env bash
# Tables of another project's tests and of our counterparts, in tests/*.md: under the line
#   | their test | ours | note |
# each row names one test of theirs and ours of it, suite/name, suite/name; a row without any says why in its note. Each name of
# ours is that of a test, and no test of theirs stands twice in a file.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0 rows=0
complain() {
	echo "$1"
	status=1
}

declare -A tests
while read -r name; do
	tests[$name]=1
done < <(sed -nE 's/^TEST\(([a-z0-9_]+), *([a-z0-9_]+)\).*/\1\/\2/p; s/^OVER_CHAINS\(([a-z0-9_]+)\).*/conformance\/\1/p' tests/*.c)

trim() {
	local text=${1//\`/}
	text=${text#"${text%%[! ]*}"}
	echo "${text%"${text##*[! ]}"}"
}

for file in tests/*.md; do
	[[ -e $file ]] || continue
	declare -A seen=()
	while IFS='|' read -r _ theirs ours note _; do
		theirs=$(trim "$theirs") ours=$(trim "$ours") note=$(trim "$note")
		rows=$((rows + 1))
		[[ ! ${seen[$theirs]-} ]] || complain "$file: $theirs stands there twice"
		seen[$theirs]=1
		[[ $ours || $note ]] || complain "$file: $theirs has no counterpart, and no note says why"
		for name in ${ours//,/ }; do
			[[ ${tests[$name]-} ]] || complain "$file: $theirs: there is no test $name"
		done
	done < <(awk '/^\| their test \| ours \| note \|$/ { inside = 1; getline; next } !/^\|/ { inside = 0 } inside' "$file")
done
((rows > 0)) || complain "no table of tests was found in tests/*.md"
exit $status

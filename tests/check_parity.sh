#!/usr/bin/env bash
# Tables of another project's tests and of our counterparts, in tests/*.md: under the line
#   | theirs | ours | note |
# each row names one test of theirs, and ours of it: suite/name, suite/name. Each of these exists; a row without any says why in its
# note; no test of theirs stands twice in a table. A suite that is only there for a table is named there whole, test by test.
set -euo pipefail
cd "$(dirname "$0")/.."
declare -A suites=([more_executors]=more_ [concurrent_futures]=cf_) # FILE: the beginning of their names
status=0
complain() {
	echo "$1"
	status=1
}

declare -A tests
while read -r name; do
	tests[$name]=1
done < <(sed -nE 's/^(TEST|OVER_MATRIX)\(([a-z0-9_]+), *([a-z0-9_]+)\).*/\2\/\3/p; s/^OVER_CHAINS\(([a-z0-9_]+)\).*/conformance\/\1/p' tests/*.c)

trim() {
	local text=${1//\`/}
	text=${text#"${text%%[! ]*}"}
	echo "${text%"${text##*[! ]}"}"
}

for file in tests/*.md; do
	grep -qx '| theirs | ours | note |' "$file" || continue
	rows=0 page=${file#tests/}
	declare -A seen=() named=()
	while IFS='|' read -r _ theirs ours note _; do
		[[ $theirs != theirs ]] || { seen=(); continue; } # another table begins
		theirs=$(trim "$theirs") ours=$(trim "$ours") note=$(trim "$note")
		rows=$((rows + 1))
		[[ ! ${seen[$theirs]-} ]] || complain "$page: $theirs stands there twice"
		seen[$theirs]=1
		[[ $ours || $note ]] || complain "$page: $theirs has no counterpart, and no note says why"
		for name in ${ours//,/ }; do
			named[$name]=1
			[[ ${tests[$name]-} ]] || complain "$page: $theirs: there is no test $name"
		done
	done < <(awk '/^\| theirs \| ours \| note \|$/ { print "|theirs|"; inside = 1; getline; next } !/^\|/ { inside = 0 } inside' "$file")
	((rows > 0)) || complain "$page: there is nothing in its tables"
	own=${suites[${page%.md}]-}
	[[ $own ]] || complain "$page: check_parity.sh does not know which suites are its own"
	for name in "${!tests[@]}"; do
		[[ $name != ${own:-/}* || ${named[$name]-} ]] || complain "$page does not name $name"
	done
	unset "suites[${page%.md}]"
done
for page in "${!suites[@]}"; do
	complain "there is no table in tests/$page.md"
done
exit $status

#!/usr/bin/env bash
# tests/more_executors.md: each test of ours that it names exists, each test in the suites more_* is named there, and a row without one
# says why.
set -euo pipefail
cd "$(dirname "$0")/.."
page=tests/more_executors.md
status=0

named() {
	grep -oE '`[a-z0-9_]+/[a-z0-9_]+`' $page | tr -d '`' | sort -u
}
existing() {
	sed -nE 's/^(TEST|OVER_MATRIX)\(([a-z0-9_]+), ([a-z0-9_]+)\)$/\2\/\3/p; s/^OVER_CHAINS\(([a-z0-9_]+)\)$/conformance\/\1/p' tests/*.c |
		sort -u
}
complain() { # WHAT: the names read, if any
	local names
	names=$(cat)
	if [[ $names ]]; then
		printf '%s\n' "$names" "$1"
		status=1
	fi
}

[[ $(named) ]] || { echo "$page names no test"; exit 1; }
complain "named in $page, but there is no such test" < <(comm -23 <(named) <(existing))
complain "not in $page" < <(comm -13 <(named) <(existing) | grep '^more_')
complain "$page: neither a test nor a reason" < <(grep -E '^\|[^|]*\| *\| *\|$' $page)
exit $status

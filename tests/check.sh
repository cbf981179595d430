#!/usr/bin/env bash
# Runs all the checks of the source, each tests/check_*.sh that needs no long build; the last line counts them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# run CHECK...: one after the other.
run() {
	local check
	for check; do
		tests/check_$check.sh >"$logs/$check" 2>&1 && touch "$logs/$check.ok"
	done
}

run symbols # builds
run tidy &  # longer than all others together
run layers source headers readme parity format
wait
for check in layers source headers symbols readme parity format tidy; do
	if [[ -e $logs/$check.ok ]]; then
		echo "check_$check: ok"
		passed=$((passed + 1))
	else
		cat "$logs/$check"
		echo "check_$check: FAILED"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
((failed == 0))

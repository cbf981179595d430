#!/usr/bin/env bash
# Runs all the checks of the source, each tests/check_*.sh that needs no long build; the last line counts them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0
for check in layers source headers symbols readme parity format tidy; do
	if output=$(tests/check_$check.sh 2>&1); then
		echo "check_$check: ok"
		passed=$((passed + 1))
	else
		printf '%s\n' "$output" "check_$check: FAILED"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
((failed == 0))

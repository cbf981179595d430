#!/usr/bin/env bash
# Shows that each kind of run fails when it should: plants a failed check, a hang, a leak, an overflow, a race and a use after
# free, and lets tests/run.sh find each. The last line counts them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# planted PRESET FORM FAULT TEXT: the run fails, counts one failure, and says TEXT (a regular expression).
planted() {
	local preset=$1 test=planted_$3.$2 text=$4
	if tests/run.sh --preset "$preset" --label planted --filter "^planted_$3\.$2\$" >"$log" 2>&1; then
		echo "not found: $test ($preset)"
	elif [[ $(tail -n 1 "$log") != *" passed, 1 failed" ]]; then
		echo "counted wrongly: $test ($preset): $(tail -n 1 "$log")"
	elif ! grep -qE "$text" "$log"; then
		echo "found, but does not say \"$text\": $test ($preset)"
	else
		echo "found: $test ($preset)"
		passed=$((passed + 1))
		return
	fi
	tail -n 30 "$log" | sed 's/^/    /'
	failed=$((failed + 1))
}

# Those of one preset, one after the other; the presets side by side.
faults() {
	local preset=$1 form
	cmake --preset $preset >"$log" 2>&1 && cmake --build build/$preset -j "$(nproc)" --target planted >"$log" 2>&1 ||
		{ cat "$log"; echo "0 passed, 1 failed"; return; }
	for form in criterion plain; do
		[[ $preset:$form != tsan:criterion ]] || continue
		planted $preset $form check 'check\.c:[0-9]+: planted/check: failed: 1 \+ 1 is 2, 3 is 3'
		planted $preset $form thread_check 'arg is "wrong", "right" is "right"'
		planted $preset $form hang 'futures not done: 1 of 1'
	done
	case $preset in
	asan)
		for form in criterion plain; do
			planted asan $form leak 'LeakSanitizer: detected memory leaks'
			planted asan $form overflow 'runtime error: signed integer overflow'
			planted asan $form use_after_free 'heap-use-after-free'
		done
		;;
	tsan)
		planted tsan plain race 'ThreadSanitizer: data race'
		;;
	dev)
		planted dev valgrind check '1 \+ 1 is 2, 3 is 3'
		planted dev valgrind leak 'definitely lost'
		planted dev valgrind use_after_free 'Invalid read'
		;;
	esac
	echo "$passed passed, $failed failed"
}

export EXS_TEST_TIMEOUT=2
for preset in dev asan tsan; do
	log=$logs/$preset.run
	faults $preset >"$logs/$preset" 2>&1 &
done
wait
for preset in dev asan tsan; do
	cat "$logs/$preset"
	read -r p f < <(tail -n 1 "$logs/$preset" | sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p') || f=1 p=0
	passed=$((passed + p)) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
((failed == 0))

#!/usr/bin/env bash
# Shows that each kind of run fails when it should: plants a failed check, a hang, a thread that is left, a leak, an overflow, a
# race and a use after free, and lets tests/run.sh find each; and that each check of the source does, with faults in a copy of it.
# The last line counts them.
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
	local preset=$1 form forms='criterion plain'
	[[ $preset == dev ]] || forms=plain
	cmake --preset $preset >"$log" 2>&1 && cmake --build build/$preset -j "$(nproc)" --target planted >"$log" 2>&1 ||
		{ cat "$log"; echo "0 passed, 1 failed"; return; }
	for form in $forms; do
		planted $preset $form check 'check\.c:[0-9]+: planted/check: failed: 1 \+ 1 is 2, 3 is 3'
		planted $preset $form thread_check 'arg is "wrong", "right" is "right"'
		planted $preset $form hang 'futures not done: 1 of 1'
		planted $preset $form left_thread 'threads: (3, before the first test 2|4, before the first test 3)$'
	done
	case $preset in
	asan)
		planted asan plain leak 'LeakSanitizer: detected memory leaks'
		planted asan plain overflow 'runtime error: signed integer overflow'
		planted asan plain use_after_free 'heap-use-after-free'
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

# in_source CHECK FILE LINE TEXT [ARGUMENT]: with the line at its end, in the copy, the check fails and says TEXT.
in_source() {
	local check=$1 file=$copy/$2 line=$3 text=$4
	shift 4
	cp "$file" "$copy.saved"
	echo "$line" >>"$file"
	if "$copy/tests/check_$check.sh" "$@" >"$log" 2>&1; then
		echo "not found by check_$check: $line"
		failed=$((failed + 1))
	elif ! grep -qE "$text" "$log"; then
		echo "found, but check_$check does not say \"$text\": $line"
		tail -n 30 "$log" | sed 's/^/    /'
		failed=$((failed + 1))
	else
		echo "found by check_$check: $line"
		passed=$((passed + 1))
	fi
	cp "$copy.saved" "$file"
}

source_faults() {
	local copy=$logs/copy set=src/future/set.c retry=src/decorators/retry.c
	mkdir "$copy"
	tar -c --exclude=./build --exclude=./.git . | tar -x -C "$copy"
	in_source layers $set '#include "executor/executor.h"' 'set\.c includes executor/executor\.h'
	in_source layers $set '#include <executor/executor.h>' 'set\.c includes executor/executor\.h'
	in_source layers $set '#include <executors/retry.h>' 'set\.c includes executors/retry\.h'
	in_source layers $retry '#include "decorators/poll_turn.h"' 'retry\.c includes decorators/poll_turn\.h'
	in_source layers $retry '#include <executors/executors.h>' 'retry\.c includes executors/executors\.h'
	in_source layers src/http/run.c '#include "future/future.h"' 'run\.c includes future/future\.h'
	in_source source $set '#ifdef __linux__' 'not allowed: #if'
	in_source source src/future/wait.h '#if 1' 'wait\.h: not allowed: #if'
	in_source source $set '#define twice(x) (2 * (x))' 'not allowed: function-like macros'
	in_source source $set 'static void end(void) { abort(); }' 'not allowed: ending the process'
	in_source source $set 'static void say(void) { printf("x"); }' 'not allowed: ending the process, printing'
	in_source headers include/executors/set.h 'void exs_f(unknown_type *x);' 'executors/set\.h: not C11' include/executors/set.h
	in_source headers include/executors/set.h 'void exs_f(int class);' 'executors/set\.h: not C\+\+17' include/executors/set.h
	in_source readme $retry '/* a line more */' '^-.* retry\.c [0-9]+'
	in_source readme README.md '<!-- from nowhere.c -->' 'there is no nowhere\.c'
	in_source format $set 'static int  two;' 'clang-format-violations'
	in_source symbols $set 'EXS_API int exs_stray(void); int exs_stray(void) { return 0; }' 'exs_stray is exported'
	in_source symbols include/executors/set.h 'EXS_API int exs_missing(void);' 'exs_missing is declared'
	in_source tidy $set 'static void deep(int a) { if (a) { if (a > 1) { if (a > 2) { if (a > 3) { a = 0; } } } } }' 'nesting level' $set
	echo "$passed passed, $failed failed"
}

export EXS_TEST_TIMEOUT=2
log=$logs/source.run
source_faults >"$logs/source" 2>&1 &
for preset in dev asan tsan; do
	log=$logs/$preset.run
	faults $preset >"$logs/$preset" 2>&1 &
done
wait
for preset in source dev asan tsan; do
	cat "$logs/$preset"
	read -r p f < <(tail -n 1 "$logs/$preset" | sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p') || f=1 p=0
	passed=$((passed + p)) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
((failed == 0))

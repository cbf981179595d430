#!/usr/bin/env bash
# The mutation check: each fault listed in mutants.sh, put into the library alone, must be caught by the test named with it.
# With arguments: only these faults. The last line counts them; the exit status is 0 only if all were caught.
#
# Everything is built once, then for each fault only the file it is in. A fault that does not apply, does not compile or is not
# caught counts as failed; so does everything if a test fails without a fault. EXS_MUTATION_JOBS (one more than processors), CC (gcc).
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
jobs=${EXS_MUTATION_JOBS:-$(($(nproc) + 1))} # many of the faults are hangs
cc=${CC:-gcc}
common="-std=c11 -O1 -w -pthread -DEXSI_BUILDING -Iinclude -Isrc -Itests"
work=$(mktemp -d)
trap 'end_all_of "$work"; rm -rf "$work"' EXIT
export ASAN_OPTIONS=abort_on_error=1:symbolize=0 EXS_STRESS_SECONDS=3
export EXS_TEST_HOSTILE=$work/hostile_worker # a program that has nothing of the library in it

# end_all_of FOLDER: a worker with a fault may not notice that its parent has gone, and take a processor for ever.
end_all_of() {
	find /proc -maxdepth 2 -name exe -lname "$1/*" -printf '%h\n' 2>/dev/null | cut -d / -f 3 | xargs -r kill -KILL 2>/dev/null
}

# mutant NAME FILE PROGRAM TEST[@CHAINS] SED: a fault in src/FILE, made by the sed script, caught by TEST of tests/PROGRAM_test.c
# (over CHAINS: EXS_TEST_CHAIN).
names=() files=() programs=() tests=() scripts=()
mutant() {
	names+=("$1") files+=("$2") programs+=("$3") tests+=("$4") scripts+=("$5")
}
. tests/mutation/mutants.sh

# --- building: two kinds of objects, one under ASan with the delays of delay.h (off but in the stress test), one with basic
# blocks counted (stack_test.c) ---

kind_of() { # PROGRAM
	[[ $1 == stack ]] && echo counted || echo asan
}
flags_of() { # KIND
	[[ $1 != asan ]] || echo -fsanitize=address -fno-omit-frame-pointer
}
library_flags_of() { # KIND
	[[ $1 == asan ]] && echo -include tests/delay.h || echo -fsanitize-coverage=trace-pc
}

object_name() { # FILE in src or tests
	local name=${1//\//_}
	echo "${name%.c}.o"
}

# The sources of a test program; some are there for others.
sources_of() {
	local header
	echo "$1_test.c" harness.c plain_main.c delay.c
	[[ $1 == hostile || ! -e tests/$1.c ]] || echo "$1.c"
	for header in support limit stress scrape spawning storm process_functions; do
		grep -qs "\"$header.h\"" tests/"$1"_test.c tests/"$1".h || continue
		echo "$header.c"
		[[ $header != storm ]] || echo spawning.c
		[[ $header != process_functions ]] || echo support.c process_pools.c
	done
}

# What a test program runs, and finds beside itself: the library is in it as well, so it is linked again for each fault.
runs_spawned() { # PROGRAM
	[[ $1 == output || $1 == place || $1 == spawn ]]
}

# link PROGRAM OUTPUT OBJECT-OF-THE-LIBRARY...
link() {
	local program=$1 output=$2 kind source objects=()
	shift 2
	kind=$(kind_of "$program")
	for source in $(sources_of "$program" | tr ' ' '\n' | sort -u); do
		objects+=("$work/$kind/tests/$(object_name "$source")")
	done
	[[ $program != oom ]] || objects+=(-Wl,--wrap=pthread_create)
	$cc $common $(flags_of "$kind") "${objects[@]}" "$@" -o "$output" -lm || return 1
	! runs_spawned "$program" ||
		$cc $common $(flags_of asan) "$work"/asan/tests/{spawned,delay}.o "$@" -o "${output%/*}/spawned" -lm
}

# One command a line.
commands() {
	local kind source program
	for kind in asan counted; do
		mkdir -p "$work/$kind/library" "$work/$kind/tests"
		(cd src && find base future executor pools decorators stream process -name '*.c') | while read -r source; do
			echo "$cc $common $(flags_of $kind) $(library_flags_of $kind) -c src/$source" \
				"-o $work/$kind/library/$(object_name "$source")"
		done
	done
	for program in "${all_programs[@]}"; do
		kind=$(kind_of "$program")
		for source in $(sources_of "$program" | tr ' ' '\n' | sort -u); do
			echo "$cc $common $(flags_of "$kind") -c tests/$source -o $work/$kind/tests/$(object_name "$source")"
		done
	done | sort -u
	echo "$cc $common $(flags_of asan) -c tests/spawned.c -o $work/asan/tests/spawned.o"
	echo "$cc $common $(flags_of asan) tests/hostile.c -o $EXS_TEST_HOSTILE"
}

build() {
	local program
	mapfile -t all_programs < <(printf '%s\n' "${programs[@]}" | sort -u)
	commands | xargs -d '\n' -P "$jobs" -I{} sh -c '{}' || return 1
	for program in "${all_programs[@]}"; do
		link "$program" "$work/$program" "$work/$(kind_of "$program")"/library/*.o || return 1
	done
}

# --- running ---

# run FILE PROGRAM TEST LOG
run() {
	local delay=0 seconds=${limits[$2:$3]:-60} chains=${3#*@}
	case $2 in
	stress) delay=400 ;; # where a fault shows only when threads meet
	set | races | thread_pool_order | messages | process_review) delay=20 ;;
	esac
	[[ $3 == *@* ]] || chains='*'
	EXS_TEST_DELAY=$delay EXS_TEST_TIMEOUT=$seconds EXS_TEST_CHAIN=$chains timeout 60 "$1" --only "${3%@*}" >"$4" 2>&1
}

# As run, but true if the test fails. What some threads do shows a fault in some schedules only: a test is given several, one of random
# schedules more of them, before a fault counts as not caught.
search() {
	local turn turns=4
	[[ $2 != stress && $2 != races && $2 != thread_pool_order && $2 != set ]] || turns=24
	for ((turn = 0; turn < turns; turn++)); do
		run "$@" || return 0
	done
	return 1
}

# each FUNCTION INDEX...: so many jobs at a time.
each() {
	local function=$1 i running=0
	shift
	for i; do
		((running < jobs)) || { wait -n; running=$((running - 1)); }
		"$function" "$i" 2>/dev/null &
		running=$((running + 1))
	done
	wait
}

# Without a fault: how long the test takes, if it passes.
measure() {
	local i=$1 begin
	begin=$(date +%s%N)
	run "$work/${programs[i]}" "${programs[i]}" "${tests[i]}" "$work/sound/$i.log" &&
		echo $((($(date +%s%N) - begin) / 1000000000)) >"$work/sound/$i"
}

# Without a fault each test passes; with one it is given three times that, and two seconds. Measured as it is run: beside others.
declare -A limits=()
sound() {
	local i test
	declare -A first=()
	for i in "${selected[@]}"; do
		test=${programs[i]}:${tests[i]}
		: "${first[$test]:=$i}"
	done
	mkdir "$work/sound"
	each measure "${first[@]}"
	for test in "${!first[@]}"; do
		i=${first[$test]}
		if [[ -e $work/sound/$i ]]; then
			limits[$test]=$((2 + 3 * $(<"$work/sound/$i")))
			continue
		fi
		echo "without a fault: ${tests[i]} of ${programs[i]}_test.c does not pass:"
		tail -n 8 "$work/sound/$i.log" | sed 's/^/    /'
		return 1
	done
}

# Builds the program with the fault; says what is wrong.
build_mutant() {
	local i=$1 dir=$2 file=${files[$1]} kind
	kind=$(kind_of "${programs[i]}")
	mkdir -p "$dir/library"
	sed -E "${scripts[i]}" "src/$file" >"$dir/mutant.c"
	if cmp -s "src/$file" "$dir/mutant.c"; then
		echo "it does not apply to src/$file any more"
		return 1
	fi
	ln -s "$work/$kind"/library/*.o "$dir/library"
	rm "$dir/library/$(object_name "$file")"
	if ! $cc $common $(flags_of "$kind") $(library_flags_of "$kind") -c "$dir/mutant.c" \
		-o "$dir/library/$(object_name "$file")" >"$dir/log" 2>&1 ||
		! link "${programs[i]}" "$dir/program" "$dir"/library/*.o >>"$dir/log" 2>&1; then
		echo "it does not build: $(grep -m 1 -E 'error|undefined' "$dir/log")"
		return 1
	fi
}

# judge INDEX: says in one line what became of the fault.
judge() {
	try "$1" >"$work/lines/$1"
}

try() {
	local i=$1 dir=$work/mutants/$1 why
	if ! why=$(build_mutant "$i" "$dir"); then
		echo "FAILED ${names[i]}: $why"
	elif ! search "$dir/program" "${programs[i]}" "${tests[i]}" "$dir/log"; then
		echo "FAILED ${names[i]}: ${tests[i]} does not catch it"
	elif grep -q 'no test is called' "$dir/log"; then
		echo "FAILED ${names[i]}: there is no test ${tests[i]} in ${programs[i]}_test.c"
	else
		why=$(grep -m 1 -oE 'ERROR: (Address|Leak)Sanitizer:? [a-zA-Z-]+|failed: .*' "$dir/log" | cut -c 1-100)
		echo "caught ${names[i]} by ${tests[i]}: ${why:-it ended badly}"
	fi
	end_all_of "$dir"
	rm -rf "$dir"
}

selected=()
for i in "${!names[@]}"; do
	(($# == 0)) || [[ " $* " == *" ${names[i]} "* ]] || continue
	selected+=("$i")
done
{ build && sound; } 2>&1 || { echo "0 passed, 1 failed"; exit 1; }
mkdir -p "$work/mutants" "$work/lines"
each judge "${selected[@]}"
for i in "${selected[@]}"; do
	cat "$work/lines/$i"
done
failed=$(cat "$work"/lines/* | grep -c '^FAILED')
echo "$((${#selected[@]} - failed)) passed, $failed failed"
((failed == 0 && ${#selected[@]} > 0))

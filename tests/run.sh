#!/usr/bin/env bash
# Builds the library and runs its tests; the last line counts them, the exit status is 0 only if none failed.
#   --preset NAME   a preset of CMakePresets.json: dev (default), release, asan, tsan, clang, portable, coverage
#   --filter REGEX  only test programs whose name matches, e.g. retry (ctest -R)
#   --without REGEX  all but those (ctest -E)
#   --label NAME    only those with this label: valgrind, soak, planted ...; otherwise all but these three
#   --soak          the long runs, EXS_TEST_SOAK (50) times the ordinary rounds; writes tests/soak-results.txt
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

preset=dev filter=. without='^$' label='' soak=''
while (($#)); do
	case $1 in
	--soak) soak=1 label=soak ;;
	--preset) preset=${2:?} && shift ;;
	--filter) filter=${2:?} && shift ;;
	--without) without=${2:?} && shift ;;
	--label) label=${2:?} && shift ;;
	*) sed -n '2,/^[^#]/s/^# \?//p' "$0" >&2; exit 2 ;;
	esac
	shift
done

packages="$build_packages $http_packages $loop_packages $png_packages $metrics_packages libcriterion-dev"
[[ $preset != clang ]] || packages+=" clang"
[[ $label != valgrind ]] || packages+=" valgrind"
need_packages $packages

build=build/$preset
log=$build/Testing/Temporary/LastTest.log
cmake --preset "$preset" >"/tmp/configure.$$" 2>&1 || { cat "/tmp/configure.$$"; exit 1; }
rm "/tmp/configure.$$"
cmake --build "$build" -j "$(nproc)"

# GCC 12's TSan does not cope with the address randomisation of newer kernels.
run=()
[[ $preset != tsan ]] || ! setarch -R true 2>/dev/null || run=(setarch -R)
select=(-LE '^(valgrind|soak|planted)$')
[[ ! $label ]] || select=(-L "^$label$")
[[ ! $soak ]] || export EXS_TEST_SOAK=${EXS_TEST_SOAK:-50}
rm -f "$log"
status=0
# More at a time than there are processors: many wait for most of their time.
"${run[@]}" ctest --test-dir "$build" -j "$((2 * $(nproc)))" --no-tests=error --output-on-failure -R "$filter" -E "$without" "${select[@]}" ||
	status=$?

# One line for each program: name, seconds, passed, failed. A program that failed and counts no failure failed as one; one
# that says nothing is one test.
counts() {
	awk '
	$2 == "Test:" { name = $3; passed = failed = 0 }
	/^Command: ""$/ { failed = 1 } # it is not there, which the log calls passed
	/Synthesis: Tested:/ { passed = $7; failed = $4 - $7 }
	/^[0-9]+ passed, [0-9]+ failed$/ { passed = $1; failed = $3 }
	/^Test time =/ { seconds = $4 }
	/^Test Passed\.$/ { print name, seconds, passed + failed ? passed : 1, failed }
	/^Test Failed\.$/ { print name, seconds, passed, failed ? failed : 1 }
	' "$log" | sort
}

# Replaces the lines of what ran; without a filter, all of the preset's.
save_soak() {
	local file=tests/soak-results.txt commit
	commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
	[[ -z $(git status --porcelain --untracked-files=no 2>/dev/null) ]] || commit+=+changes
	touch "$file"
	{
		echo "# The last results of tests/run.sh --soak: preset, commit, program, times the ordinary rounds, seconds, counts"
		counts | awk -v p="$preset" -v c="$commit" -v n="$EXS_TEST_SOAK" -v filter="$filter" '
		fresh { printf "%s %s %s x%s %s s, %s passed, %s failed\n", p, c, $1, n, $2, $3, $4; ran[$1]; next }
		/^#/ || $1 == p && (filter == "." || $3 in ran) { next }
		{ print }' fresh=1 - fresh= "$file" | sort -k 1,1 -k 3,3
	} >"$file.new"
	mv "$file.new" "$file"
}

[[ -e $log ]] || { echo "no test ran"; exit 1; }
[[ ! $soak ]] || save_soak
read -r passed failed < <(counts | awk '{ p += $3; f += $4 } END { print p + 0, f + 0 }')
((status == 0 || failed > 0)) || failed=1
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))

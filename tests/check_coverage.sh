#!/usr/bin/env bash
# How many of the branches of src/future, src/executor, src/pools, src/decorators, src/stream and src/process the tests take, each folder and all together:
# all tests but those that fail each allocation in turn, so that a branch for a failed allocation counts as not taken. Nothing is
# left out of the count; what is not taken, and why, stands in tests/coverage-notes.md. At least 90 %, and the README's figure is
# that to the rounding. The last line counts the tests, and this check as one more.
#   --list  the lines with branches that are not taken, and how often each is, of the run before this, which is not repeated;
#           NEW: the notes do not have it
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh
refuse() { echo "$0: $1" >&2; exit 2; }

least=90
build=build/coverage
[[ $# == 0 || $* == --list ]] || refuse "\"$*\": expected nothing, or --list"
[[ $# == 0 || -d $build ]] || refuse "--list shows the run before this, and there was none"
need_packages gcovr
# Threads that run on while their process ends and writes its counts: gcov then says now and then that a branch was taken -1 times.
counted=(gcovr -r . --gcov-ignore-parse-errors --filter 'src/(future|executor|pools|decorators|stream|process)/' "$build")

if [[ ${1-} == --list ]]; then
	"${counted[@]}" --json | python3 -c '
import json, sys
notes = open("tests/coverage-notes.md").read()
for f in json.load(sys.stdin)["files"]:
    source = open(f["file"]).read().splitlines()
    for line in f["lines"]:
        counts = [b["count"] for b in line["branches"]]
        if 0 in counts:
            n = line["line_number"]
            text = source[n - 1].strip()
            known = "- `%s`: `%s`" % (f["file"].removeprefix("src/"), text) in notes
            print("%s%s:%d: %s: %s" % ("" if known else "NEW ", f["file"], n, counts, text))'
	exit
fi

mkdir -p build
[[ ! -d $build ]] || find "$build" -name '*.gcda' -delete
status=0
tests/run.sh --preset coverage --without '^oom' | tee "$build.log" || status=1
read -r passed failed < <(tail -n 1 "$build.log" | sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p') || { passed=0 failed=1; }

"${counted[@]}" --csv >"$build.csv" 2>"$build.err" || { cat "$build.err"; echo "$passed passed, $((failed + 1)) failed"; exit 1; }
awk -F , '
FNR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
{
	split($1, part, "/")
	total[part[2]] += $column["branch_total"]; taken[part[2]] += $column["branch_covered"]
	total["all"] += $column["branch_total"]; taken["all"] += $column["branch_covered"]
}
END { for (folder in total) printf "%s %d of %d branches, %.1f %%\n", folder, taken[folder], total[folder], 100 * taken[folder] / total[folder] }' "$build.csv" |
	sort | tee "$build.txt"

read -r figure < <(sed -nE 's/^all .* ([0-9.]+) %$/\1/p' "$build.txt") || figure=0
# The README's: the whole number just below, of a run such as this; from one to the next some races come out otherwise.
claimed=$(tr '\n' ' ' <README.md | sed -nE 's/.*Branches that they take[^:]*: ([0-9]+) %.*/\1/p')
awk -v figure="$figure" -v least=$least -v claimed="$claimed" 'BEGIN {
	if (figure < least) { print "less than " least " %"; bad = 1 }
	if (claimed == "" || figure - claimed < -0.5 || figure - claimed >= 1.5) { print "the README says " claimed " %"; bad = 1 }
	exit bad }' || failed=$((failed + 1)) status=1
((status)) || passed=$((passed + 1))
echo "$passed passed, $failed failed"
exit $status

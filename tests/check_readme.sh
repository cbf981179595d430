#!/usr/bin/env bash
# A code block of a Markdown file that follows a line <!-- from FILE --> or <!-- from FILE [NAME] --> equals that file, or its
# region between the lines /* [NAME] */ and /* [NAME] end */, less the region's own indentation. The README's table of decorators
# gives the lines of each. Its figures, and the tables of bench/results, are those of the data there.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0 blocks=0

# region FILE NAME
region() {
	if [[ ! $2 ]]; then
		cat "$1"
		return
	fi
	awk -v begin="/* [$2] */" -v end="/* [$2] end */" '
	{ line = $0; sub(/^[ \t]+/, "", line); sub(/[ \t]+$/, "", line) }
	line == end { inside = 0 }
	inside { sub("^" indent, ""); print }
	line == begin { inside = 1; indent = $0; sub(/[^ \t].*/, "", indent) }' "$1"
}

for page in *.md docs/*.md; do
	[[ -e $page ]] || continue
	rm -f "$work"/block*
	# One file for each block: its first line names the source and the region.
	awk -v out="$work/block" '
	/^<!-- from .* -->$/ { file = sprintf("%s%03d", out, ++n); gsub(/[][]/, ""); print $3, ($4 == "-->" ? "" : $4) >file; wait = 1; next }
	/^```/ && wait { wait = 0; inside = 1; next }
	/^```/ { inside = 0; next }
	inside { print >file }' "$page"
	for block in "$work"/block*; do
		[[ -e $block ]] || continue
		blocks=$((blocks + 1))
		read -r file name <"$block"
		[[ -e $file ]] || { echo "$page: there is no $file"; status=1; continue; }
		region "$file" "$name" >"$work/source"
		[[ -s $work/source ]] || { echo "$page: $file has no region [$name]"; status=1; continue; }
		tail -n +2 "$block" | diff -u --label "$file $name" --label "$page" "$work/source" - || status=1
	done
done

((blocks > 0)) || { echo "no code block names its file"; status=1; }

# Lines: | NAME | the files that have an operations table | its other parts |. A part of NAME.c is called NAME_part.c.
decorators() {
	local file name part own parts
	for file in *.c; do
		name=${file%.c} own='' parts=''
		[[ $name == "${name%%_*}" || ! -e ${name%%_*}.c ]] || continue
		for part in "$name".c $(compgen -G "${name}_*.c"); do
			if grep -q '^static const exs_layer_ops' "$part"; then
				own+=", $part $(wc -l <"$part")"
			else
				parts+=", $part $(wc -l <"$part")"
			fi
		done
		echo "| $name | ${own#, } | ${parts#, } |"
	done
}

diff -u --label "wc -l" --label README.md <(cd src/decorators && decorators) <(grep -E '^\| [a-z_]+ \| [a-z_]+\.c [0-9]+' README.md) ||
	status=1

# same_figures COMMAND MARK TABLES NAME: what report.py makes of the data of bench/results/NAME.jsonl stands in the README, and beside it.
same_figures() {
	local report=bench/report.py data=bench/results/$4.jsonl page=bench/results/$4.md
	diff -u --label "$report $1" --label README.md <(python3 $report "$1" $data) <(sed -n "/^<!-- $2 -->$/,/^<!-- $2 end -->$/{//!p}" README.md) ||
		status=1
	diff -u --label "$report $3" --label $page <(python3 $report "$3" $data) $page || status=1
}
same_figures figures figures tables results
same_figures process-figures "process figures" processes process
exit $status

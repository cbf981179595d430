#!/usr/bin/env bash
# What a file's folder lets it include: its own layer and lower ones. Public headers of pools, decorators and streams (those named
# after a file there) count as that layer, executors.h as all of them. Decorators see only themselves among the decorators; http sees
# public headers only.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A below=(
	[base]="base"
	[future]="base future"
	[executor]="base future executor"
	[pools]="base future executor pools"
	[decorators]="base future executor"
	[stream]="base future executor stream"
	[process]="base future executor pools stream process"
	[http]="http"
)
layers=${!below[*]}
status=0
complain() {
	echo "$1 includes $2"
	status=1
}

# layer/name of what an #include names: future/wait.h, or executors/retry.h which is decorators/retry.
resolve() {
	local name=${1#executors/} found
	name=${name%.h}
	if [[ $1 != executors/* || $1 == executors/executors.h ]]; then
		echo "$name"
	else
		found=$(find src/pools src/decorators src/stream src/process -name "$name.c" -printf '%P' -quit 2>/dev/null)
		[[ ! $found ]] || find src -path "*/$name.c" -printf '%P' -quit | sed 's/\.c$//'
	fi
}

# layer/NAME of decorators/NAME_part, where there is a decorators/NAME.c: the parts of a decorator are one.
whole() {
	local name=${1#decorators/}
	[[ $1 == decorators/* && -e src/decorators/${name%%_*}.c ]] && echo "decorators/${name%%_*}" || echo "$1"
}

includes=0
while read -r file include; do
	includes=$((includes + 1))
	layer=${file#src/} layer=${layer%%/*}
	own=${file#src/} own=$(whole "${own%.*}")
	[[ -n ${below[$layer]-} ]] || { complain "$file" "nothing: no layer is called $layer"; continue; }
	[[ $layer != http || $include != executors/* ]] || continue
	target=$(whole "$(resolve "$include")")
	[[ $target && $target != "$own" ]] || continue
	[[ " ${below[$layer]} " == *" ${target%%/*} "* ]] || complain "$file" "$include"
done < <(grep -rHE "^ *# *include +(\"|<(executors|${layers// /|})/)" src --include='*.[ch]' |
	sed -E 's/^([^:]*):[^"<]*["<]([^">]*)[">].*/\1 \2/')
((includes > 0)) || { echo "no #include was found in src"; status=1; }
exit $status

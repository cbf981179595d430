#!/usr/bin/env bash
# What must not stand in src: conditional compilation outside src/base, function-like macros, ways to end the process or to
# print. Public headers may have none of the latter two either.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0

# forbid WHAT PATTERN FILE...: prints the lines that match, if any.
forbid() {
	local what=$1 pattern=$2
	shift 2
	if grep -HnE "$pattern" "$@"; then
		echo "not allowed: $what"
		status=1
	fi
}

mapfile -t all < <(find src -name '*.[ch]' | sort)
mapfile -t sources < <(find src -path src/base -prune -o -name '*.c' -print | sort)
mapfile -t headers < <(find src -path src/base -prune -o -name '*.h' -print | sort)
((${#all[@]} && ${#sources[@]} && ${#headers[@]})) || { echo "no files were found in src"; exit 1; }

forbid "#if outside src/base" '^ *# *(if|ifdef|ifndef|elif|else)\b' "${sources[@]}" /dev/null
for header in "${headers[@]}"; do
	# Only the guard: #ifndef X, #define X at the top, one #endif.
	awk -v file="$header" '
	/^ *# *if/ { n++; if ($1 != "#ifndef") n = 99; guard = $2; getline; if ($1 != "#define" || $2 != guard) n = 99 }
	/^ *# *el/ { n = 99 }
	END { if (n != 1) { print file ": not allowed: #if other than the include guard"; exit 1 } }' "$header" || status=1
done
mapfile -t macros < <(grep -HnE '^ *# *define +[A-Za-z_0-9]+\(' "${all[@]}" | grep -viE 'define +(exsi_)?container_of\(' || true)
if ((${#macros[@]})); then
	printf '%s\n' "${macros[@]}" "not allowed: function-like macros other than container_of"
	status=1
fi
# A worker process is the library's own: its watchdog ends it when its parent has gone, at once; and it ends when its work is done, as a
# program does, with what it has written.
mapfile -t others < <(printf '%s\n' "${all[@]}" | grep -vxE 'src/process/(place|worker)\.c')
forbid "ending the process, printing" \
	'(^|[^A-Za-z0-9_.>])((_|quick_|_E)?[eE]xit|abort|assert|v?f?d?printf|f?put[sc]|putchar|perror|psignal|syslog)[ ]*\(' \
	"${others[@]}" include/executors/*.h
mapfile -t workers < <(find src/process -name place.c -o -name worker.c)
forbid "ending a worker process by other than exit and _exit, printing" \
	'(^|[^A-Za-z0-9_.>])((quick_|_E)[eE]xit|abort|assert|v?f?d?printf|f?put[sc]|putchar|perror|psignal|syslog)[ ]*\(' \
	"${workers[@]}" /dev/null
exit $status

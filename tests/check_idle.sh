#!/usr/bin/env bash
# Five chains of five layers with nothing pending: in so many seconds no thread of theirs wakes up, makes a system call or uses the
# processor. Seen from outside, in /proc and with strace, where that is permitted. Its output is a line of bench/results.
#   tests/check_idle.sh [SECONDS [PROGRAM]]   3 s; bench/idle of build/dev
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

seconds=${1:-3} idle=${2-build/dev/bench/idle}
refuse() { echo "$0: \"$1\": expected $2" >&2; exit 2; }
[[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || refuse "$seconds" "a number of seconds, from 1 to 999999"
(($# < 2)) || [[ -f $idle && -x $idle ]] || refuse "$idle" "a program, from here: $PWD"
(($# < 3)) || refuse "$3" "no further argument"
need_packages strace
if (($# < 2)); then
	cmake --preset dev >/dev/null
	cmake --build build/dev -j "$(nproc)" --target idle >/dev/null
fi
work=$(mktemp -d) pid=
trap '[[ -z $pid ]] || kill "$pid" 2>/dev/null; wait; rm -rf "$work"' EXIT

tracer=(strace -f -ttt -o "$work/trace") calls=null
"${tracer[@]}" true 2>"$work/why" || { echo "without strace: $(tail -n 1 "$work/why")" >&2; tracer=(); }
: >"$work/out"
"${tracer[@]}" "$idle" 5 $((seconds + 30)) >"$work/out" &
for ((i = 0; i < 200; i++)); do
	read -r _ pid <"$work/out" && break
	sleep 0.05
done
[[ $pid ]] || { echo "$idle did not come to rest" >&2; exit 1; }

# Context switches, and nanoseconds on a processor, of all threads.
switches() { cat /proc/"$pid"/task/*/status | awk '/ctxt_switches/ { n += $2 } END { print n }'; }
on_processor() { cat /proc/"$pid"/task/*/schedstat | awk '{ n += $1 } END { print n }'; }

# Those that spin before they sleep, or wake each other, come to rest first.
for ((i = 0, before = -1; i < 100; i++)); do
	now=$(switches)
	((now != before)) || grep -q $'^State:\t[^S]' /proc/"$pid"/task/*/status || break
	before=$now
	sleep 0.1
done
((i < 100)) || { echo "$idle is not at rest after 10 s: $now context switches" >&2; exit 1; }

threads=$(find /proc/"$pid"/task -mindepth 1 -maxdepth 1 | wc -l)
begin=$EPOCHREALTIME before=$(switches) ns=$(on_processor)
sleep "$seconds"
wakeups=$(($(switches) - before)) ns=$(($(on_processor) - ns)) end=$EPOCHREALTIME
((${#tracer[@]} == 0)) || calls=$(awk -v begin="$begin" -v end="$end" '$2 > begin && $2 < end' "$work/trace" | tee /dev/stderr | wc -l)

echo "{\"peer\":\"executors\",\"workload\":\"rest\",\"chains\":5,\"threads\":$threads,\"seconds\":$seconds,\"wakeups\":$wakeups,\"calls\":$calls,\"cpu_ns\":$ns}"
[[ $wakeups == 0 && $calls =~ ^(0|null)$ ]]

#!/usr/bin/env bash
# Measures this library, what the machine allows (floor, floor2) and the peers that Debian ships, one after the other in each
# round. Writes results.jsonl (the data, with the commit), results.md (tables) and results.svg, and prints the tables.
#   bench/run.sh [ROUNDS]   7 rounds; writes to bench/results and to the README's Figures
#   bench/run.sh --process [ROUNDS]  worker processes, 7 rounds; writes process.jsonl and process.md there, and to the README
#   bench/run.sh --quick    1 round, under 2 minutes: 100,000 instead of 1,000,000 pending in a poll executor, a rest of 5 instead of
#                           30 s, W1, W6 and W8 alone of the slow peers; writes to build/bench/results
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh
. scripts/instructions.sh

rounds=7 out=$PWD/bench/results name=results many=1000000 rest=30 quick= processes=
case ${1-} in
--quick) rounds=1 out=$PWD/build/bench/results many=100000 rest=5 quick=1 ;;
--process) name=process processes=1 ;;
*) set -- '' "$@" ;;
esac
rounds=${2-$rounds}
[[ $# -le 2 && $rounds =~ ^[1-9][0-9]*$ && ! ($quick && $# == 2) ]] ||
	{ sed -n '2,/^[^#]/s/^# \?//p' "$0" >&2; exit 2; }

need_packages $build_packages g++ python3 gnuplot-nox util-linux binutils valgrind strace libtbb-dev libboost-dev libglib2.0-dev libuv1-dev
# The library is compiled as the peers are.
{
	cmake --preset release -DEXECUTORS_TESTS=OFF -DEXECUTORS_EXAMPLES=OFF -DEXECUTORS_PEERS=ON \
		-DCMAKE_C_FLAGS_RELEASE="-O2 -DNDEBUG" -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" -B build/bench
	cmake --build build/bench -j "$(nproc)"
} >&2
mkdir -p "$out"
data=$out/$name.jsonl work=$(mktemp -d) root=$PWD pinned=()
trap 'rm -rf "$work"' EXIT
python3 bench/report.py header build/bench "$rounds" >"$data"
cd build/bench/bench

left_out() {
	echo "left out: $1: $2" >&2
	printf '{"left_out":"%s","why":"%s"}\n' "${1//[\"\\]/}" "${2//[\"\\]/}" >>"$data"
}

# run SETTING COMMAND...: its lines, with the setting. What was not built, fails or hangs is left out, with a word.
run() {
	local setting=$1 status=0
	shift
	timeout 300 "${pinned[@]}" "$@" >"$work/out" || status=$?
	case $status in
	0) sed "s/^{/{\"setting\":\"$setting\",/" "$work/out" >>"$data" ;;
	126 | 127) left_out "$*" "not built" ;;
	124) left_out "$*" "did not end" ;;
	*) left_out "$*" "status $status" ;;
	esac
}

# --- times ---

# workloads SETTING PAUSES COALESCE: what is measured with both processors and with one; how floor2 spins
workloads() {
	local setting=$1 floor2=(env QUEUE=stack "SPIN=$2" "COAL=$3" ./floor2) free=(env POOL=any_order_waiters_run)
	run "$setting" ./submit
	run "$setting" "${free[@]}" ./submit
	run "$setting" "${floor2[@]}" W1
	run "$setting" ./tbb W1g
	run "$setting" ./round_trip
	run "$setting" "${free[@]}" ./round_trip
	run "$setting" "${floor2[@]}" W2
	run "$setting" ./producers
	run "$setting" "${free[@]}" ./producers
	run "$setting" "${floor2[@]}" W4
	run "$setting" ./completed
	run "$setting" "${floor2[@]}" W8
	run "$setting" ./tree
	run "$setting" "${free[@]}" ./tree
	run "$setting" ./tbb W3
	run "$setting" ./continuations
	run "$setting" ./floor2 W5
	run "$setting" ./timers
	run "$setting" ./floor W6
	run "$setting" ./layers
	run "$setting" ./stream
	scaling "$setting"
}

processes() {
	run "$1" ./process
	run "$1" "$root/bench/peers/process_pool.py"
	run "$1" ./payload
}

scaling() {
	local producers workers
	for producers in 1 2 8 64; do
		for workers in 1 2 8 64; do run "$1" ./producers $producers $workers; done
	done
}

peers() {
	local peer w more="W2 W3 W4"
	[[ ! $quick ]] || more=
	for peer in uv glib asio; do
		for w in W1 W6 W8 $more; do run all ./$peer $w; done # none prints anything for what it does not have
	done
	for w in ${more:+W2 W4}; do run all ./tbb $w; done
}

# --- counts, each in runs of its own ---

# count WORKLOAD PEER OPERATIONS COMMAND...: the allocations, context switches and futex calls of all its operations
count() {
	local workload=$1 peer=$2 ops=$3
	shift 3
	rm -f "$work/counts"
	timeout 300 env COUNTS="$work/counts" LD_PRELOAD="$PWD/libcounts.so" "$@" >/dev/null ||
		{ left_out "$*" "not counted"; return 0; }
	if [[ $tracing ]] && timeout 300 strace -f -c -e trace=futex --seccomp-bpf -o "$work/futex" "$@" >/dev/null; then
		awk '$NF == "futex" { n = $4 } END { printf "\"futexes\":%d\n", n }' "$work/futex" >>"$work/counts"
	fi
	echo "{\"setting\":\"counts\",\"peer\":\"$peer\",\"workload\":\"$workload\",\"n\":$ops,$(paste -sd, "$work/counts")}" >>"$data"
}

counts() {
	local floor2=(env QUEUE=stack SPIN=300 COAL=20 ./floor2)
	tracing=1
	strace -o /dev/null true 2>"$work/why" || { left_out "futex calls" "$(tail -n 1 "$work/why")"; tracing=; }
	count W1 executors 3000000 ./submit
	count W1 floor2 3000000 "${floor2[@]}" W1
	count W2 executors 100000 ./round_trip
	count W2 floor2 100000 "${floor2[@]}" W2
	count "W3 counter" executors 2097150 ./tree counter
	count "W3 join" executors 2097150 ./tree join
	count W4 executors 2000000 ./producers
	count W4 floor2 2000000 "${floor2[@]}" W4
	count W5 executors 300000 ./continuations callbacks
	count "W5 links" executors 3300000 ./continuations links
	count W5 floor2 300000 ./floor2 W5
	count W8 executors 300000 ./completed
	count W8 floor2 300000 "${floor2[@]}" W8
	count bare executors 1000000 ./layers bare
	count "four layers" executors 1000000 ./layers layers
}

# Instructions: of a call on the inline executor, bare and below four layers; of the poll executor.
path_instructions() {
	local name
	for name in inline four_layers; do
		echo "{\"setting\":\"all\",\"peer\":\"executors\",\"workload\":\"$name\",\"instructions\":$(instructions ./paths $name)}" >>"$data"
	done
}

poll_instructions() {
	local dump=$work/dump
	rm -f "$dump"*
	valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file="$dump" ./poll "$1" count 2>/dev/null
	awk -v n="$1" '$1 == "totals:" { v[FILENAME ~ /\.1$/ ? "add" : FILENAME ~ /\.2$/ ? "cancel" : "resolve"] = $2 }
	END { printf "{\"setting\":\"all\",\"peer\":\"executors\",\"workload\":\"poll\",\"n\":%d,\"add_instructions\":%.1f," \
		"\"cancel_instructions\":%.1f,\"resolve_instructions\":%.1f}\n", n, v["add"] / 1000, v["cancel"] / 1000, v["resolve"] / n }' \
		"$dump"* >>"$data"
}

# --- memory ---

# size PEER LIBRARY: its sections, stripped
library_size() {
	[[ -e $2 ]] || return 0
	strip -o "$work/library" "$2"
	size "$work/library" | awk -v peer="$1" 'NR == 2 { printf "{\"setting\":\"all\",\"peer\":\"%s\",\"workload\":\"size\"," \
		"\"text\":%d,\"data\":%d,\"bss\":%d}\n", peer, $1, $2, $3 }' >>"$data"
}

# library PROGRAM NAME: the shared library of that name that it uses
library() {
	ldd "./$1" 2>/dev/null | awk -v name="$2" 'index($1, name) == 1 { print $3 }'
}

sizes() {
	library_size executors ../libexecutors.so
	library_size libuv "$(library uv libuv)"
	library_size tbb "$(library tbb libtbb.)"
	library_size glib "$(library glib libglib)"
}

# --- all ---

if [[ $processes ]]; then
	for ((round = 1; round <= rounds; round++)); do
		echo "$SECONDS s: round $round of $rounds" >&2
		pinned=()
		processes all
		pinned=(taskset -c 0)
		processes one
	done
	cd "$root"
	python3 bench/report.py processes "$data" | tee "$out/process.md"
	python3 bench/report.py process-readme "$data" README.md
	exit
fi
for ((round = 1; round <= rounds; round++)); do
	echo "$SECONDS s: round $round of $rounds" >&2
	pinned=()
	workloads all 300 20
	for n in 1000 $many; do run all ./poll $n; done
	run all ./memory bare
	run all ./memory layers
	peers
	pinned=(taskset -c 0)
	workloads one 0 0
	pinned=()
	((round > 3)) || counts
done
sizes
path_instructions
for n in 1000 $many; do poll_instructions $n; done
"$root/tests/check_idle.sh" $rest "$PWD/idle" | sed 's/^{/{"setting":"all",/' >>"$data" || echo "not idle" >&2
if [[ ! $quick ]]; then
	run all ./idle
	for peer in floor2 tbb uv glib asio; do run all ./$peer W7; done
fi
cd "$root"
python3 bench/report.py tables "$data" | tee "$out/results.md"
python3 bench/report.py plot "$data" "$out/results.svg"
[[ $quick ]] || python3 bench/report.py readme "$data" README.md

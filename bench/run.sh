#!/usr/bin/env bash
# Measures this library, what the machine allows (floor, floor2) and the peers that Debian ships, one after the other in each
# round. Writes results.jsonl (the data, with the commit), results.md (tables) and results.svg, and prints the tables.
#   bench/run.sh [ROUNDS]   7 rounds; writes to bench/results
#   bench/run.sh --quick    1 round, under 2 minutes; writes to build/bench/results
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

rounds=7 out=$PWD/bench/results
case ${1-} in
'') ;;
--quick) rounds=1 out=$PWD/build/bench/results ;;
*[!0-9]* | 0*) sed -n '2,/^[^#]/s/^# \?//p' "$0" >&2; exit 2 ;;
*) rounds=$1 ;;
esac

need_packages $build_packages g++ python3 gnuplot-nox util-linux libtbb-dev libboost-dev libglib2.0-dev libuv1-dev
{
	cmake --preset release -DEXECUTORS_TESTS=OFF -DEXECUTORS_EXAMPLES=OFF -DEXECUTORS_PEERS=ON -B build/bench
	cmake --build build/bench -j "$(nproc)"
} >&2
mkdir -p "$out"
data=$out/results.jsonl
python3 bench/report.py header build/bench >"$data"
cd build/bench/bench

# run NAME COMMAND...: its lines, which get the name of the setting. A peer that was not built is left out.
run() {
	local setting=$1
	shift
	[[ -x $1 || $1 == env ]] || return 0
	"${pinned[@]}" "$@" | sed "s/^{/{\"setting\":\"$setting\",/" >>"$data" || echo "failed: $*" >&2
}

# What each thread may use: both processors, or one.
all() {
	local setting=$1 floor2=(env QUEUE=stack "SPIN=$2" "COAL=$3" ./floor2)
	run "$setting" ./submit
	run "$setting" "${floor2[@]}" W1
	run "$setting" ./tbb W1g
	run "$setting" ./round_trip
	run "$setting" "${floor2[@]}" W2
	run "$setting" ./producers
	run "$setting" "${floor2[@]}" W4
	run "$setting" ./completed
	run "$setting" "${floor2[@]}" W8
	run "$setting" ./tree
	run "$setting" ./tbb W3
}

peers() {
	local w
	for w in W1 W2 W4 W6 W8; do run all ./uv $w; done
	for w in W1 W2 W3 W4 W6 W8; do run all ./glib $w; done
	for w in W1 W2 W3 W4 W6; do run all ./asio $w; done
	for w in W2 W4; do run all ./tbb $w; done
}

scaling() {
	local n
	for n in 1 2 8 64; do
		run "scaling" ./producers $n 2
		run "scaling" ./producers 4 $n
	done
}

pinned=()
for ((round = 1; round <= rounds; round++)); do
	echo "round $round of $rounds" >&2
	pinned=()
	all all 300 20
	run all ./continuations
	run all ./floor2 W5
	run all ./timers
	run all ./floor W6
	run all ./layers
	for n in 1000 1000000; do run all ./poll $n; done
	scaling
	peers
	pinned=(taskset -c 0)
	all one 0 0
done
pinned=()
run all ./idle
python3 "$OLDPWD/bench/report.py" tables "$data" "$out"

#!/usr/bin/env bash
# Installs the library, moves the copy elsewhere, and builds and runs programs outside the tree against it: through
# find_package and pkg-config, as C and as C++, shared and static. The last line counts them.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log
passed=0 failed=0

quietly() {
	"$@" >"$log" 2>&1 || { echo "failed: $*"; cat "$log"; echo "$passed passed, 1 failed"; exit 1; }
}

# expect NAME TEXT PROGRAM: the program runs and prints TEXT.
expect() {
	local output
	if output=$(LD_LIBRARY_PATH=$lib "$3" 2>&1) && [[ $output == "$2" ]]; then
		passed=$((passed + 1))
	else
		echo "$1: expected \"$2\", got \"$output\""
		failed=$((failed + 1))
	fi
}

quietly cmake --preset release -B build/install -DEXECUTORS_TESTS=OFF -DEXECUTORS_EXAMPLES=OFF -DEXECUTORS_BENCH=OFF
quietly cmake --build build/install -j "$(nproc)"
quietly cmake --install build/install --prefix "$work/first"
mv "$work/first" "$work/prefix"
cp -r tests/install "$work/source"
pc=$(find "$work/prefix" -name executors.pc)
export PKG_CONFIG_PATH=${pc%/*}
lib=${PKG_CONFIG_PATH%/*}
http=OFF
[[ ! -e $work/prefix/include/executors/http.h ]] || http=ON

quietly cmake -S "$work/source" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" -DWITH_HTTP=$http
quietly cmake --build "$work/build"
for program in c c_static cpp cpp_static; do
	expect "find_package, $program" 144 "$work/build/$program"
done

# with_pkg_config NAME TEXT PACKAGE SOURCE COMPILER...
with_pkg_config() {
	local name=$1 text=$2 package=$3 source=$4 flags
	shift 4
	flags=$(pkg-config --cflags --libs "$package")
	quietly "$@" "$source" -o "$work/shared" $flags
	expect "pkg-config, $name" "$text" "$work/shared"
	[[ $package == executors ]] || return 0 # a static libcurl needs packages that its own does not ask for
	flags=$(pkg-config --cflags --libs --static "$package")
	quietly "$@" "$source" -o "$work/static" ${flags/-lexecutors/-l:libexecutors.a}
	lib=/nonexistent expect "pkg-config, $name, static" "$text" "$work/static"
}
with_pkg_config "C" 144 executors "$work/source/main.c" cc -std=c11
with_pkg_config "C++" 144 executors "$work/build/main.cpp" c++ -std=c++17
if [[ $http == ON ]]; then
	for program in http http_static; do
		expect "find_package, $program" "" "$work/build/$program"
	done
	with_pkg_config "http" "" executors-http "$work/source/http.c" cc -std=c11
fi
[[ $(pkg-config --modversion executors) == "$(sed -nE 's/^#define EXS_VERSION "(.*)"/\1/p' include/executors/base.h)" ]] ||
	{ echo "the versions of executors.pc and EXS_VERSION differ"; failed=$((failed + 1)); }
# A decorator of one's own, with public headers only, passes the conformance suite against the installed library.
own=(tests/install/keyed_limit_conformance.c tests/conformance.c tests/support.c tests/harness.c tests/plain_main.c examples/keyed_limit.c)
quietly cc -std=c11 -g -pthread -Itests -Iexamples "${own[@]}" $(pkg-config --cflags --libs executors) -o "$work/keyed_limit"
if result=$(LD_LIBRARY_PATH=$lib "$work/keyed_limit" | tail -n 1) && [[ $result =~ ^([0-9]+)\ passed,\ 0\ failed$ ]]; then
	passed=$((passed + BASH_REMATCH[1]))
else
	echo "keyed_limit under the conformance suite: $result"
	failed=$((failed + 1))
fi

echo "$passed passed, $failed failed"
((failed == 0))

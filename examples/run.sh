#!/usr/bin/env bash
# The main job: builds the library, then publishes 120 jobs against an embedded job service and prints them as they
# complete. Arguments go to publish instead: examples/run.sh --url http://localhost:8080 1 2 3
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

need_packages $build_packages $http_packages $png_packages
{
	cmake --preset release -DEXECUTORS_TESTS=OFF -DEXECUTORS_BENCH=OFF -B build/examples
	cmake --build build/examples -j "$(nproc)"
} >&2
(($#)) || set -- $(seq 120)
exec build/examples/examples/publish "$@"

#!/usr/bin/env bash
# build.sh PRESET [TARGET...]: configures once, then builds with $JOBS jobs. Ninja reruns CMake when its files change.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:?usage: scripts/build.sh PRESET [TARGET...]}
shift

# A translation unit that sees libtorch takes about 1.2 GiB: fewer jobs where memory is short.
memory_jobs=$(awk '/^MemAvailable/ { n = int($2 / 1500000); print (n < 1 ? 1 : n) }' /proc/meminfo)
cores=$(nproc)
jobs=${JOBS:-$((memory_jobs < cores ? memory_jobs : cores))}

[[ -f build/$preset/build.ninja ]] || cmake --preset "$preset" --log-level=WARNING
exec ninja -C "build/$preset" -j "$jobs" "$@"

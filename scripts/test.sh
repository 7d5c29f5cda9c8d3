#!/usr/bin/env bash
# Everything that must hold before a change lands. Each stage prints its minutes; a failed build ends the run, a failed
# check is counted and reported at the end.
set -uo pipefail
cd "$(dirname "$0")/.."
fuzz_seconds=${FUZZ_SECONDS:-30}
reports=$PWD/build/reports
rm -rf "$reports"
mkdir -p "$reports"
failed=()
table=$reports/minutes.txt

# Seconds of processor time that finished children have used.
cpu_seconds() {
  times >"$reports/times"  # no pipe: a subshell has no finished children
  awk 'NR == 2 { for (i = 1; i <= 2; ++i) { split($i, t, /[ms]/); sum += t[1] * 60 + t[2] } print sum }' "$reports/times"
}
stage() {
  local name=$1 start=$EPOCHREALTIME status=0 cpu
  cpu_seconds >"$reports/cpu"
  cpu=$(<"$reports/cpu")
  shift
  echo "== $name"
  "$@" || status=$?
  cpu_seconds >"$reports/cpu"
  awk -v a="$start" -v b="$EPOCHREALTIME" -v c="$cpu" -v d="$(<"$reports/cpu")" -v n="$name" \
    'BEGIN { printf "%6.1f min  (%5.1f of processor time)  %s\n", (b - a) / 60, (d - c) / 60, n }' | tee -a "$table"
  ((status == 0)) || failed+=("$name")
  return $status
}
must() {
  stage "$@" && return
  echo "make test: FAILED at: $1"
  exit 1
}
# Every GoogleTest binary writes its counts to build/reports/PRESET for the summary, ctest those of its other tests.
unit_tests() {
  local preset=$1
  shift
  GTEST_OUTPUT="xml:$reports/$preset/" ctest --test-dir "build/$preset" --output-on-failure --no-tests=error \
    --output-junit "$reports/$preset.junit" "$@"
}

stage "format check" scripts/format.sh --check
stage "layer check" scripts/check_layers.py
must "build release (GCC)" scripts/build.sh release
scripts/model.sh || echo "[test] models/smollm2.gguf is missing: the tests that need it are skipped"
scripts/twin.sh || echo "[test] models/twin.gguf is missing: the tests that need it are skipped"
stage "tests, release" unit_tests release -j 1
must "build asan-ubsan (Clang 16, without libtorch)" scripts/build.sh asan-ubsan
stage "tests, asan-ubsan" unit_tests asan-ubsan -j "$(nproc)" -LE slow
stage "fuzz, $fuzz_seconds s a target" scripts/fuzz.sh "$fuzz_seconds"
must "build tsan (Clang 16, base and runtime)" scripts/build.sh tsan base_tests $([[ -f src/runtime/CMakeLists.txt ]] && echo runtime_tests)
stage "tests, tsan" unit_tests tsan -R '^(base|runtime)$' -LE slow
must "build aarch64 (GCC, kernels and what they stand on)" scripts/build.sh aarch64
stage "tests, aarch64 under qemu" unit_tests aarch64

echo "== minutes"
cat "$table"
scripts/test_summary.py "$reports" "${failed[@]}"

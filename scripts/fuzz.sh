#!/usr/bin/env bash
# fuzz.sh SECONDS: every fuzz target for that long under ASan and UBSan, as many at a time as there are cores.
# Corpora grow in build/fuzz/NAME, seeded from tests/fuzz/NAME where that exists. A crash, leak, hang or over-large
# allocation fails, and its input stays in build/fuzz/NAME.crashes.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?usage: scripts/fuzz.sh SECONDS}

[[ -f build/asan-ubsan/build.ninja ]] || cmake --preset asan-ubsan --log-level=WARNING
mapfile -t targets < <(ninja -C build/asan-ubsan -t targets all | sed -nE 's/^(fuzz_[a-z0-9_]+): .*/\1/p' | sort -u)
((${#targets[@]})) || { echo "[fuzz] build/asan-ubsan has no fuzz_* target: remove that folder and try again" >&2; exit 70; }
scripts/build.sh asan-ubsan "${targets[@]}"

one() {
  local name=${1#fuzz_} corpus=build/fuzz/${1#fuzz_} log=build/fuzz/${1#fuzz_}.log seeds=()
  mkdir -p "$corpus" "$corpus.crashes"
  [[ -d tests/fuzz/$name ]] && seeds=("tests/fuzz/$name")
  local status=0
  build/asan-ubsan/"$1" "$corpus" "${seeds[@]}" -max_total_time="$SECONDS_EACH" -timeout=30 -rss_limit_mb=2048 \
    -max_len=65536 -artifact_prefix="$corpus.crashes/" -print_final_stats=1 >"$log" 2>&1 || status=$?
  local runs
  runs=$(sed -nE 's/^stat::number_of_executed_units: +//p' "$log" | tail -n 1)
  printf '%s %s seconds %s executions status %s\n' "$name" "$SECONDS_EACH" "${runs:-?}" "$status" >>build/fuzz/history.txt
  if ((status != 0)); then
    tail -n 40 "$log" >&2
    echo "[fuzz] $name: FAILED, input in $corpus.crashes" >&2
    return 1
  fi
  echo "[fuzz] $name: ${runs:-?} executions, no crash"
}
export -f one
export SECONDS_EACH=$seconds
mkdir -p build/fuzz
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'one {}'

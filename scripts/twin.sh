#!/usr/bin/env bash
# Leaves models/twin.gguf: SmolLM2's off-grid twin in F16, the same function with weights on no quantisation grid.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=${SPARING_TOOLS:-../shared/tools}/make_twin.py
target=models/twin.gguf
[[ ! -f $target ]] || exit 0
if [[ ! -f $tool ]]; then
  echo "[twin] $tool is not here: skipped (what needs $target is skipped too). SPARING_TOOLS names its folder" >&2
  exit 0
fi
scripts/model.sh
if [[ ! -x .venv/bin/python ]] || ! .venv/bin/python -c 'import gguf, numpy' 2>/dev/null; then
  python3 -m venv .venv
  .venv/bin/python -m pip install --quiet gguf==0.19.0 numpy==2.4.6
fi
trap 'rm -f "$target.partial-$$"' EXIT
.venv/bin/python "$tool" models/smollm2.gguf "$target.partial-$$" --seed 1
mv "$target.partial-$$" "$target"

#!/usr/bin/env bash
# oracle.sh [NAME...]: live comparisons with the PyPI packages of tests/oracle/requirements.txt (several GiB, and
# llama-cpp-python builds for minutes, once). ORACLE_PYTHON names a Python that has them already.
# Each tests/oracle/NAME.py exits 0 when it agrees and 77 when it cannot run, saying why.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${ORACLE_PYTHON:-}
if [[ -z $python ]]; then
  python=$PWD/.venv-oracle/bin/python
  want=$(sha256sum tests/oracle/requirements.txt)
  if [[ $(cat .venv-oracle/ready 2>/dev/null) != "$want" ]]; then
    echo "[oracle] installing tests/oracle/requirements.txt into .venv-oracle" >&2
    python3 -m venv .venv-oracle
    "$python" -m pip install --quiet -r tests/oracle/requirements.txt
    echo "$want" >.venv-oracle/ready
  fi
fi
export SPARING=$PWD/build/release/sparing PROBE=$PWD/build/release/oracle_probe PYTHONPATH=$PWD/tests/oracle/support
export SPARING_MODELS=${SPARING_MODELS:-$PWD/models} SPARING_DATA=${SPARING_DATA:-$(realpath -m ../shared/data)}
export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error

if (($#)); then names=("$@"); else mapfile -t names < <(basename -s .py tests/oracle/*.py); fi
passed=0 skipped=0 failed=()
for name in "${names[@]}"; do
  echo "== oracle: $name"
  status=0
  # -P: tests/oracle/tokenizers.py must not hide the package of that name.
  "$python" -P "tests/oracle/$name.py" || status=$?
  case $status in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed+=("$name") ;;
  esac
done
echo "make oracle: $passed agree, ${#failed[@]} differ${failed:+ (${failed[*]})}, $skipped skipped"
((${#failed[@]} == 0))

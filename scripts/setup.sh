#!/usr/bin/env bash
# Installs the Debian packages of debian-packages.txt that are missing. Silent and instant when none is.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t packages < <(sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' debian-packages.txt)
if ! command -v dpkg-query >/dev/null; then
  echo "[setup] this is not Debian: install what debian-packages.txt lists by hand, then run scripts/build.sh release" >&2
  exit 4
fi
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | awk '$1 == "ii" { print $2 }')
mapfile -t missing < <(printf '%s\n' "${packages[@]}" | grep -vxFf <(echo "$installed") || true)
((${#missing[@]})) || exit 0

# shellcheck disable=SC1091
debian=$(. /etc/os-release && echo "${ID:-} ${VERSION_ID:-}")
[[ $debian == "debian 12" ]] || echo "[setup] this is $debian; the packages are known to fit debian 12" >&2
as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || {
    echo "[setup] missing: ${missing[*]}. Run 'apt-get install ${missing[*]}' as root: there is no sudo here" >&2
    exit 4
  }
  as_root=(sudo)
fi
echo "[setup] installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
# Recommended packages are left out: one of libtorch's is a slower BLAS.
apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@" >&2
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt_get update && apt_get install -y --no-install-recommends "${missing[@]}"; } 2>"$log"; then
  cat "$log" >&2
  echo "[setup] apt-get failed (above): check the network and /etc/apt/sources.list, then run the same command again" >&2
  exit 4
fi

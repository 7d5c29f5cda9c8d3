#!/usr/bin/env bash
# format.sh --check|--fix: clang-format 16 over every tracked C++ file.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
  --check) options=(--dry-run --Werror) ;;
  --fix) options=(-i) ;;
  *) echo "usage: scripts/format.sh --check|--fix" >&2; exit 2 ;;
esac
git ls-files -z -- '*.cpp' '*.h' | xargs -0 -r -n 16 -P "$(nproc)" clang-format-16 "${options[@]}"

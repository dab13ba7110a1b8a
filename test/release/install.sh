#!/usr/bin/env bash
# The published packages as a person without a compiler gets them: packed, installed into an empty folder, and used, with nothing on the path
# but Node and a shell. Fails where the native engine does not compute.
# Usage: test/release/install.sh [folder with packed tarballs; default: made now, linux-x64 or linux-arm64 without CUDA]
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap '/bin/rm -rf "$work"' EXIT
case "$(uname -m)" in x86_64) platform=linux-x64 ;; aarch64) platform=linux-arm64 ;; *) echo "skipped: no package for $(uname -m)"; exit 0 ;; esac
tarballs=${1:-$work/tarballs}
if [ $# -eq 0 ]; then
  # What `npm ci` compiled without CUDA has a release's flags: CMake finds it up to date.
  built=(--build kernels/build)
  [ "$(sed -n 2p kernels/build/sources.sha256 2>/dev/null)" = cpu ] || built=()
  node scripts/release.mjs --out "$tarballs" --packages "$platform" ${built[@]+"${built[@]}"}
fi
own=$(ls "$tarballs"/duo-heads-"$platform"*.tgz | tail -n 1)
main=$(ls "$tarballs"/duo-heads-[0-9]*.tgz)

mkdir -p "$work/bin" "$work/empty"
node=$(command -v node) npm=$(readlink -f "$(command -v npm)")
ln -s "$node" "$work/bin/node"
ln -s /bin/sh "$work/bin/sh"
cd "$work/empty"
export PATH="$work/bin"
for tool in c++ g++ clang++ gcc cmake make; do
  if command -v "$tool" >/dev/null; then echo "Expected no $tool on the path, found one." >&2; exit 1; fi
done
node "$npm" init --yes >/dev/null
node "$npm" install --no-audit --no-fund "$main" "$own"
duo="node node_modules/duo-heads/bin/duo.js"
$duo doctor | while IFS= read -r line; do case "$line" in *native*) echo "$line" ;; esac; done
$duo identify --model demo --engine native --device cpu --steps 5 --held-out-samples 1 --out run
[ -f run/mask.json ]
echo "The packed tarballs give the native engine without a compiler."

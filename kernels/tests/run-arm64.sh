#!/bin/sh
# Cross-compiles the CPU part for arm64 and runs its unit tests under user-mode emulation, on a machine of another kind.
# Needs g++-aarch64-linux-gnu and qemu-user (Debian's names). On an arm64 machine build with DUO_TESTS=ON and run ctest instead.
# Usage: kernels/tests/run-arm64.sh [build folder, default kernels/build-arm64]
set -eu
kernels=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$kernels/build-arm64}
cmake -S "$kernels" -B "$build" -DCMAKE_BUILD_TYPE=Release -DDUO_CUDA=OFF -DDUO_TESTS=ON -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ >/dev/null
cmake --build "$build" -j "$(getconf _NPROCESSORS_ONLN)" >/dev/null
for name in test_ops test_quantized test_blocks test_attention test_safetensors test_lifetime test_session test_kv_rotation test_kl; do
  echo "== $name"
  DUO_TEST_SHORT=1 qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/tests/$name" | tail -n 1
done

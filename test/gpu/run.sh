#!/usr/bin/env bash
# All GPU tests on a machine that has one: native tests of every op and both paths, compute-sanitizer on them, engine and command-line
# tests, and a soak. Fails where the GPU is missing. Environment: DUO_SOAK_STEPS (default 100000), DUO_SANITIZE=0 leaves the sanitizer out.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=kernels/build-gpu
cmake -S kernels -B "$build" -DCMAKE_BUILD_TYPE=Release -DDUO_CUDA=ON -DDUO_TESTS=ON >/dev/null
cmake --build "$build" -j "$(nproc)" --target duo test_cuda_ops test_cuda_model test_cuda_session
tests="$build/tests/cuda"
for name in test_cuda_ops test_cuda_model test_cuda_session; do
  echo "== $name"
  "$tests/$name"
done
if [ "${DUO_SANITIZE:-1}" != 0 ]; then
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      for name in test_cuda_ops test_cuda_model; do
        echo "== compute-sanitizer $tool $name"
        # DUO_CUBLASLT=0: the project's own kernels are what is looked at.
        DUO_CUBLASLT=0 compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests/$name" >"$build/$tool-$name.log" 2>&1 ||
          { tail -n 40 "$build/$tool-$name.log"; exit 1; }
      done
    done
  else
    echo "skipped: compute-sanitizer was not found"
  fi
fi
echo "== soak"
"$tests/test_cuda_session" "${DUO_SOAK_STEPS:-100000}" | tail -n 3
echo "== engine and command line"
DUO_NATIVE_LIBRARY="$PWD/$build/libduo.so" REQUIRE_GPU=1 npx --no-install vitest run test/gpu

#!/usr/bin/env bash
# GPU tests on a machine that has one. Usage: test/gpu/run.sh [native] [sanitize] [soak] [vitest]   (default all)
#   native    every op and both paths against the CPU backend
#   sanitize  compute-sanitizer memcheck and racecheck on them, on the project's own kernels
#   soak      10⁵ decode steps, memory flat
#   vitest    engine and command line
# Builds first where sources changed (scripts/build-gpu). Fails where the GPU is missing, unless REQUIRE_GPU=0. Environment: DUO_BUILD,
# DUO_SOAK_STEPS (default 100000), DUO_SANITIZE=0 leaves the sanitizer out.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(bash scripts/build-gpu)
tests="$build/tests/cuda"
parts=${*:-native sanitize soak vitest}
wants() { [[ " $parts " == *" $1 "* ]]; }
if wants native; then
  for name in test_cuda_ops test_cuda_model test_cuda_distill test_cuda_kl test_cuda_session test_cuda_streaming; do
    echo "== $name"
    "$tests/$name"
  done
fi
if wants sanitize && [ "${DUO_SANITIZE:-1}" != 0 ]; then
  if command -v compute-sanitizer >/dev/null; then
    sanitize() {  # tool, what is checked: a log for each says where it was, the test and its part, options …
      local tool=$1 name=$2 log="$build/$1-$2.log" test=$3
      shift 3
      echo "== compute-sanitizer $tool $name"
      # shellcheck disable=SC2086
      DUO_CUBLASLT=0 stdbuf -oL compute-sanitizer --tool "$tool" --error-exitcode 9 "$@" "$tests"/$test >"$log" 2>&1 || { tail -n 40 "$log"; exit 1; }
      tail -n 2 "$log"
    }
    for tool in memcheck racecheck; do
      for part in layer product decode reduction; do sanitize $tool $part "test_cuda_ops --brief $part"; done
      sanitize $tool model test_cuda_model
    done
    sanitize memcheck attention "test_cuda_ops attention"
    # racecheck takes minutes for all of attention at once.
    sanitize racecheck attention-hopper "test_cuda_ops --brief attention" --kernel-name kns=hopper
    sanitize racecheck attention-others "test_cuda_ops --brief attention" --kernel-name-exclude kns=hopper
  else
    echo "skipped: compute-sanitizer was not found"
  fi
fi
if wants soak; then
  echo "== soak"
  "$tests/test_cuda_session" "${DUO_SOAK_STEPS:-100000}" | tail -n 3
fi
if wants vitest; then
  echo "== engine and command line"
  # By its file, not by npx: the packed Node has no npm.
  DUO_NATIVE_LIBRARY="$(realpath "$build/libduo.so")" REQUIRE_GPU="${REQUIRE_GPU:-1}" node node_modules/vitest/vitest.mjs run test/gpu
fi

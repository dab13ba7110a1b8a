#!/bin/sh
# Builds the unit tests under AddressSanitizer with UndefinedBehaviorSanitizer, then under ThreadSanitizer, and runs them.
# With clang++ installed it also runs the libFuzzer targets for FUZZ_SECONDS each (default 10).
# Usage: kernels/tests/run-sanitizers.sh [build folder, default kernels/build-sanitizers]
set -eu
kernels=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$kernels/build-sanitizers}
jobs=$(getconf _NPROCESSORS_ONLN)
for sanitizer in address,undefined thread; do
  skipped=
  folder=$build/$(echo "$sanitizer" | tr ',' '-')
  cmake -S "$kernels" -B "$folder" -DCMAKE_BUILD_TYPE=None '-DCMAKE_CXX_FLAGS=-O1 -g1' -DDUO_CUDA=OFF -DDUO_TESTS=ON "-DDUO_SANITIZE=$sanitizer" >/dev/null
  # Threads meet in the pool, the caches and the sessions; readers have none, and quantised products run in the same pool as the plain ones.
  [ "$sanitizer" != thread ] || skipped='duo_bench|quantized|blocks|safetensors|gguf'
  # Only what runs is compiled; a test is named as its program, but for those of duo_bench.
  tests=$(ctest --test-dir "$folder" -N ${skipped:+-E "$skipped"} | sed -n 's/^ *Test *#[0-9]*: //p' | sed 's/^duo_bench_.*/duo_bench/' | sort -u)
  [ -n "$tests" ] || { echo "Expected tests in $folder, ctest lists none." >&2; exit 1; }
  # shellcheck disable=SC2086
  cmake --build "$folder" -j "$jobs" --target $tests >/dev/null
  # Contained memory functions: an intentional over-large request must come back as an error, not end the program.
  ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1 \
    DUO_TEST_SHORT=1 ctest --test-dir "$folder" --output-on-failure -j "$jobs" ${skipped:+-E "$skipped"}
done
clang=$(command -v clang++ || command -v clang++-14 || true)
if [ -n "$clang" ]; then
  # One target for each format: FUZZ_SECONDS each, or FUZZ_RUNS inputs where that is set alone.
  seconds=${FUZZ_SECONDS:-${FUZZ_RUNS:+0}}
  fuzz() {
    format=$1
    shift
    "$clang" -std=c++17 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -I "$kernels" -I "$kernels/include" \
      "$kernels/tests/fuzz_$format.cpp" "$kernels/core/error.cpp" "$@" -o "$build/fuzz-$format"
    mkdir -p "$build/corpus/$format"
    "$build/fuzz-$format" -max_total_time="${seconds:-10}" -runs="${FUZZ_RUNS:--1}" -print_final_stats=1 "$build/corpus/$format" "$kernels/tests/corpus/$format"
  }
  fuzz safetensors "$kernels/core/safetensors.cpp"
  fuzz gguf "$kernels/core/gguf.cpp" "$kernels/core/gguf_blocks.cpp" "$kernels/core/gguf_names.cpp"
else
  echo "skipped: libFuzzer needs clang++, which was not found"
fi

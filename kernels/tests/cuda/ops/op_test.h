// The harness of the op tests: every launch that kernels/cuda/*.h declares has a test here, OP_TEST(group,
// launch_name), that holds it to fp64 loops on the host. main.cpp runs all, a group or a launch, and fails where a
// declared launch has no test.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "cuda/device.h"
#include "cuda_test.h"

namespace duo::test {

using cuda::DeviceBuffer;
using cuda::Half;

struct OpTest {
  std::string group, launch;
  void (*run)();
};
inline std::vector<OpTest> &op_tests() {
  static std::vector<OpTest> tests;
  return tests;
}
inline bool add_op_test(const char *group, const char *launch, void (*run)()) {
  op_tests().push_back({group, launch, run});
  return true;
}
// Under a slow tool (racecheck) a test does less.
inline bool is_brief = false;

#define OP_TEST(group, launch)                                                                                \
  static void test_##launch();                                                                                \
  [[maybe_unused]] static const bool has_##launch = ::duo::test::add_op_test(#group, #launch, test_##launch); \
  static void test_##launch()

inline const cuda::Stream &test_stream() {
  static const cuda::Stream stream;
  return stream;
}
template <typename T>
DeviceBuffer<T> upload(const std::vector<T> &values) {
  return upload(values, test_stream());
}
template <typename T>
std::vector<T> download(const DeviceBuffer<T> &buffer) {
  return download(buffer, test_stream());
}

// What `launch(out, stream)` writes to `count` elements, the same bits in every order of threads. Where a launch leaves
// elements alone, `before` is what they hold; otherwise the emulation fills them with NaN.
template <typename T>
std::vector<T> run_launch(const std::string &name, int64_t count,
                          const std::function<cudaError_t(T *, cudaStream_t)> &launch,
                          const std::vector<T> &before = {}) {
  return run_in_every_order<std::vector<T>>(name, [&] {
    DeviceBuffer<T> out = before.empty() ? DeviceBuffer<T>(count) : upload(before);
    cuda::check(launch(out.data(), test_stream().get()), name.c_str());
    return download(out);
  });
}

// ---- 16-bit floats ----

// To the nearest f16, ties to even; written here anew, from the format's definition.
inline uint16_t float_to_f16(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double size = std::fabs(static_cast<double>(value));
  if (std::isnan(value)) return 0x7e00;
  if (size < 0x1p-14) return static_cast<uint16_t>(sign | static_cast<int>(std::nearbyint(std::ldexp(size, 24))));
  int exponent;
  std::frexp(size, &exponent);  // size = 0.5 … 1 · 2^exponent
  const double mantissa = std::isinf(size) ? 1024 : std::nearbyint(std::ldexp(size, 11 - exponent));  // 1024 … 2048
  const int bits = std::isinf(size) ? 31 << 10 : ((exponent + 14) << 10) + static_cast<int>(mantissa) - 1024;
  return static_cast<uint16_t>(sign | std::min(bits, 31 << 10));
}
inline std::vector<uint16_t> to_half(const std::vector<float> &values, Half half) {
  if (half == Half::bf16) return to_bf16(values);
  std::vector<uint16_t> out;
  for (const float value : values) out.push_back(float_to_f16(value));
  return out;
}
inline std::vector<float> from_half(const std::vector<uint16_t> &values, Half half) {
  std::vector<float> out;
  for (const uint16_t value : values) out.push_back(half == Half::bf16 ? bf16_to_float(value) : f16_to_float(value));
  return out;
}
inline std::vector<float> round_half(const std::vector<float> &values, Half half) {
  return from_half(to_half(values, half), half);
}
inline const char *name_of(Half half) { return half == Half::bf16 ? " bf16" : " f16"; }

// Every element is `expected` rounded to the nearest 16-bit float: off by half a unit in the last place at most, and by
// what fp32 arithmetic adds, fp32_sum of the largest of its row. Truncation, a wrong term, a wrong row are each seen in
// any element, however small.
inline void expect_rounded(const std::vector<uint16_t> &got, const std::vector<double> &expected, int64_t width,
                           Half half, const std::string &what) {
  double worst = got.size() == expected.size() ? 0 : NAN;
  const int bits = half == Half::bf16 ? 8 : 11, lowest = half == Half::bf16 ? -126 : -14;
  for (size_t row = 0; row < expected.size() && !std::isnan(worst); row += static_cast<size_t>(width)) {
    double largest = 0;
    for (size_t i = row; i < row + static_cast<size_t>(width); i++) largest = worse(largest, std::fabs(expected[i]));
    for (size_t i = row; i < row + static_cast<size_t>(width); i++) {
      int exponent;
      std::frexp(expected[i], &exponent);
      const double half_unit = std::ldexp(0.5, std::max(exponent - 1, lowest) - (bits - 1));
      const double value = half == Half::bf16 ? bf16_to_float(got[i]) : f16_to_float(got[i]);
      worst = worse(worst, std::fabs(value - expected[i]) / (half_unit + tolerance::fp32_sum * largest));
    }
  }
  expect_within(worst, 1, what + ", in half units of the last place");
}

}  // namespace duo::test

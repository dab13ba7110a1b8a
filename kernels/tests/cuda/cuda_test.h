// What the CUDA tests share: counted expectations, seeded values, the error measure of DESIGN.md, host and device copies.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "cuda/runtime.h"

namespace duo::test {

inline int num_failed = 0, num_passed = 0;

inline void expect(bool holds, const std::string &what) {
  (holds ? num_passed : num_failed)++;
  if (!holds) std::printf("FAILED: %s\n", what.c_str());
}

// max|a−b| / max|b| (DESIGN.md, Agreement).
template <typename A, typename B>
double relative_error(const A &a, const B &b) {
  double worst = 0, largest = 0;
  for (size_t i = 0; i < b.size(); i++) {
    const double difference = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= worst)) worst = difference;  // a NaN stays
    largest = std::max(largest, std::fabs(static_cast<double>(b[i])));
  }
  return largest == 0 ? worst : worst / largest;
}

// Prints how much of a tolerance was used (STYLE.md, principle 9).
inline void expect_within(double error, double tolerance, const std::string &what) {
  std::printf("%-64s %.1e of %.0e\n", what.c_str(), error, tolerance);
  expect(error <= tolerance, what + ": " + std::to_string(error));
}

class Values {
 public:
  explicit Values(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) {}
  double unit() {  // −1 … 1
    state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
    return static_cast<double>(state_ >> 11) * 0x1p-52 - 1.0;
  }
  int64_t below(int64_t bound) { return static_cast<int64_t>((unit() + 1.0) * 0.5 * static_cast<double>(bound)) % bound; }
  std::vector<float> floats(int64_t count, double scale = 1.0) {
    std::vector<float> out;
    for (int64_t i = 0; i < count; i++) out.push_back(static_cast<float>(unit() * scale));
    return out;
  }

 private:
  uint64_t state_;
};

inline std::vector<uint16_t> to_bf16(const std::vector<float> &values) {
  std::vector<uint16_t> out;
  for (const float value : values) out.push_back(float_to_bf16(value));
  return out;
}
inline std::vector<float> round_bf16(const std::vector<float> &values) {
  std::vector<float> out;
  for (const float value : values) out.push_back(bf16_to_float(float_to_bf16(value)));
  return out;
}
inline std::vector<float> from_bf16(const std::vector<uint16_t> &values) {
  std::vector<float> out;
  for (const uint16_t value : values) out.push_back(bf16_to_float(value));
  return out;
}

template <typename T>
cuda::DeviceBuffer<T> upload(const std::vector<T> &values, const cuda::Stream &stream) {
  cuda::DeviceBuffer<T> out(static_cast<int64_t>(values.size()));
  cuda::copy_to_device(out.data(), values.data(), out.count(), stream);
  stream.wait();
  return out;
}
template <typename T>
std::vector<T> download(const cuda::DeviceBuffer<T> &buffer, const cuda::Stream &stream) {
  std::vector<T> out(static_cast<size_t>(buffer.count()));
  cuda::copy_to_host(out.data(), buffer.data(), buffer.count(), stream);
  return out;
}

#ifdef DUO_EMULATION
// Run with threads taking turns in three orders; the results must be the same bits, or a barrier is missing.
template <typename Result>
Result run_in_every_order(const std::string &what, const std::function<Result()> &body) {
  emulation::set_schedule(emulation::Schedule::forward);
  const Result first = body();
  for (const auto schedule : {emulation::Schedule::reverse, emulation::Schedule::shuffled}) {
    emulation::set_schedule(schedule);
    expect(body() == first, what + ": the same bits in every order of threads");
  }
  emulation::set_schedule(emulation::Schedule::forward);
  return first;
}
#else
// On a GPU: the same bits from run to run.
template <typename Result>
Result run_in_every_order(const std::string &what, const std::function<Result()> &body) {
  const Result first = body();
  expect(body() == first, what + ": the same bits again");
  return first;
}
#endif

inline int finish() {
  std::printf("%d passed, %d failed\n", num_passed, num_failed);
  return num_failed == 0 ? 0 : 1;
}

}  // namespace duo::test

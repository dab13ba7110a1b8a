// What the unit tests share: counted expectations, seeded values, agreement, guard bytes. Each test is a plain program that returns 0 or 1.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "cpu/cpu_features.h"
#include "cpu/linear.h"

namespace duo {

inline int num_failed = 0, num_checked = 0;

inline void expect(bool holds, const std::string &what) {
  num_checked++;
  if (holds) return;
  num_failed++;
  std::printf("FAILED: %s\n", what.c_str());
}

inline int finish(const char *name) {
  std::printf("%s: %d checks, %d failed\n", name, num_checked, num_failed);
  return num_failed == 0 ? 0 : 1;
}

// max|a − b| / max|b|
template <typename A, typename B>
double measure_agreement(const A *a, const B *b, int64_t count) {
  double difference = 0, largest = 0;
  for (int64_t i = 0; i < count; i++) {
    const double error = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(error <= difference)) difference = error;  // NaN stays
    largest = std::max(largest, std::fabs(static_cast<double>(b[i])));
  }
  return difference == 0 ? 0 : difference / largest;
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) {}
  uint64_t bits() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  int64_t integer(int64_t low, int64_t high) { return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1)); }
  float value() { return static_cast<float>(bits() >> 40) * (2.0f / 16777216.0f) - 1.0f; }
  std::vector<float> values(int64_t count) {
    std::vector<float> out(static_cast<size_t>(count));
    for (float &at : out) at = value();
    return out;
  }

 private:
  uint64_t state_;
};

// `count` floats between guards that must not be written.
class Guarded {
 public:
  explicit Guarded(int64_t count) : count_(count), values_(static_cast<size_t>(count + 2 * GUARD), MARK) {}
  float *data() { return values_.data() + GUARD; }
  bool is_intact() const {
    for (int64_t i = 0; i < GUARD; i++) {
      if (values_[static_cast<size_t>(i)] != MARK || values_[static_cast<size_t>(GUARD + count_ + i)] != MARK) return false;
    }
    return true;
  }

 private:
  static constexpr int64_t GUARD = 32;
  static constexpr float MARK = -12345.678f;
  int64_t count_;
  std::vector<float> values_;
};

// Tables of inner loops that this machine can run; the others are named as skipped.
inline std::vector<const SimdOps *> list_simd_ops() {
  std::vector<const SimdOps *> list{simd_ops_plain()};
  for (const char *name : {"avx2", "avx512", "neon"}) {
    try {
      list.push_back(&choose_simd_ops(name));
    } catch (const Error &) {
      std::printf("skipped %s: not on this machine\n", name);
    }
  }
  return list;
}

}  // namespace duo

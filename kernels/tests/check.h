// What all native tests share: counted expectations, seeded values, measures of agreement, guard bytes, the table of
// tolerances. Each test is a plain program that returns 0 or 1. A NaN never passes: every comparison here is written so
// that it fails on one.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"

namespace duo {

// tolerances.def: tolerance::NAME.
namespace tolerance {
#define X(name, value, reason) constexpr double name = value;
#include "tolerances.def"
#undef X
}  // namespace tolerance

inline int num_failed = 0, num_checked = 0;

inline void expect(bool holds, const std::string &what) {
  num_checked++;
  if (holds) return;
  num_failed++;
  std::printf("FAILED: %s\n", what.c_str());
}

// Prints how much of a tolerance was used (STYLE.md, principle 9).
inline void expect_within(double error, double tolerance, const std::string &what) {
  std::printf("%-72s %.1e of %.1e\n", what.c_str(), error, tolerance);
  expect(error <= tolerance, what + ": " + std::to_string(error));
}

inline int finish(const char *name) {
  std::printf("%s: %d checks, %d failed\n", name, num_checked, num_failed);
  return num_failed == 0 ? 0 : 1;
}

// The greater of the two; NaN where either is NaN, which std::max would drop.
inline double worse(double a, double b) { return b <= a ? a : std::isnan(a) ? a : b; }

// max|a − b| / max|b| (docs/semantics.md, Agreement); max|a − b| where b is zero throughout.
template <typename A, typename B>
double measure_agreement(const A *a, const B *b, int64_t count) {
  double difference = 0, largest = 0;
  for (int64_t i = 0; i < count; i++) {
    difference = worse(difference, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    largest = worse(largest, std::fabs(static_cast<double>(b[i])));
  }
  return difference == 0 ? 0 : largest == 0 ? difference : difference / largest;
}
template <typename A, typename B>
double relative_error(const A &a, const B &b) {
  return a.size() == b.size() ? measure_agreement(a.data(), b.data(), static_cast<int64_t>(b.size())) : NAN;
}
// The worst row of `width` elements: a small row is held to its own size, not to the largest row's; to `floor` of that
// at least, for rows that are nothing but a difference of large terms.
template <typename A, typename B>
double worst_row_error(const A &a, const B &b, int64_t width, double floor = 0) {
  if (a.size() != b.size() || b.size() % static_cast<size_t>(width) != 0) return NAN;
  double worst = 0, largest = 0;
  for (const auto &value : b) largest = worse(largest, std::fabs(static_cast<double>(value)));
  for (size_t row = 0; row < b.size(); row += static_cast<size_t>(width)) {
    double difference = 0, size = floor * largest;
    for (size_t i = row; i < row + static_cast<size_t>(width); i++) {
      difference = worse(difference, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
      size = worse(size, std::fabs(static_cast<double>(b[i])));
    }
    worst = worse(worst, difference == 0 ? 0 : size == 0 ? difference : difference / size);
  }
  return worst;
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
  int64_t integer(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1));
  }
  int64_t below(int64_t bound) { return integer(0, bound - 1); }
  float value() { return static_cast<float>(bits() >> 40) * (2.0f / 16777216.0f) - 1.0f; }  // −1 … 1
  std::vector<float> values(int64_t count, double scale = 1.0) {
    std::vector<float> out(static_cast<size_t>(count));
    for (float &at : out) at = static_cast<float>(scale * static_cast<double>(value()));
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
      if (values_[static_cast<size_t>(i)] != MARK || values_[static_cast<size_t>(GUARD + count_ + i)] != MARK)
        return false;
    }
    return true;
  }

 private:
  static constexpr int64_t GUARD = 32;
  static constexpr float MARK = -12345.678f;
  int64_t count_;
  std::vector<float> values_;
};

}  // namespace duo

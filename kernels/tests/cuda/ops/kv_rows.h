// Stored rows of a KV cache on the host, from the formats' definitions (cuda/kv_formats.h says what they are; nothing
// of it is used here).
#pragma once
#include "op_test.h"

namespace duo::test {

const std::vector<Dtype> KV_DTYPES{Dtype::f32, Dtype::bf16, Dtype::int8, Dtype::fp8, Dtype::int4, Dtype::k8v4};
inline const char *kv_name(Dtype dtype) {
  return dtype == Dtype::f32    ? "fp32"
         : dtype == Dtype::bf16 ? "bf16"
         : dtype == Dtype::f16  ? "f16"
         : dtype == Dtype::int8 ? "int8"
         : dtype == Dtype::fp8  ? "fp8"
         : dtype == Dtype::k8v4 ? "k8v4"
                                : "int4";
}
// What a key or a value of a cache of this dtype is; what follows is of one vector.
inline Dtype kv_stored(Dtype cache, bool is_value) {
  return cache != Dtype::k8v4 ? cache : is_value ? Dtype::int4 : Dtype::int8;
}
inline int64_t kv_bytes(Dtype dtype, int64_t dim) {
  return dtype == Dtype::f32                           ? 4 * dim
         : dtype == Dtype::bf16 || dtype == Dtype::f16 ? 2 * dim
         : dtype == Dtype::int4                        ? (dim + 31) / 32 * 16  // whole 16 bytes
                                                       : dim;
}
inline bool kv_has_scale(Dtype dtype) { return dtype != Dtype::f32 && dtype != Dtype::bf16 && dtype != Dtype::f16; }

inline double fp8_value(uint8_t byte) {
  const int exponent = byte >> 3 & 15, mantissa = byte & 7;
  const double size = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return byte & 0x80 ? -size : size;
}

// Element i of a row and its scale word.
inline double kv_value(Dtype dtype, const uint8_t *row, uint32_t word, int64_t i) {
  uint16_t half;
  float single;
  switch (dtype) {
    case Dtype::f32: std::memcpy(&single, row + 4 * i, 4); return single;
    case Dtype::bf16: std::memcpy(&half, row + 2 * i, 2); return bf16_to_float(half);
    case Dtype::f16: std::memcpy(&half, row + 2 * i, 2); return f16_to_float(half);
    case Dtype::int8: return static_cast<double>(static_cast<int8_t>(row[i])) * bits_to_float(word);
    case Dtype::fp8: return fp8_value(row[i]) * bits_to_float(word);
    default:
      return ((row[i / 2] >> (4 * (i % 2)) & 15) -
              static_cast<double>(f16_to_float(static_cast<uint16_t>(word >> 16)))) *
             f16_to_float(static_cast<uint16_t>(word));
  }
}

// How far a stored row is from what its format should keep of `vector` [dim], in half steps: 1 is the nearest value, as
// it should be; more is a wrong scale, truncation or another vector. `slack`: error of the vector itself, relative to
// its largest element.
inline double kv_row_error(Dtype dtype, const uint8_t *row, uint32_t word, const double *vector, int64_t dim,
                           double slack = 4e-6) {
  double largest = 0, positive = 0, negative = 0, worst = 0;
  for (int64_t i = 0; i < dim; i++) {
    largest = worse(largest, std::fabs(vector[i]));
    positive = std::max(positive, vector[i]), negative = std::max(negative, -vector[i]);
  }
  double half_step = 0;
  if (dtype == Dtype::int8 || dtype == Dtype::fp8) {
    const double scale = bits_to_float(word), expected = largest / (dtype == Dtype::int8 ? 127 : 448);
    worst = expected == 0 ? (scale == 0 ? 0 : NAN) : std::fabs(scale / expected - 1) <= 2 * slack + 1e-6 ? 0 : 100;
    half_step = scale / 2;
  } else if (dtype == Dtype::int4) {
    const double scale = f16_to_float(static_cast<uint16_t>(word)),
                 zero = f16_to_float(static_cast<uint16_t>(word >> 16)), expected = (positive + negative) / 15;
    worst = expected == 0 ? (scale == 0 ? 0 : NAN) : std::fabs(scale / expected - 1) <= 2 * slack + 0x1p-10 ? 0 : 100;
    if (scale > 0) worst = worse(worst, std::fabs(zero - std::min(15.0, negative / scale)) / (0.5 + 1e-3));
    if (zero != std::nearbyint(zero) || zero < 0 || zero > 15) worst = 100;
    half_step = scale / 2;
  }
  for (int64_t i = 0; i < dim; i++) {
    int exponent;
    if (dtype == Dtype::f32) {
      half_step = std::fabs(vector[i]) * 0x1p-24;
    } else if (dtype == Dtype::bf16 || dtype == Dtype::f16) {
      std::frexp(vector[i], &exponent);
      half_step =
          dtype == Dtype::bf16 ? std::ldexp(0.5, exponent - 8) : std::ldexp(0.5, std::max(exponent - 1, -14) - 10);
    } else if (dtype == Dtype::fp8) {
      const double scale = bits_to_float(word);
      std::frexp(scale == 0 ? 0 : vector[i] / scale, &exponent);
      half_step = scale * std::ldexp(0.5, std::max(exponent - 1, -6) - 3);
    } else if (dtype == Dtype::int4) {
      // The zero is rounded to a step, so values at an end may lie up to half a step beyond the last: clamped there.
      const double scale = half_step * 2, zero = f16_to_float(static_cast<uint16_t>(word >> 16)),
                   step = scale == 0 ? 0 : vector[i] / scale + zero;
      const double stored = row[i / 2] >> (4 * (i % 2)) & 15;
      const double nearest = std::min(15.0, std::max(0.0, step));
      worst = worse(worst, std::fabs(stored - nearest) / (0.5 + slack * 15));
      continue;
    }
    worst = worse(worst, std::fabs(kv_value(dtype, row, word, i) - vector[i]) / (half_step + slack * largest));
  }
  return worst;
}

// A head vector normed (`norm` [D] or null) and rotated in fp64; cosine, sine [D/2] or null.
inline std::vector<double> rotate_exactly(const float *vector, int64_t dim, const float *norm, double eps,
                                          const float *cosine, const float *sine) {
  double square = 0;
  for (int64_t i = 0; i < dim; i++) square += static_cast<double>(vector[i]) * vector[i];
  const double scale = norm == nullptr ? 1 : 1 / std::sqrt(square / static_cast<double>(dim) + eps);
  std::vector<double> out(static_cast<size_t>(dim));
  for (int64_t i = 0; i < dim / 2; i++) {
    const double first = vector[i] * scale * (norm == nullptr ? 1 : norm[i]),
                 second = vector[i + dim / 2] * scale * (norm == nullptr ? 1 : norm[i + dim / 2]);
    out[i] = cosine == nullptr ? first : first * cosine[i] - second * sine[i];
    out[i + dim / 2] = cosine == nullptr ? second : second * cosine[i] + first * sine[i];
  }
  return out;
}

// The orthonormal Walsh–Hadamard transform of vectors [n, D] by its definition, in blocks of the largest powers of two
// that fit: entry (i, j) of a block of size B is (−1)^|i ∧ j|/√B.
inline std::vector<double> transform_exactly(const std::vector<double> &vectors, int64_t dim) {
  std::vector<double> out(vectors.size());
  for (size_t vector = 0; vector < vectors.size(); vector += static_cast<size_t>(dim)) {
    int64_t size = 0;
    for (int64_t begin = 0; begin < dim; begin += size) {
      for (size = 1; 2 * size <= dim - begin;) size *= 2;
      const size_t at = vector + static_cast<size_t>(begin);
      for (int64_t i = 0; i < size; i++) {
        for (int64_t j = 0; j < size; j++)
          out[at + static_cast<size_t>(i)] +=
              (__builtin_popcountll(static_cast<unsigned long long>(i & j)) % 2 == 0 ? 1 : -1) *
              vectors[at + static_cast<size_t>(j)];
        out[at + static_cast<size_t>(i)] /= std::sqrt(static_cast<double>(size));
      }
    }
  }
  return out;
}

}  // namespace duo::test

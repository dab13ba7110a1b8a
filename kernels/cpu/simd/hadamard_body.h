// The orthonormal Walsh–Hadamard transform of head vectors, in place, for one instruction set (arXiv 2404.00456,
// QuaRot: what it does to outliers). Every sum is of the same two numbers at every vector width, so all instruction
// sets give the same bits.
#include "cpu/simd/cache_ops.h"
#include "cpu/simd/vector.h"

namespace duo {
namespace {
namespace hadamard_loops {

// Lanes i and i ^ HALF, i the one without the bit: their sum and difference. The factor is ±1, so fusing it changes
// nothing.
template <int HALF>
DUO_INLINE Vector add_and_subtract(Vector x) {
  const IntVector lanes = lane_indices();
  return __builtin_shuffle(x, lanes ^ HALF) + select((lanes & HALF) != 0, broadcast(-1.0f), broadcast(1.0f)) * x;
}

// A block of `size` values, a power of two below WIDTH.
void transform_short(float *x, int64_t size) {
  for (int64_t half = 1; half < size; half *= 2) {
    for (int64_t i = 0; i < size; i++) {
      if ((i & half) != 0) continue;
      const float a = x[i], b = x[i + half];
      x[i] = a + b;
      x[i + half] = a - b;
    }
  }
}

// A block of `size` values, a power of two of at least WIDTH.
void transform_long(float *x, int64_t size) {
  for (int64_t i = 0; i < size; i += WIDTH) {
    Vector value = load(x + i);
    if constexpr (WIDTH > 1) value = add_and_subtract<1>(value);
    if constexpr (WIDTH > 2) value = add_and_subtract<2>(value);
    if constexpr (WIDTH > 4) value = add_and_subtract<4>(value);
    if constexpr (WIDTH > 8) value = add_and_subtract<8>(value);
    static_assert(WIDTH <= 16);
    store(x + i, value);
  }
  for (int64_t half = WIDTH; half < size; half *= 2) {
    for (int64_t pair = 0; pair < size; pair += 2 * half) {
      for (int64_t i = pair; i < pair + half; i += WIDTH) {
        const Vector a = load(x + i), b = load(x + i + half);
        store(x + i, a + b);
        store(x + i + half, a - b);
      }
    }
  }
}

void transform_hadamard(float *vectors, int64_t count, int64_t head_dim) {
  for (int64_t v = 0; v < count; v++) {
    float *x = vectors + v * head_dim;
    for (int64_t begin = 0; begin < head_dim;) {
      const int64_t size = hadamard_block(head_dim - begin);
      size < WIDTH ? transform_short(x + begin, size) : transform_long(x + begin, size);
      const float unit = 1.0f / __builtin_sqrtf(static_cast<float>(size));
      for (int64_t i = 0; i < size; i++) x[begin + i] *= unit;
      begin += size;
    }
  }
}

}  // namespace hadamard_loops
}  // namespace
}  // namespace duo

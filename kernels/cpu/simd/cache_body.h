// CacheOps for one instruction set: decode attention over f32, bf16 and int8 caches, widening of cache slots, and prefill's small products.
// Lanes run over slots for scores (keys lie transposed in blocks) and over the head dim for the weighted sum of values.
#include "cpu/simd/cache_ops.h"
#include "cpu/simd/vector.h"

namespace duo {
namespace {
namespace cache_loops {

constexpr int64_t TILE_SLOTS = 64;      // slots whose scores live on the stack between the two products
constexpr int64_t BLOCK = KEY_BLOCK;
constexpr int64_t BLOCK_VECTORS = BLOCK / WIDTH;

// How elements of a cache's dtype become fp32, one and WIDTH at a time; the scale of an int8 vector is the caller's.
struct LoadF32 {
  static constexpr int64_t BYTES = 4;
  DUO_INLINE Vector lanes(const uint8_t *from) { return load_f32(from, 0); }
  DUO_INLINE float one(const uint8_t *from) { return scalar_f32(from, 0); }
};
struct LoadBf16 {
  static constexpr int64_t BYTES = 2;
  DUO_INLINE Vector lanes(const uint8_t *from) { return load_bf16(from, 0); }
  DUO_INLINE float one(const uint8_t *from) { return scalar_bf16(from, 0); }
};
struct LoadInt8 {
  static constexpr int64_t BYTES = 1;
  DUO_INLINE Vector lanes(const uint8_t *from) {
    // Compilers turn the generic conversion of bytes into scalar code.
#if defined(__AVX512F__)
    __m128i bytes;
    __builtin_memcpy(&bytes, from, sizeof bytes);
    return __builtin_convertvector(reinterpret_cast<IntVector>(_mm512_maskz_cvtepi8_epi32(0xffff, bytes)), Vector);
#elif defined(__AVX2__)
    int64_t bytes;
    __builtin_memcpy(&bytes, from, sizeof bytes);
    return __builtin_convertvector(reinterpret_cast<IntVector>(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bytes))), Vector);
#else
    ByteVector bytes;
    __builtin_memcpy(&bytes, from, sizeof bytes);
    return __builtin_convertvector(__builtin_convertvector(bytes, IntVector), Vector);
#endif
  }
  DUO_INLINE float one(const uint8_t *from) { return static_cast<float>(static_cast<int8_t>(*from)); }
};

DUO_INLINE float max_lanes(Vector value) {
  float largest = value[0];
  for (int64_t lane = 1; lane < WIDTH; lane++) largest = value[lane] > largest ? value[lane] : largest;
  return largest;
}

DUO_INLINE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

// scores[r·TILE_SLOTS + lane] of BLOCKS full blocks that follow each other, from `keys` on.
template <typename Load, int ROWS, int BLOCKS>
DUO_INLINE void score_blocks(const uint8_t *keys, const float *queries, int64_t head_dim, float *scores) {
  constexpr int VECTORS = BLOCKS * BLOCK_VECTORS;
  const int64_t block_bytes = head_dim * BLOCK * Load::BYTES;
  Vector sums[ROWS][VECTORS] = {};
  for (int64_t d = 0; d < head_dim; d++) {
    Vector k[VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) {
      k[v] = Load::lanes(keys + (v / BLOCK_VECTORS) * block_bytes + (d * BLOCK + (v % BLOCK_VECTORS) * WIDTH) * Load::BYTES);
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
      const Vector q = broadcast(queries[r * head_dim + d]);
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; v++) sums[r][v] += q * k[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) store(scores + r * TILE_SLOTS + v * WIDTH, sums[r][v]);
  }
}

// weighted[r] += Σ_i p[r][i]·value_i over WIDTH·VECTORS dims from `values` on.
template <typename Load, int ROWS, int VECTORS>
DUO_INLINE void add_values(const uint8_t *values, int64_t row_bytes, int64_t count, const float *p, float *weighted, int64_t head_dim) {
  Vector sums[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v++) sums[r][v] = load(weighted + r * head_dim + v * WIDTH);
  }
  for (int64_t i = 0; i < count; i++) {
    Vector row[VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v++) row[v] = Load::lanes(values + i * row_bytes + v * WIDTH * Load::BYTES);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
      const Vector weight = broadcast(p[r * TILE_SLOTS + i]);
#pragma GCC unroll 8
      for (int v = 0; v < VECTORS; v++) sums[r][v] += weight * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v++) store(weighted + r * head_dim + v * WIDTH, sums[r][v]);
  }
}

// One tile of at most TILE_SLOTS slots: online softmax of ROWS queries, then the values.
template <typename Load, int ROWS>
void attend_tile(const CacheView &cache, const float *queries, int64_t begin, int64_t end, float *max, float *sum, float *weighted) {
  const int64_t head_dim = cache.head_dim, count = end - begin;
  constexpr int GROUP = ROWS == 1 ? 4 : (ROWS <= 4 ? 2 : 1);
  float scores[ROWS * TILE_SLOTS];
  // Blocks that lie in full in the cache are computed in full (their memory exists); slots from `end` on are masked below.
  int64_t slot = begin;
  const uint8_t *keys = cache.keys + begin * head_dim * Load::BYTES;
  const int64_t full_end = min_of(cache.capacity / BLOCK * BLOCK, (end + BLOCK - 1) / BLOCK * BLOCK);
  for (; WIDTH == 16 && slot + GROUP * BLOCK <= full_end; slot += GROUP * BLOCK, keys += GROUP * BLOCK * head_dim * Load::BYTES) {
    score_blocks<Load, ROWS, GROUP>(keys, queries, head_dim, scores + (slot - begin));
  }
  for (; slot + BLOCK <= full_end; slot += BLOCK, keys += BLOCK * head_dim * Load::BYTES) {
    score_blocks<Load, ROWS, 1>(keys, queries, head_dim, scores + (slot - begin));
  }
  if (slot < end) {  // the capacity's last, narrow block
    const int64_t width = cache.capacity - slot;
    for (int r = 0; r < ROWS; r++) {
      for (int64_t lane = 0; lane < end - slot; lane++) {
        float score = 0.0f;
        for (int64_t d = 0; d < head_dim; d++) score += queries[r * head_dim + d] * Load::one(keys + (d * width + lane) * Load::BYTES);
        scores[r * TILE_SLOTS + (slot - begin) + lane] = score;
      }
    }
  }
  const int64_t padded = (count + WIDTH - 1) / WIDTH * WIDTH;
  for (int r = 0; r < ROWS; r++) {
    float *row = scores + r * TILE_SLOTS;
    if (cache.key_scales != nullptr) {
      for (int64_t i = 0; i < count; i++) row[i] *= cache.key_scales[begin + i];
    }
    for (int64_t i = count; i < padded; i++) row[i] = MASKED_SCORE;
    Vector largest = broadcast(max[r]);
    for (int64_t i = 0; i < padded; i += WIDTH) {
      const Vector s = load(row + i);
      largest = s > largest ? s : largest;
    }
    const float new_max = max_lanes(largest);
    float factors[WIDTH];
    store(factors, exponential(broadcast(max[r] - new_max)));
    const float factor = factors[0];
    Vector total{};
    for (int64_t i = 0; i < padded; i += WIDTH) {
      const Vector p = exponential(load(row + i) - new_max);
      total += p;
      store(row + i, p);
    }
    max[r] = new_max;
    sum[r] = sum[r] * factor + sum_lanes(total);
    if (cache.value_scales != nullptr) {
      for (int64_t i = 0; i < count; i++) row[i] *= cache.value_scales[begin + i];
    }
    if (factor != 1.0f) {
      for (int64_t d = 0; d < head_dim; d++) weighted[r * head_dim + d] *= factor;
    }
  }
  const int64_t row_bytes = head_dim * Load::BYTES;
  const uint8_t *values = cache.values + begin * row_bytes;
  constexpr int WIDE = (WIDTH == 4 ? 16 : WIDTH) / ROWS >= 4 ? 4 : (WIDTH / ROWS >= 2 ? 2 : 1);
  int64_t d = 0;
  for (; d + WIDE * WIDTH <= head_dim; d += WIDE * WIDTH) {
    add_values<Load, ROWS, WIDE>(values + d * Load::BYTES, row_bytes, count, scores, weighted + d, head_dim);
  }
  for (; d + WIDTH <= head_dim; d += WIDTH) {
    add_values<Load, ROWS, 1>(values + d * Load::BYTES, row_bytes, count, scores, weighted + d, head_dim);
  }
  for (; d < head_dim; d++) {
    for (int r = 0; r < ROWS; r++) {
      float total = weighted[r * head_dim + d];
      for (int64_t i = 0; i < count; i++) total += scores[r * TILE_SLOTS + i] * Load::one(values + i * row_bytes + d * Load::BYTES);
      weighted[r * head_dim + d] = total;
    }
  }
}

// All queries on one tile before the next, so that the tile is read from memory once. A query's result does not depend on its group.
template <typename Load>
void attend_loaded(const CacheView &cache, const float *queries, int64_t rows, int64_t begin, int64_t end, float *max, float *sum,
                   float *weighted) {
  const int64_t head_dim = cache.head_dim;
  for (int64_t r = 0; r < rows; r++) {
    max[r] = MASKED_SCORE;
    sum[r] = 0.0f;
  }
  for (int64_t i = 0; i < rows * head_dim; i++) weighted[i] = 0.0f;
  for (int64_t tile = begin; tile < end; tile += TILE_SLOTS) {
    const int64_t tile_end = min_of(tile + TILE_SLOTS, end);
    int64_t r = 0;
    if constexpr (WIDTH == 16) {
      for (; r + 8 <= rows; r += 8) {
        attend_tile<Load, 8>(cache, queries + r * head_dim, tile, tile_end, max + r, sum + r, weighted + r * head_dim);
      }
    }
    for (; r + 4 <= rows; r += 4) {
      attend_tile<Load, 4>(cache, queries + r * head_dim, tile, tile_end, max + r, sum + r, weighted + r * head_dim);
    }
    const float *q = queries + r * head_dim;
    float *w = weighted + r * head_dim;
    if (rows - r == 3) attend_tile<Load, 3>(cache, q, tile, tile_end, max + r, sum + r, w);
    if (rows - r == 2) attend_tile<Load, 2>(cache, q, tile, tile_end, max + r, sum + r, w);
    if (rows - r == 1) attend_tile<Load, 1>(cache, q, tile, tile_end, max + r, sum + r, w);
  }
}

void attend_slots(const CacheView &cache, const float *queries, int64_t rows, int64_t begin, int64_t end, float *max, float *sum,
                  float *weighted) {
  switch (cache.dtype) {
    case DUO_DTYPE_BF16: return attend_loaded<LoadBf16>(cache, queries, rows, begin, end, max, sum, weighted);
    case DUO_DTYPE_INT8: return attend_loaded<LoadInt8>(cache, queries, rows, begin, end, max, sum, weighted);
    default: return attend_loaded<LoadF32>(cache, queries, rows, begin, end, max, sum, weighted);
  }
}

template <typename Load>
void read_keys_loaded(const CacheView &cache, int64_t begin, int64_t count, float *out, int64_t stride) {
  for (int64_t done = 0; done < count;) {
    const int64_t slot = begin + done, first = slot / BLOCK * BLOCK, lane = slot - first;
    const int64_t width = min_of(BLOCK, cache.capacity - first), run = min_of(width - lane, count - done);
    const uint8_t *keys = cache.keys + (first * cache.head_dim + lane) * Load::BYTES;
    if (run == BLOCK) {
      for (int64_t d = 0; d < cache.head_dim; d++) {
        for (int v = 0; v < BLOCK_VECTORS; v++) {
          store(out + d * stride + done + v * WIDTH, Load::lanes(keys + (d * BLOCK + v * WIDTH) * Load::BYTES));
        }
      }
    } else {
      for (int64_t d = 0; d < cache.head_dim; d++) {
        for (int64_t i = 0; i < run; i++) out[d * stride + done + i] = Load::one(keys + (d * width + i) * Load::BYTES);
      }
    }
    if (cache.key_scales != nullptr) {
      for (int64_t d = 0; d < cache.head_dim; d++) {
        for (int64_t i = 0; i < run; i++) out[d * stride + done + i] *= cache.key_scales[slot + i];
      }
    }
    done += run;
  }
}

template <typename Load>
void read_values_loaded(const CacheView &cache, int64_t begin, int64_t count, float *out, int64_t stride) {
  for (int64_t i = 0; i < count; i++) {
    const uint8_t *row = cache.values + (begin + i) * cache.head_dim * Load::BYTES;
    float *to = out + i * stride;
    const float scale = cache.value_scales != nullptr ? cache.value_scales[begin + i] : 1.0f;
    int64_t d = 0;
    for (; d + WIDTH <= cache.head_dim; d += WIDTH) store(to + d, Load::lanes(row + d * Load::BYTES) * scale);
    for (; d < cache.head_dim; d++) to[d] = Load::one(row + d * Load::BYTES) * scale;
  }
}

void read_keys(const CacheView &cache, int64_t begin, int64_t count, float *out, int64_t stride) {
  switch (cache.dtype) {
    case DUO_DTYPE_BF16: return read_keys_loaded<LoadBf16>(cache, begin, count, out, stride);
    case DUO_DTYPE_INT8: return read_keys_loaded<LoadInt8>(cache, begin, count, out, stride);
    default: return read_keys_loaded<LoadF32>(cache, begin, count, out, stride);
  }
}

void read_values(const CacheView &cache, int64_t begin, int64_t count, float *out, int64_t stride) {
  switch (cache.dtype) {
    case DUO_DTYPE_BF16: return read_values_loaded<LoadBf16>(cache, begin, count, out, stride);
    case DUO_DTYPE_INT8: return read_values_loaded<LoadInt8>(cache, begin, count, out, stride);
    default: return read_values_loaded<LoadF32>(cache, begin, count, out, stride);
  }
}

// ROWS by VECTORS·WIDTH of the product: a is spread, b is loaded.
template <int ROWS, int VECTORS>
DUO_INLINE void multiply_register_tile(const float *a, int64_t a_stride, const float *b, int64_t b_stride, float *c, int64_t c_stride,
                                   int64_t depth, bool accumulate) {
  Vector sums[ROWS][VECTORS] = {};
  if (accumulate) {
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) sums[r][v] = load(c + r * c_stride + v * WIDTH);
    }
  }
  for (int64_t k = 0; k < depth; k++) {
    Vector row[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) row[v] = load(b + k * b_stride + v * WIDTH);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) {
      const Vector x = broadcast(a[r * a_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) sums[r][v] += x * row[v];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) store(c + r * c_stride + v * WIDTH, sums[r][v]);
  }
}

template <int VECTORS>
DUO_INLINE void multiply_column_strip(const float *a, int64_t a_stride, const float *b, int64_t b_stride, float *c, int64_t c_stride, int64_t rows,
                                  int64_t depth, bool accumulate) {
  constexpr int ROWS = WIDTH == 16 ? 8 : (WIDTH == 8 ? 6 : 4);
  int64_t r = 0;
  for (; r + ROWS <= rows; r += ROWS) {
    multiply_register_tile<ROWS, VECTORS>(a + r * a_stride, a_stride, b, b_stride, c + r * c_stride, c_stride, depth, accumulate);
  }
  for (; r < rows; r++) {
    multiply_register_tile<1, VECTORS>(a + r * a_stride, a_stride, b, b_stride, c + r * c_stride, c_stride, depth, accumulate);
  }
}

void multiply_small(const float *a, int64_t a_stride, const float *b, int64_t b_stride, float *c, int64_t c_stride, int64_t rows,
                    int64_t columns, int64_t depth, bool accumulate) {
  int64_t column = 0;
  for (; column + 2 * WIDTH <= columns; column += 2 * WIDTH) {
    multiply_column_strip<2>(a, a_stride, b + column, b_stride, c + column, c_stride, rows, depth, accumulate);
  }
  for (; column < columns; column += WIDTH) {
    multiply_column_strip<1>(a, a_stride, b + column, b_stride, c + column, c_stride, rows, depth, accumulate);
  }
}

float update_softmax(float *scores, int64_t count, float *max, float *sum) {
  Vector largest = broadcast(*max);
  for (int64_t i = 0; i < count; i += WIDTH) {
    const Vector s = load(scores + i);
    largest = s > largest ? s : largest;
  }
  const float new_max = max_lanes(largest);
  float factor[WIDTH];
  store(factor, exponential(broadcast(*max - new_max)));
  Vector total{};
  for (int64_t i = 0; i < count; i += WIDTH) {
    const Vector s = load(scores + i);
    // A row whose every score so far is masked keeps a masked maximum; its weights must still be 0.
    const Vector p = s > broadcast(0.5f * MASKED_SCORE) ? exponential(s - new_max) : Vector{};
    total += p;
    store(scores + i, p);
  }
  *max = new_max;
  *sum = *sum * factor[0] + sum_lanes(total);
  return factor[0];
}

void scale(float *x, int64_t count, float factor) {
  int64_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) store(x + i, load(x + i) * factor);
  for (; i < count; i++) x[i] *= factor;
}

const CacheOps cache_table = {attend_slots, read_keys, read_values, multiply_small, update_softmax, scale};

}  // namespace cache_loops
}  // namespace
}  // namespace duo

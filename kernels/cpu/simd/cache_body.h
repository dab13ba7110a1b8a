// CacheOps for one instruction set: decode attention over caches of every dtype, widening of cache slots, and prefill's
// small products. Lanes run over slots for scores (keys lie transposed in blocks) and over the head dim for the
// weighted sum of values.
#include "cpu/simd/cache_ops.h"
#include "cpu/simd/hadamard_body.h"
#include "cpu/simd/vector.h"

namespace duo {
namespace {
namespace cache_loops {

constexpr int64_t TILE_SLOTS = 64;  // slots whose scores live on the stack between the two products
constexpr int64_t BLOCK = KEY_BLOCK;
constexpr int64_t BLOCK_VECTORS = BLOCK / WIDTH;

// WIDTH signed bytes. Compilers turn the generic conversion of bytes into scalar code.
DUO_INLINE IntVector load_bytes(const uint8_t *from) {
#if defined(__AVX512F__)
  __m128i bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return reinterpret_cast<IntVector>(_mm512_maskz_cvtepi8_epi32(0xffff, bytes));
#elif defined(__AVX2__)
  int64_t bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return reinterpret_cast<IntVector>(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bytes)));
#else
  ByteVector bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(bytes, IntVector);
#endif
}
DUO_INLINE Vector float_of_bits(IntVector bits) {
  Vector value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
DUO_INLINE float float_of_bits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// How raw values of a cache's dtype become fp32, one and WIDTH at a time; what the word beside a vector adds is the
// caller's. A byte address holds PARTS values: element d of part 0, D/PARTS + d of part 1.
struct LoadF32 {
  static constexpr int64_t BYTES = 4, PARTS = 1;
  static constexpr bool HAS_WORD = false, HAS_ZERO = false;
  template <int PART>
  DUO_INLINE Vector lanes(const uint8_t *from) {
    return load_f32(from, 0);
  }
  template <int PART>
  DUO_INLINE float one(const uint8_t *from) {
    return scalar_f32(from, 0);
  }
};
struct LoadBf16 {
  static constexpr int64_t BYTES = 2, PARTS = 1;
  static constexpr bool HAS_WORD = false, HAS_ZERO = false;
  template <int PART>
  DUO_INLINE Vector lanes(const uint8_t *from) {
    return load_bf16(from, 0);
  }
  template <int PART>
  DUO_INLINE float one(const uint8_t *from) {
    return scalar_bf16(from, 0);
  }
};
struct LoadInt8 {
  static constexpr int64_t BYTES = 1, PARTS = 1;
  static constexpr bool HAS_WORD = true, HAS_ZERO = false;
  template <int PART>
  DUO_INLINE Vector lanes(const uint8_t *from) {
    return __builtin_convertvector(load_bytes(from), Vector);
  }
  template <int PART>
  DUO_INLINE float one(const uint8_t *from) {
    return static_cast<float>(static_cast<int8_t>(*from));
  }
};
// e4m3's bits in fp32's place have a bias of 7 instead of 127; the product is exact, subnormals too.
struct LoadFp8 {
  static constexpr int64_t BYTES = 1, PARTS = 1;
  static constexpr bool HAS_WORD = true, HAS_ZERO = false;
  template <int PART>
  DUO_INLINE Vector lanes(const uint8_t *from) {
    const IntVector code = load_bytes(from);
    return float_of_bits((code & static_cast<int32_t>(0x80000000u)) | (code & 0x7f) << 20) *
           0x1p120f;  // the sign was extended
  }
  template <int PART>
  DUO_INLINE float one(const uint8_t *from) {
    return float_of_bits((*from & 0x80u) << 24 | (*from & 0x7fu) << 20) * 0x1p120f;
  }
};
struct LoadInt4 {
  static constexpr int64_t BYTES = 1, PARTS = 2;
  static constexpr bool HAS_WORD = true, HAS_ZERO = true;
  template <int PART>
  DUO_INLINE Vector lanes(const uint8_t *from) {
    return __builtin_convertvector(load_bytes(from) >> (4 * PART) & 15, Vector);
  }
  template <int PART>
  DUO_INLINE float one(const uint8_t *from) {
    return static_cast<float>(*from >> (4 * PART) & 15);
  }
};

template <typename Load>
DUO_INLINE int64_t row_bytes_of(const CacheView &cache) {
  return cache.head_dim / Load::PARTS * Load::BYTES;
}

// Scales, and int4's zeros, of up to MOST words (kv_vectors.h), a multiple of 16; zeros of whole vectors, 0 past the
// last word.
template <typename Load, int64_t MOST>
struct Words {
  static_assert(MOST % WIDTH == 0);
  float scales[MOST], zeros[MOST];

  DUO_INLINE void read(Words &words, const uint32_t *from, int64_t count) {
    if constexpr (!Load::HAS_ZERO) {
      __builtin_memcpy(words.scales, from, static_cast<size_t>(count) * sizeof(float));
      return;
    }
    int32_t bits[MOST] = {};
    __builtin_memcpy(bits, from, static_cast<size_t>(count) * sizeof(int32_t));
    for (int64_t i = 0; i < count; i += WIDTH) {
      IntVector both;
      __builtin_memcpy(&both, bits + i, sizeof both);
      // fp16's bits in fp32's place have a bias of 15 instead of 127; both are finite and not below 0.
      store(words.scales + i, float_of_bits((both & 0x7fff) << 13) * 0x1p112f);
      store(words.zeros + i, float_of_bits((both >> 16 & 0x7fff) << 13) * 0x1p112f);
    }
  }
};

DUO_INLINE float max_lanes(Vector value) {
  float largest = value[0];
  for (int64_t lane = 1; lane < WIDTH; lane++) largest = value[lane] > largest ? value[lane] : largest;
  return largest;
}

DUO_INLINE float sum_of(const float *x, int64_t count) {
  Vector sums{};
  int64_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) sums += load(x + i);
  float total = sum_lanes(sums);
  for (; i < count; i++) total += x[i];
  return total;
}

DUO_INLINE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

template <typename Load, int ROWS, int BLOCKS, int PART>
DUO_INLINE void score_row(const uint8_t *row, int64_t block_bytes, const float *queries, int64_t head_dim,
                          Vector (&sums)[ROWS][BLOCKS * BLOCK_VECTORS]) {
  constexpr int VECTORS = BLOCKS * BLOCK_VECTORS;
  Vector k[VECTORS];
#pragma GCC unroll 16
  for (int v = 0; v < VECTORS; v++) {
    k[v] =
        Load::template lanes<PART>(row + (v / BLOCK_VECTORS) * block_bytes + (v % BLOCK_VECTORS) * WIDTH * Load::BYTES);
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++) {
    const Vector q = broadcast(queries[r * head_dim + PART * (head_dim / Load::PARTS)]);
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) sums[r][v] += q * k[v];
  }
}

// scores[r·TILE_SLOTS + lane] of BLOCKS full blocks that follow each other, from `keys` on.
template <typename Load, int ROWS, int BLOCKS>
DUO_INLINE void score_blocks(const uint8_t *keys, const float *queries, int64_t head_dim, float *scores) {
  constexpr int VECTORS = BLOCKS * BLOCK_VECTORS;
  const int64_t num_rows = head_dim / Load::PARTS, block_bytes = num_rows * BLOCK * Load::BYTES;
  Vector sums[ROWS][VECTORS] = {};
  for (int64_t d = 0; d < num_rows; d++) {
    score_row<Load, ROWS, BLOCKS, 0>(keys + d * BLOCK * Load::BYTES, block_bytes, queries + d, head_dim, sums);
    if constexpr (Load::PARTS == 2)
      score_row<Load, ROWS, BLOCKS, 1>(keys + d * BLOCK * Load::BYTES, block_bytes, queries + d, head_dim, sums);
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) store(scores + r * TILE_SLOTS + v * WIDTH, sums[r][v]);
  }
}

// weighted[r] += Σ_i p[r][i]·value_i over WIDTH·VECTORS dims of a part, from `values` on.
template <typename Load, int ROWS, int VECTORS, int PART>
DUO_INLINE void add_values(const uint8_t *values, int64_t row_bytes, int64_t count, const float *p, float *weighted,
                           int64_t head_dim) {
  Vector sums[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v++) sums[r][v] = load(weighted + r * head_dim + v * WIDTH);
  }
  for (int64_t i = 0; i < count; i++) {
    Vector row[VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; v++)
      row[v] = Load::template lanes<PART>(values + i * row_bytes + v * WIDTH * Load::BYTES);
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

// The values of one part, weighted: dims from PART·D/PARTS on.
template <typename Load, int ROWS, int PART>
DUO_INLINE void add_part(const CacheView &cache, int64_t begin, int64_t count, const float *p, float *weighted) {
  constexpr int WIDE = (WIDTH == 4 ? 16 : WIDTH) / ROWS >= 4 ? 4 : (WIDTH / ROWS >= 2 ? 2 : 1);
  const int64_t head_dim = cache.head_dim, row_bytes = row_bytes_of<Load>(cache), num_dims = head_dim / Load::PARTS;
  const uint8_t *values = cache.values + begin * row_bytes;
  weighted += PART * num_dims;
  int64_t d = 0;
  for (; d + WIDE * WIDTH <= num_dims; d += WIDE * WIDTH) {
    add_values<Load, ROWS, WIDE, PART>(values + d * Load::BYTES, row_bytes, count, p, weighted + d, head_dim);
  }
  for (; d + WIDTH <= num_dims; d += WIDTH) {
    add_values<Load, ROWS, 1, PART>(values + d * Load::BYTES, row_bytes, count, p, weighted + d, head_dim);
  }
  for (; d < num_dims; d++) {
    for (int r = 0; r < ROWS; r++) {
      float total = weighted[r * head_dim + d];
      for (int64_t i = 0; i < count; i++)
        total += p[r * TILE_SLOTS + i] * Load::template one<PART>(values + i * row_bytes + d * Load::BYTES);
      weighted[r * head_dim + d] = total;
    }
  }
}

// One tile of at most TILE_SLOTS slots: online softmax of ROWS queries, then the values.
template <typename Key, typename Value, int ROWS>
void attend_tile(const CacheView &cache, const float *queries, int64_t begin, int64_t end, float *max, float *sum,
                 float *weighted) {
  const int64_t head_dim = cache.head_dim, count = end - begin;
  constexpr int GROUP = ROWS == 1 ? 4 : (ROWS <= 4 ? 2 : 1);
  float scores[ROWS * TILE_SLOTS];
  // Blocks that lie in full in the cache are computed in full (their memory exists); slots from `end` on are masked
  // below.
  int64_t slot = begin;
  const int64_t row_bytes = row_bytes_of<Key>(cache);
  const uint8_t *keys = cache.keys + begin * row_bytes;
  const int64_t full_end = min_of(cache.capacity / BLOCK * BLOCK, (end + BLOCK - 1) / BLOCK * BLOCK);
  for (; WIDTH == 16 && slot + GROUP * BLOCK <= full_end; slot += GROUP * BLOCK, keys += GROUP * BLOCK * row_bytes) {
    score_blocks<Key, ROWS, GROUP>(keys, queries, head_dim, scores + (slot - begin));
  }
  for (; slot + BLOCK <= full_end; slot += BLOCK, keys += BLOCK * row_bytes) {
    score_blocks<Key, ROWS, 1>(keys, queries, head_dim, scores + (slot - begin));
  }
  if (slot < end) {  // the capacity's last, narrow block
    const int64_t width = cache.capacity - slot;
    for (int r = 0; r < ROWS; r++) {
      for (int64_t lane = 0; lane < end - slot; lane++) {
        float score = 0.0f;
        const int64_t num_rows = head_dim / Key::PARTS;
        for (int64_t d = 0; d < num_rows; d++) {
          const uint8_t *key = keys + (d * width + lane) * Key::BYTES;
          score += queries[r * head_dim + d] * Key::template one<0>(key);
          if constexpr (Key::PARTS == 2) score += queries[r * head_dim + num_rows + d] * Key::template one<1>(key);
        }
        scores[r * TILE_SLOTS + (slot - begin) + lane] = score;
      }
    }
  }
  const int64_t padded = (count + WIDTH - 1) / WIDTH * WIDTH;
  Words<Key, TILE_SLOTS> key_words;
  Words<Value, TILE_SLOTS> value_words;
  if constexpr (Key::HAS_WORD) key_words.read(key_words, cache.key_words + begin, count);
  if constexpr (Value::HAS_WORD) value_words.read(value_words, cache.value_words + begin, count);
  for (int r = 0; r < ROWS; r++) {
    float *row = scores + r * TILE_SLOTS;
    if constexpr (Key::HAS_ZERO) {  // ⟨q, code − zero⟩ = ⟨q, code⟩ − zero·Σq
      const float total = sum_of(queries + r * head_dim, head_dim);
      for (int64_t i = 0; i < count; i++) row[i] -= key_words.zeros[i] * total;
    }
    if constexpr (Key::HAS_WORD) {
      for (int64_t i = 0; i < count; i++) row[i] *= key_words.scales[i];
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
    if constexpr (Value::HAS_WORD) {
      for (int64_t i = 0; i < count; i++) row[i] *= value_words.scales[i];
    }
    if (factor != 1.0f) {
      for (int64_t d = 0; d < head_dim; d++) weighted[r * head_dim + d] *= factor;
    }
    if constexpr (Value::HAS_ZERO) {  // Σ p·(code − zero) = Σ p·code − Σ p·zero
      Vector products{};
      for (int64_t i = 0; i < padded; i += WIDTH) products += load(row + i) * load(value_words.zeros + i);
      const float offset = sum_lanes(products);
      for (int64_t d = 0; d < head_dim; d++) weighted[r * head_dim + d] -= offset;
    }
  }
  add_part<Value, ROWS, 0>(cache, begin, count, scores, weighted);
  if constexpr (Value::PARTS == 2) add_part<Value, ROWS, 1>(cache, begin, count, scores, weighted);
}

// All queries on one tile before the next, so that the tile is read from memory once. A query's result does not depend
// on its group.
template <typename Key, typename Value = Key>
void attend_loaded(const CacheView &cache, const float *queries, int64_t rows, int64_t begin, int64_t end, float *max,
                   float *sum, float *weighted) {
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
        attend_tile<Key, Value, 8>(cache, queries + r * head_dim, tile, tile_end, max + r, sum + r,
                                   weighted + r * head_dim);
      }
    }
    for (; r + 4 <= rows; r += 4) {
      attend_tile<Key, Value, 4>(cache, queries + r * head_dim, tile, tile_end, max + r, sum + r,
                                 weighted + r * head_dim);
    }
    const float *q = queries + r * head_dim;
    float *w = weighted + r * head_dim;
    if (rows - r == 3) attend_tile<Key, Value, 3>(cache, q, tile, tile_end, max + r, sum + r, w);
    if (rows - r == 2) attend_tile<Key, Value, 2>(cache, q, tile, tile_end, max + r, sum + r, w);
    if (rows - r == 1) attend_tile<Key, Value, 1>(cache, q, tile, tile_end, max + r, sum + r, w);
  }
}

void attend_slots(const CacheView &cache, const float *queries, int64_t rows, int64_t begin, int64_t end, float *max,
                  float *sum, float *weighted) {
  switch (cache.dtype) {
    case DUO_DTYPE_BF16: return attend_loaded<LoadBf16>(cache, queries, rows, begin, end, max, sum, weighted);
    case DUO_DTYPE_INT8: return attend_loaded<LoadInt8>(cache, queries, rows, begin, end, max, sum, weighted);
    case DUO_DTYPE_FP8: return attend_loaded<LoadFp8>(cache, queries, rows, begin, end, max, sum, weighted);
    case DUO_DTYPE_INT4: return attend_loaded<LoadInt4>(cache, queries, rows, begin, end, max, sum, weighted);
    case DUO_DTYPE_K8V4: return attend_loaded<LoadInt8, LoadInt4>(cache, queries, rows, begin, end, max, sum, weighted);
    default: return attend_loaded<LoadF32>(cache, queries, rows, begin, end, max, sum, weighted);
  }
}

// One part of a block's slots [lane, lane + run); `width`: slots of the block.
template <typename Load, int PART>
DUO_INLINE void read_key_part(const uint8_t *keys, int64_t num_rows, int64_t width, int64_t run, float *out,
                              int64_t stride) {
  out += PART * num_rows * stride;
  for (int64_t d = 0; d < num_rows; d++) {
    if (run == BLOCK) {
      for (int v = 0; v < BLOCK_VECTORS; v++) {
        store(out + d * stride + v * WIDTH, Load::template lanes<PART>(keys + (d * BLOCK + v * WIDTH) * Load::BYTES));
      }
    } else {
      for (int64_t i = 0; i < run; i++)
        out[d * stride + i] = Load::template one<PART>(keys + (d * width + i) * Load::BYTES);
    }
  }
}

template <typename Load>
void read_keys_loaded(const CacheView &cache, int64_t begin, int64_t count, float *out, int64_t stride) {
  const int64_t num_rows = cache.head_dim / Load::PARTS;
  for (int64_t done = 0; done < count;) {
    const int64_t slot = begin + done, first = slot / BLOCK * BLOCK, lane = slot - first;
    const int64_t width = min_of(BLOCK, cache.capacity - first), run = min_of(width - lane, count - done);
    const uint8_t *keys = cache.keys + (first * num_rows + lane) * Load::BYTES;
    float *to = out + done;
    read_key_part<Load, 0>(keys, num_rows, width, run, to, stride);
    if constexpr (Load::PARTS == 2) read_key_part<Load, 1>(keys, num_rows, width, run, to, stride);
    if constexpr (Load::HAS_WORD) {
      Words<Load, BLOCK> words;
      words.read(words, cache.key_words + slot, run);
      for (int64_t d = 0; d < cache.head_dim; d++) {
        for (int64_t i = 0; i < run; i++)
          to[d * stride + i] =
              (Load::HAS_ZERO ? to[d * stride + i] - words.zeros[i] : to[d * stride + i]) * words.scales[i];
      }
    }
    done += run;
  }
}

// One part of a value row: (raw − zero)·scale, both absent where the dtype has no word.
template <typename Load, int PART>
DUO_INLINE void read_value_part(const uint8_t *row, int64_t num_dims, float zero, float scale, float *to) {
  to += PART * num_dims;
  int64_t d = 0;
  for (; d + WIDTH <= num_dims; d += WIDTH) {
    const Vector raw = Load::template lanes<PART>(row + d * Load::BYTES);
    store(to + d, Load::HAS_ZERO ? (raw - zero) * scale : Load::HAS_WORD ? raw * scale : raw);
  }
  for (; d < num_dims; d++) {
    const float raw = Load::template one<PART>(row + d * Load::BYTES);
    to[d] = Load::HAS_ZERO ? (raw - zero) * scale : Load::HAS_WORD ? raw * scale : raw;
  }
}

template <typename Load>
void read_values_loaded(const CacheView &cache, int64_t begin, int64_t count, float *out, int64_t stride) {
  const int64_t row_bytes = row_bytes_of<Load>(cache), num_dims = cache.head_dim / Load::PARTS;
  for (int64_t done = 0; done < count; done += BLOCK) {
    const int64_t run = min_of(BLOCK, count - done);
    Words<Load, BLOCK> words{};
    if constexpr (Load::HAS_WORD) words.read(words, cache.value_words + begin + done, run);
    for (int64_t i = 0; i < run; i++) {
      const uint8_t *row = cache.values + (begin + done + i) * row_bytes;
      float *to = out + (done + i) * stride;
      read_value_part<Load, 0>(row, num_dims, words.zeros[i], words.scales[i], to);
      if constexpr (Load::PARTS == 2) read_value_part<Load, 1>(row, num_dims, words.zeros[i], words.scales[i], to);
    }
  }
}

void read_keys(const CacheView &cache, int64_t begin, int64_t count, float *out, int64_t stride) {
  switch (cache.dtype) {
    case DUO_DTYPE_BF16: return read_keys_loaded<LoadBf16>(cache, begin, count, out, stride);
    case DUO_DTYPE_K8V4:
    case DUO_DTYPE_INT8: return read_keys_loaded<LoadInt8>(cache, begin, count, out, stride);
    case DUO_DTYPE_FP8: return read_keys_loaded<LoadFp8>(cache, begin, count, out, stride);
    case DUO_DTYPE_INT4: return read_keys_loaded<LoadInt4>(cache, begin, count, out, stride);
    default: return read_keys_loaded<LoadF32>(cache, begin, count, out, stride);
  }
}

void read_values(const CacheView &cache, int64_t begin, int64_t count, float *out, int64_t stride) {
  switch (cache.dtype) {
    case DUO_DTYPE_BF16: return read_values_loaded<LoadBf16>(cache, begin, count, out, stride);
    case DUO_DTYPE_INT8: return read_values_loaded<LoadInt8>(cache, begin, count, out, stride);
    case DUO_DTYPE_FP8: return read_values_loaded<LoadFp8>(cache, begin, count, out, stride);
    case DUO_DTYPE_K8V4:
    case DUO_DTYPE_INT4: return read_values_loaded<LoadInt4>(cache, begin, count, out, stride);
    default: return read_values_loaded<LoadF32>(cache, begin, count, out, stride);
  }
}

// ROWS by VECTORS·WIDTH of the product: a is spread, b is loaded.
template <int ROWS, int VECTORS>
DUO_INLINE void multiply_register_tile(const float *a, int64_t a_stride, const float *b, int64_t b_stride, float *c,
                                       int64_t c_stride, int64_t depth, bool accumulate) {
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
DUO_INLINE void multiply_column_strip(const float *a, int64_t a_stride, const float *b, int64_t b_stride, float *c,
                                      int64_t c_stride, int64_t rows, int64_t depth, bool accumulate) {
  constexpr int ROWS = WIDTH == 16 ? 8 : (WIDTH == 8 ? 6 : 4);
  int64_t r = 0;
  for (; r + ROWS <= rows; r += ROWS) {
    multiply_register_tile<ROWS, VECTORS>(a + r * a_stride, a_stride, b, b_stride, c + r * c_stride, c_stride, depth,
                                          accumulate);
  }
  for (; r < rows; r++) {
    multiply_register_tile<1, VECTORS>(a + r * a_stride, a_stride, b, b_stride, c + r * c_stride, c_stride, depth,
                                       accumulate);
  }
}

void multiply_small(const float *a, int64_t a_stride, const float *b, int64_t b_stride, float *c, int64_t c_stride,
                    int64_t rows, int64_t columns, int64_t depth, bool accumulate) {
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

const CacheOps cache_table = {
    attend_slots, read_keys, read_values, multiply_small, update_softmax, scale, hadamard_loops::transform_hadamard};

}  // namespace cache_loops
}  // namespace
}  // namespace duo

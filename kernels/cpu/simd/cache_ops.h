// The inner loops of sessions: attention of one new token over a cache, and the tile products of prefill attention.
// Cache layout (kv_cache.h): keys in blocks of KEY_BLOCK slots with the slots of a block next to each other, values one
// row per slot.
#pragma once
#include <cstdint>

namespace duo {

constexpr int64_t KEY_BLOCK = 16;

// One KV head's cache as the loops see it. A block holds min(KEY_BLOCK, capacity − its first slot) slots; element
// (slot, d) of the keys is at first·D + d·width + (slot − first); int4's byte d, of elements d and d + D/2, at
// first·D/2 + d·width + (slot − first). `dtype` is a DUO_DTYPE_…; kv_vectors.h says what its values and words are.
// K8V4's keys lie as int8's, its values as int4's.
struct CacheView {
  int32_t dtype;
  int64_t head_dim, capacity;
  const uint8_t *keys, *values;
  const uint32_t *key_words, *value_words;  // one per slot; null where the dtype has none
};

struct CacheOps {
  // Softmax attention of `rows` queries over slots [begin, end), begin a multiple of KEY_BLOCK, every one visible: one
  // pass over keys and values.
  //   queries [rows, D], already times 1/√D     max, sum [rows], weighted [rows, D] written: Σ exp(s − max)·v is not yet divided by sum
  void (*attend_slots)(const CacheView &cache, const float *queries, int64_t rows, int64_t begin, int64_t end,
                       float *max, float *sum, float *weighted);

  // out[d·stride + i] = key of slot begin + i at d, out[i·stride + d] = value, for i in [0, count), widened to fp32.
  void (*read_keys)(const CacheView &cache, int64_t begin, int64_t count, float *out, int64_t stride);
  void (*read_values)(const CacheView &cache, int64_t begin, int64_t count, float *out, int64_t stride);

  // c [rows, columns] = or += a [rows, depth]·b [depth, columns]; columns a multiple of 16; rows of b and c may be read
  // and written in full.
  void (*multiply_small)(const float *a, int64_t a_stride, const float *b, int64_t b_stride, float *c, int64_t c_stride,
                         int64_t rows, int64_t columns, int64_t depth, bool accumulate);

  // Online softmax of one row of scores: max and sum are updated, scores become exp(score − max), the factor for what
  // was summed before is returned. count a multiple of 16; masked scores are MASKED_SCORE.
  float (*update_softmax)(float *scores, int64_t count, float *max, float *sum);
  // x *= factor
  void (*scale)(float *x, int64_t count, float factor);
  // vectors [count, D] in place: the orthonormal Walsh–Hadamard transform of each, its own inverse. Where D is no power
  // of two, of blocks as hadamard_block gives them: 80 = 64 + 16.
  void (*hadamard)(float *vectors, int64_t count, int64_t head_dim);
};

// The size of the first block of `left` elements: the largest power of two that fits.
constexpr int64_t hadamard_block(int64_t left) {
  int64_t size = 1;
  while (2 * size <= left) size *= 2;
  return size;
}

// Far below any score and far above −∞, so that differences stay finite.
constexpr float MASKED_SCORE = -1e30f;

}  // namespace duo

// Attention of a session: one new token over the cache (decode), and a chunk of tokens over cache ‖ chunk (prefill).
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/kv_cache.h"
#include "cpu/linear.h"
#include "cpu/scratch.h"

namespace duo {

// One token of one session at one layer. Its key is already in the cache.
struct DecodeAttention {
  const KvCache *cache;
  int64_t position;
  const float *query;  // [H, D] after rope and what rotation the cache has
  float *out;          // [H, D] rotated as the cache's values are
};

// Attention of several tokens, each of its own session, at one layer: every filled slot is visible (docs/semantics.md,
// 6). Each head's slots are cut into ranges at fixed places, the ranges are combined in order: the same bits for any
// number of threads. `scratch` grows as needed.
void attend_decode(const CpuContext &context, const ModelConfig &config, int64_t layer,
                   const std::vector<DecodeAttention> &tokens, ScratchBuffer &scratch);

// The chunk [start, start + count) of one session at one layer. Keys and values are already rounded as the cache rounds
// them, so that results do not depend on where chunks end. Queries, keys, values and out are rotated as the cache is.
struct ChunkAttention {
  const KvCache *cache;  // holds the tokens before `start`
  int64_t start, count;
  bool chunked;          // DUO_PREFILL_CHUNKED
  const float *queries;  // [count, H, D] after rope
  const float *keys;     // [G] blocks of `count` keys as an f32 cache holds them (transpose_keys)
  const float *values;   // [count, G, D]
  float *out;            // [count, H, D]
};

// Round keys and values [count, G, D] to the cache's dtype, for ChunkAttention: keys laid out as it reads them to
// transposed [G·count·D], values to rounded_values [count, G, D]. The cache is written from the unrounded ones: int4's
// rounding of what is rounded already need not change nothing.
void round_chunk(const CpuContext &context, const ModelConfig &config, Dtype dtype, int64_t count, const float *keys,
                 const float *values, float *transposed, float *rounded_values);

// Streaming heads touch the tiles of their sink and window only: O(count·(S+R)) work; retrieval heads O(count·(start +
// count)).
void attend_chunk(const CpuContext &context, const ModelConfig &config, int64_t layer, const ChunkAttention &chunk);

}  // namespace duo

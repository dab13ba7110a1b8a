// One query position of 1 to 8 sessions against their caches, both head classes in one launch from a work list; partial results of a head's
// splits are joined by a second, small launch.
#pragma once
#include "cuda/kv_formats.h"

namespace duo::cuda {

// A share of one session's KV head: entries [split·n/splits, (split+1)·n/splits) of its cache, rounded to whole steps.
struct DecodeItem {
  int32_t member, kv_head, split, splits;
};
// A session of the batch, in device memory.
struct DecodeMember {
  const HeadCache *caches;  // [L, G]
  const int32_t *length;    // tokens before this one; the new key is already in the cache
  int64_t sink, recent;
};

struct DecodeAttention {
  const DecodeItem *items;        // of this layer, those of one (member, KV head) together
  const int32_t *first_item;      // [batch·G + 1] where each (member, KV head) starts
  const DecodeMember *members;    // [batch]
  int32_t num_items, batch, layer, heads, kv_heads, head_dim;
  Dtype dtype;                    // of every member's cache
  const bf16 *query;              // [batch, H, D] after rope
  float *partial;                 // [num_items, group, D] scratch
  float *partial_scale;           // [num_items, group, 2] scratch: largest score (log2), sum
  bf16 *out;                      // [batch, H, D] written
};
// head_dim 32, 64 or 128. Reads each visible cache entry once.
cudaError_t launch_decode_attention(const DecodeAttention &attention, cudaStream_t stream);

}  // namespace duo::cuda

// The KV cache of one session: for every layer and KV head its keys after RoPE and its values, as f32, bf16 or int8 with a scale a vector.
// A retrieval head has max_tokens slots, a streaming head min(max_tokens, S+R) used as a ring behind the sink, R its own (DESIGN, Semantics 6).
// One block of memory holds everything: all scales, then head by head keys (transposed in blocks, simd/cache_ops.h) and values.
#pragma once
#include <cstdint>
#include <vector>

#include "core/backend.h"
#include "cpu/page_block.h"
#include "cpu/simd/cache_ops.h"

namespace duo {

// Round a head vector to what the cache will give back for it, in place.
void round_to_cache(Dtype dtype, float *vector, int64_t head_dim);

// Store a key or value vector (rounded or not) at a slot of an f32, bf16 or int8 cache.
void store_key(const CacheView &cache, int64_t slot, const float *key);
void store_value(const CacheView &cache, int64_t slot, const float *value);

class KvCache {
 public:
  KvCache(const ModelConfig &config, const SessionOptions &options);

  Dtype dtype() const { return dtype_; }
  bool is_retrieval(int64_t layer, int64_t head) const { return recent_[index(layer, head)] == 0; }
  // Sinks and recent tokens of a streaming head.
  Window window(int64_t layer, int64_t head) const { return {sink_, recent_[index(layer, head)]}; }
  int64_t capacity(int64_t layer, int64_t head) const { return view(layer, head).capacity; }
  // Slot of an absolute position.
  int64_t slot(int64_t layer, int64_t head, int64_t position) const {
    if (is_retrieval(layer, head) || position < sink_) return position;
    return sink_ + (position - sink_) % recent_[index(layer, head)];
  }
  const CacheView &view(int64_t layer, int64_t head) const { return views_[index(layer, head)]; }
  void write(int64_t layer, int64_t head, int64_t position, const float *key, const float *value);

  // Copy what is live after `length` tokens from a cache of the same options.
  void copy_live(const KvCache &from, int64_t layer, int64_t head, int64_t length);
  // Unit-scale random keys and values for the live slots after `length` tokens.
  void fill(int64_t layer, int64_t head, int64_t length, uint64_t seed);

  int64_t bytes() const { return bytes_; }
  int64_t full_bytes() const { return full_bytes_; }

 private:
  size_t index(int64_t layer, int64_t head) const { return static_cast<size_t>(layer * kv_heads_ + head); }

  Dtype dtype_;
  std::vector<int64_t> recent_;  // [L·G], 0 = retrieval
  int64_t sink_, kv_heads_, head_dim_;
  int64_t bytes_, full_bytes_;
  PageBlock memory_;
  std::vector<CacheView> views_;
};

}  // namespace duo

// The KV cache of one session: for every layer and KV head its keys after RoPE and its values, as kv_vectors.h stores
// them. A retrieval head has max_tokens slots, a streaming head min(max_tokens, S+R) used as a ring behind the sink, R
// its own (docs/semantics.md, 6). One block of memory holds everything: all words, then head by head keys (transposed
// in blocks, simd/cache_ops.h) and values.
#pragma once
#include <cstdint>
#include <vector>

#include "core/backend.h"
#include "cpu/kv_vectors.h"
#include "cpu/page_block.h"
#include "cpu/simd/cache_ops.h"

namespace duo {

class KvCache {
 public:
  KvCache(const ModelConfig &config, const SessionOptions &options);

  Dtype dtype() const { return dtype_; }
  // Whether what is written and attended is rotated by the Walsh–Hadamard transform (CacheOps::hadamard): the caller
  // does it.
  bool is_rotated() const { return is_rotated_; }
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
  bool is_rotated_;
  std::vector<int64_t> recent_;  // [L·G], 0 = retrieval
  int64_t sink_, kv_heads_, head_dim_;
  int64_t bytes_, full_bytes_;
  PageBlock memory_;
  std::vector<CacheView> views_;
};

}  // namespace duo

// Layout and the ring of the KV cache.
#include "cpu/kv_cache.h"

#include <algorithm>
#include <cstring>

namespace duo {
namespace {

// Keys and values of one token and head, with the words of quantised ones.
int64_t count_token_bytes(Dtype dtype, int64_t head_dim) {
  return kv_row_bytes(key_dtype(dtype), head_dim) + kv_row_bytes(value_dtype(dtype), head_dim) +
         (kv_has_word(dtype) ? 2 * static_cast<int64_t>(sizeof(uint32_t)) : 0);
}

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

KvCache::KvCache(const ModelConfig &config, const SessionOptions &options)
    : dtype_(options.kv_dtype),
      is_rotated_(options.rotates_kv && kv_has_word(dtype_)),
      recent_(options.windows),
      sink_(options.sink),
      kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      bytes_(count_token_bytes(dtype_, head_dim_) * options.count_all_slots()),
      full_bytes_(count_token_bytes(dtype_, head_dim_) * config.num_gates() * options.max_tokens),
      memory_(bytes_) {
  const int64_t num_slots = options.count_all_slots();
  auto *words = reinterpret_cast<uint32_t *>(memory_.data());
  uint8_t *elements =
      memory_.data() + (kv_has_word(dtype_) ? num_slots * 2 * static_cast<int64_t>(sizeof(uint32_t)) : 0);
  for (int64_t layer = 0; layer < config.layers; layer++) {
    for (int64_t head = 0; head < kv_heads_; head++) {
      const int64_t slots = options.count_slots(static_cast<int64_t>(index(layer, head))),
                    key_bytes = slots * kv_row_bytes(key_dtype(dtype_), head_dim_);
      CacheView view{static_cast<int32_t>(dtype_), head_dim_, slots, elements, elements + key_bytes, nullptr, nullptr};
      elements += key_bytes + slots * kv_row_bytes(value_dtype(dtype_), head_dim_);
      if (kv_has_word(dtype_)) {
        view.key_words = words;
        view.value_words = words + slots;
        words += 2 * slots;
      }
      views_.push_back(view);
    }
  }
}

void KvCache::write(int64_t layer, int64_t head, int64_t position, const float *key, const float *value) {
  const int64_t to = slot(layer, head, position);
  store_key(view(layer, head), to, key);
  store_value(view(layer, head), to, value);
}

void KvCache::copy_live(const KvCache &from, int64_t layer, int64_t head, int64_t length) {
  const CacheView &source = from.view(layer, head), &target = view(layer, head);
  const int64_t live = std::min(length, target.capacity), key_row = kv_row_bytes(key_dtype(dtype_), head_dim_),
                value_row = kv_row_bytes(value_dtype(dtype_), head_dim_);
  const int64_t live_blocks = std::min((live + KEY_BLOCK - 1) / KEY_BLOCK * KEY_BLOCK, target.capacity);
  std::memcpy(const_cast<uint8_t *>(target.keys), source.keys, static_cast<size_t>(live_blocks * key_row));
  std::memcpy(const_cast<uint8_t *>(target.values), source.values, static_cast<size_t>(live * value_row));
  if (kv_has_word(dtype_)) {
    std::memcpy(const_cast<uint32_t *>(target.key_words), source.key_words,
                static_cast<size_t>(live) * sizeof(uint32_t));
    std::memcpy(const_cast<uint32_t *>(target.value_words), source.value_words,
                static_cast<size_t>(live) * sizeof(uint32_t));
  }
}

void KvCache::fill(int64_t layer, int64_t head, int64_t length, uint64_t seed) {
  const CacheView &target = view(layer, head);
  const int64_t live = std::min(length, target.capacity);
  std::vector<float> vector(static_cast<size_t>(head_dim_));
  uint64_t state = mix(seed + 0x9e3779b97f4a7c15u * (index(layer, head) + 1));
  const auto draw = [&] {
    for (float &x : vector) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      // Uniform in ±√3: variance 1.
      x = (static_cast<float>(state >> 40) * 0x1p-24f - 0.5f) * 3.46410162f;
    }
  };
  for (int64_t slot = 0; slot < live; slot++) {
    draw();
    store_key(target, slot, vector.data());
    draw();
    store_value(target, slot, vector.data());
  }
}

}  // namespace duo

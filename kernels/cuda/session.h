// A session on the GPU: one running text, its rings in one allocation, its other caches in pages that are taken as the
// text grows.
#pragma once
#include <memory>
#include <vector>

#include "cuda/cache_pages.h"
#include "cuda/decode_steps.h"
#include "cuda/linear_layer.h"

namespace duo::cuda {

// Activations of a prefill chunk, in memory that the model's sessions share.
struct PrefillBuffers {
  int32_t *tokens, *positions;
  float *x, *cosine, *sine;
  bf16 *normed, *qkv, *query, *mixed, *gate_up, *activated;
  uint8_t *key, *value;               // [rows, G] rows in the cache's format
  uint32_t *key_scale, *value_scale;  // [rows, G], or null
  void lay_out(Layout &layout, const ModelConfig &config, Dtype kv_dtype, int64_t rows);
};

class CudaSession : public DuoSession {
 public:
  CudaSession(std::shared_ptr<DuoModel> self, const CudaModel &model, const SessionOptions &options);

  int64_t length() const override { return length_; }
  int64_t max_tokens() const override { return options_.max_tokens; }
  void prefill(const int32_t *tokens, int64_t num_tokens, Task &task) override;
  void decode(int32_t token, Task &task) override;
  void decode_batch(DuoSession *const *sessions, const int32_t *tokens, int64_t num_sessions, Task &task) override;
  void logits(float *out) override;
  int32_t sample(const Sampling &sampling) override;
  int64_t generate(int64_t num_tokens, const Sampling &sampling, const int32_t *stop_tokens, int64_t num_stop_tokens,
                   Task &task, int32_t *tokens) override;
  std::unique_ptr<DuoSession> fork(Task &task) override;
  SessionMemory memory() const override;
  SessionHeld held() const override;
  void fill(int64_t length, uint64_t seed, Task &task) override;

  // Whether the cache is rotated (hadamard.h).
  bool rotates() const { return options_.rotates_kv && kv_scale_bytes(options_.kv_dtype) > 0; }

 private:
  // What a decode step reads and writes.
  DecodeMember member() const {
    return {caches_.data(), inverse_.data(), logits_.data(), rope_.attention_scale, static_cast<int32_t>(length_)};
  }
  DecodeKind kind(int64_t batch) const { return {batch, options_.kv_dtype, rotates()}; }
  void lay_out_caches();
  int64_t slot_bytes() const;     // of a key and a value
  int64_t ring_slots() const;     // of all streaming heads
  int64_t prefill_bytes() const;  // of a whole chunk's activations, as far as the model does not hold them
  void reserve(int64_t num_tokens, const Stream &stream);
  void prefill_reserved(const int32_t *tokens, int64_t num_tokens, Task &task);
  void feed_chunk(const int32_t *tokens, int64_t count, bool is_last, Task &task);
  void attend_chunk(int64_t layer, int64_t count);
  void require_logits() const;
  void require_finite(int32_t first_bad);
  void forget_logits() { has_logits_ = has_host_logits_ = false; }
  void start_logits_copy(const Stream &stream);  // to host_logits_, on the stream of a decode
  void run_sample(const Sampling &sampling, int32_t *token, const Stream &stream);

  std::shared_ptr<DuoModel> self_;  // keeps the weights
  const CudaModel &model_;
  const ModelConfig &config_;
  SessionOptions options_;
  RopeFrequencies rope_;
  int64_t length_ = 0;
  bool has_logits_ = false, has_host_logits_ = false;  // of the last token: on the device; in host_logits_ too
  CachePages pages_;                                   // of retrieval heads
  DeviceBuffer<uint8_t> rings_;
  DeviceBuffer<HeadCache> caches_;  // [L, G]
  std::vector<HeadCache> caches_host_;
  DeviceBuffer<int32_t> kv_lists_;      // [L, G]: retrieval heads first, then streaming, the largest windows first
  DeviceBuffer<int64_t> recent_;        // [L, G], 0 = retrieval
  std::vector<int32_t> num_retrieval_;  // [L]
  DeviceBuffer<int32_t> length_device_, token_, first_bad_;
  DeviceBuffer<float> inverse_, logits_;
  PinnedBuffer<float> host_logits_;  // from the first decode on
  DeviceBuffer<double> sample_weights_;
  PrefillBuffers buffers_{};
  LinearScratch scratch_;
  Stream stream_;  // last: its destructor waits before the memory above goes
};

}  // namespace duo::cuda

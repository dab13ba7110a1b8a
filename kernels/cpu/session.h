// The CPU's session: a text in progress over one KvCache, sharing the model's weights and threads.
#pragma once
#include <memory>
#include <vector>

#include "cpu/cpu_model.h"
#include "cpu/kv_cache.h"
#include "cpu/scratch.h"
#include "cpu/session_attention.h"

namespace duo {

// Activations of `rows` tokens at a time, kept between calls and grown to the largest chunk seen.
class SessionWorkspace {
 public:
  explicit SessionWorkspace(const ModelConfig &config) : config_(config) {}
  void reserve(int64_t rows);
  int64_t bytes() const { return (memory_.count() + attention.count()) * static_cast<int64_t>(sizeof(float)); }

  float *hidden = nullptr, *normed = nullptr;                   // [rows, C]
  float *query = nullptr, *attended = nullptr;                  // [rows, H, D]
  float *key = nullptr, *value = nullptr;                       // [rows, G, D]
  float *transposed_keys = nullptr, *rounded_values = nullptr;  // the same, as round_chunk leaves them
  float *gate = nullptr, *up = nullptr;                         // [rows, intermediate]
  float *cos = nullptr, *sin = nullptr;                         // [rows, D/2]
  ScratchBuffer attention;                                      // attend_decode's

 private:
  const ModelConfig &config_;
  int64_t rows_ = 0;
  ScratchBuffer memory_;
};

class CpuSession : public DuoSession {
 public:
  CpuSession(std::shared_ptr<DuoModel> self, const CpuModel &model, const SessionOptions &options);

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
  void fill(int64_t length, uint64_t seed, Task &task) override;

 private:
  void feed_chunk(const int32_t *tokens, int64_t count, bool is_last, Task &task);
  // x [rows, heads, D] in place, where this session's cache is rotated.
  void rotate(const CpuContext &context, float *x, int64_t rows, int64_t heads) const;
  void attend_chunk_at(const CpuContext &context, int64_t layer, int64_t count);
  void hold_or_write(const CpuContext &context, int64_t layer, int64_t count);
  void commit_held(const CpuContext &context, int64_t count);
  void set_logits(const CpuContext &context, const float *logits);
  const float *require_logits() const;

  std::shared_ptr<DuoModel> self_;  // keeps the weights
  const CpuModel &model_;
  const ModelConfig &config_;
  SessionOptions options_;
  RopeFrequencies rope_;
  KvCache cache_;
  SessionWorkspace workspace_;
  // Keys and values that will replace live ring slots, kept until the chunk is finished: an aborted chunk must leave
  // the ring as it was. [L·G] entries, empty for heads that overwrite nothing; each [2, held tokens, D].
  std::vector<ScratchBuffer> held_;
  std::vector<float> logits_;
  bool has_logits_ = false;
  int64_t length_ = 0;
};

}  // namespace duo

// One decode step of 1 to 8 sessions, captured once as a CUDA graph: embedding, all layers, logits, lengths. Tokens and lengths are read from
// device memory, so a replay needs no new arguments.
#pragma once
#include <vector>

#include "cuda/cuda_model.h"
#include "cuda/decode_attention.h"
#include "cuda/matvec.h"
#include "cuda/reductions.h"

namespace duo::cuda {

class CudaSession;

class DecodeStep {
 public:
  // All sessions of one model, one KV dtype and one rotation; they outlive the runs of the step, not the step.
  DecodeStep(const CudaModel &model, const std::vector<CudaSession *> &sessions, const Stream &stream);
  ~DecodeStep();
  DecodeStep(const DecodeStep &) = delete;
  DecodeStep &operator=(const DecodeStep &) = delete;

  int32_t *tokens() const { return tokens_.data(); }  // [batch] device: what the next run feeds
  // Queue what the next run feeds each session, and how long the session is.
  void feed(const std::vector<CudaSession *> &sessions, const int32_t *tokens, const Stream &stream);
  // Queue the step. Lengths advance by one, logits go to the sessions.
  void run(const Stream &stream);
  // After the stream was waited for: index of the first logit of session `member` that is not finite, or −1.
  int32_t first_bad(int64_t member) const { return first_bad_host_.data()[member]; }
  int64_t bytes() const;

 private:
  void queue(const std::vector<CudaSession *> &sessions, const Stream &stream);
  // The product of a layer's matrix, but for its vectors; `values` null: the matrix is int8.
  VectorProduct describe(const DeviceMatrix &matrix, const bf16 *values, VectorStore store) const;

  const CudaModel &model_;
  const ModelConfig &config_;
  int64_t batch_;
  Dtype dtype_;
  bool rotates_;
  DecodeShape shape_;
  DeviceBuffer<int32_t> tokens_, first_bad_, arrived_;
  DeviceBuffer<DecodeMember> members_;
  DeviceBuffer<DecodeHead> plan_;  // [L, batch·G + 1]
  DeviceBuffer<float> hidden_, cosine_, sine_, partial_, partial_scale_;
  DeviceBuffer<float> logits_;  // of a batch; a session alone has them written to its own
  DeviceBuffer<bf16> qkv_, attended_, activated_;
  PinnedBuffer<int32_t> first_bad_host_;  // written by the step
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace duo::cuda

// One decode step of 1 to 64 sessions: embedding, all layers, logits, lengths. Which sessions, their tokens and their
// lengths are read from device memory, so that a step captured once as a CUDA graph serves any set of as many sessions.
#pragma once
#include <vector>

#include "cuda/decode_attention.h"
#include "cuda/step_product.h"

namespace duo::cuda {

// Activations of a step, which steps of any size up to `rows` share; one at a time runs.
struct DecodeBuffers {
  DecodeBuffers(const CudaModel &model, int64_t most_rows, const Stream &stream);
  int64_t bytes() const;

  int64_t rows;
  DeviceBuffer<DecodeMember> members;
  DeviceBuffer<int32_t> tokens, first_bad, arrived;
  DeviceBuffer<DecodeHead> plan;  // [L, rows·G + 1]
  DeviceBuffer<float> hidden, cosine, sine, partial, partial_scale, product_partial, logits;
  DeviceBuffer<bf16> qkv, attended, activated, normed, gate_up;
  PinnedBuffer<int32_t> reported;  // written by a step: index of the first logit that is not finite, or −1
};

// What sessions of one step have in common.
struct DecodeKind {
  int64_t batch;
  Dtype kv_dtype;
  bool rotates;
  bool operator<(const DecodeKind &other) const;
};

// How a model's steps attend on its device. Throws DUO_STATUS_UNSUPPORTED where a block's shared memory does not hold the
// queries of a KV head; what a session asks when it is opened, before any text.
DecodeShape require_decode_shape(const CudaModel &model, Dtype kv_dtype);

class DecodeStep {
 public:
  // `buffers` of `kind.batch` rows or more outlive the step.
  DecodeStep(const CudaModel &model, const DecodeKind &kind, const DecodeBuffers &buffers);
  ~DecodeStep();
  DecodeStep(const DecodeStep &) = delete;
  DecodeStep &operator=(const DecodeStep &) = delete;

  // Where the next run's token of a session alone may be left on the device.
  int32_t *token() const { return buffers_.tokens.data(); }
  // Queue a step of `members` [batch]. tokens [batch], host, or null: it lies in token(). Logits go to the members'.
  // The first run is launched kernel by kernel, which also loads what must not be loaded during a capture; the second
  // is captured.
  void run(const std::vector<DecodeMember> &members, const int32_t *tokens, const Stream &stream);
  // After the stream was waited for: index of the first logit of member `index` that is not finite, or −1.
  int32_t first_bad(int64_t index) const { return buffers_.reported.data()[index]; }

 private:
  void queue(const Stream &stream);
  void capture(const Stream &stream);

  const CudaModel &model_;
  const ModelConfig &config_;
  const DecodeKind kind_;
  const DecodeBuffers &buffers_;
  const DecodeShape shape_;
  bool has_run_ = false;
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace duo::cuda

// One transformer layer over a whole sample on the GPU, forward and backward to its input, for distillation, evaluation and probing.
// The residual stream is fp32, kept layer inputs are bf16. The last layer computes only the rows that are looked at.
#pragma once
#include <vector>

#include "cuda/attention.h"
#include "cuda/linear_layer.h"

namespace duo::cuda {

// Positions at which a layer's output is wanted, ascending.
struct DeviceRows {
  const int32_t *positions;
  int64_t count;
  bool is_all;  // 0 … T−1
};

// How a layer's heads are mixed.
struct DeviceMix {
  const float *gates;         // [G] host, or null: every head full
  const float *teacher_full;  // [rows, H, D] device: the constant full branch, or null
  bool keeps_branches;        // both branches of every head, their outputs and their sums, as the gradient needs
};

class SamplePass {
 public:
  SamplePass(const CudaModel &model, const Passage &passage, Window window, Task &task);

  void embed(float *x);  // [T, C]
  // Attention of x [T, C] at `rows`, mixed, kept inside.
  void attend_layer(int64_t layer, const float *x, const DeviceRows &rows, const DeviceMix &mix);
  // x [rows, C] += attention and MLP, from the mixed attention kept inside. Where rows are not all, x holds the gathered rows.
  void finish_layer(int64_t layer, float *x, int64_t rows);
  // Mix the kept branches anew with other gates [G] (host).
  void mix_again(const float *gates, int64_t rows);
  // d [rows, C]: gradient of the layer's output; becomes scratch. Writes d_gates [G] (device) and, unless null, dx [T, C]. After attend_layer
  // with keeps_branches. x [T, C] is the layer's input.
  void backward_layer(int64_t layer, const float *x, const DeviceRows &rows, const DeviceMix &mix, float *d, float *d_gates, float *dx);
  // All layers: hidden [P, C] fp32 after the final norm. last_rows [P, C], the same before it, or null.
  // layer_inputs: null, or receives each layer's input [T, C] as bf16. teacher_full: null, or [L], written without gates, read with them.
  void run(const float *gates, std::vector<DeviceBuffer<bf16>> *layer_inputs, std::vector<DeviceBuffer<float>> *teacher_full, float *hidden, float *last_rows);

  const Stream &stream() const { return stream_; }
  int64_t num_tokens() const { return num_tokens_; }
  DeviceRows all() const { return {all_positions_.data(), num_tokens_, true}; }
  DeviceRows wanted() const { return {wanted_.data(), wanted_.count(), false}; }
  DeviceRows rows_of(int64_t layer) const { return layer == config_.layers - 1 ? wanted() : all(); }
  const float *full_branch() const { return full_.data(); }
  LinearScratch &scratch() { return scratch_; }
  void gather(const float *from, const DeviceRows &rows, float *to) const;
  // Wait for all but the last queued layer, so that an abort is seen and the queue stays short.
  void pace();

 private:
  void multiply_mlp(const DeviceLayer &layer, const float *x, int64_t rows);
  AttentionBackward describe_backward(const DeviceRows &rows, const DeviceMix &mix);

  const CudaModel &model_;
  const ModelConfig &config_;
  Task &task_;
  Window window_;
  int64_t num_tokens_;
  AttentionShape shape_;
  // Buffers before the stream: its destructor, which runs first, waits for the work that uses them.
  DeviceBuffer<int32_t> tokens_, all_positions_, wanted_, kv_list_;
  DeviceBuffer<float> cosine_, sine_, gates_;
  DeviceBuffer<bf16> normed_, selected_, qkv_, query_raw_, query_, key_, value_, mixed_, gate_up_, activated_, narrow_, d_mixed_, d_qkv_, d_query_narrow_;
  DeviceBuffer<float> full_, stream_branch_, full_lse_, stream_lse_, deltas_, d_query_, d_key_, d_value_, d_normed_, middle_, d_selected_;
  LinearScratch scratch_;
  Stream stream_;
  cudaEvent_t layer_done_[2] = {};
  int pace_ = 0;

 public:
  ~SamplePass();
  SamplePass(const SamplePass &) = delete;
  SamplePass &operator=(const SamplePass &) = delete;
};

// One past the last position that is looked at.
inline int64_t count_needed_tokens(const Passage &passage) { return int64_t{passage.positions[passage.num_positions - 1]} + 1; }

}  // namespace duo::cuda

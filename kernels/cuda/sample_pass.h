// One transformer layer over a whole sample on the GPU, forward and backward to its input, for distillation, evaluation
// and probing. The residual stream and its gradient are fp32; values between operations are bf16. The last layer
// computes only the rows that are looked at.
#pragma once
#include <vector>

#include "cuda/attention.h"
#include "cuda/linear_layer.h"
#include "cuda/pass_memory.h"

namespace duo::cuda {

// Positions at which a layer's output is wanted, ascending.
struct DeviceRows {
  const int32_t *positions;
  int64_t count;
  bool is_all;  // 0 … T−1
};

// What a pass computes in. bf16 is the deployed model's arithmetic and the gradient's. f16 is the measurements': a
// head's effect is the difference of two passes, which has to be larger than their rounding. f16 ends at 65504, and one
// value of a layer can pass that, the MLP's product silu(gate)·up: it is scaled by a power of two per layer, taken out
// again after the down projection, and its peak is recorded so that the scale can follow.
struct PassArithmetic {
  Half half = Half::bf16;
  const float *mlp_scales = nullptr;  // [L] host, powers of two; null: all 1. f16 only
};

class SamplePass {
 public:
  // flags DUO_DISTILL_…, read where role is distill, which computes in bf16.
  SamplePass(const CudaModel &model, const Passage &passage, const HeadWindows &windows, PassRole role, int32_t flags,
             Task &task, PassArithmetic arithmetic = {});
  ~SamplePass();
  SamplePass(const SamplePass &) = delete;
  SamplePass &operator=(const SamplePass &) = delete;

  // What the layers' heads mix from here on: gates [L, G] (host), or null for full attention. Uploaded once, so that no
  // layer waits for a copy.
  void set_gates(const float *gates);
  void embed(float *x);  // [T, C]
  // Attention of x [T, C] at `rows`, mixed, kept inside: of each head the branches that its gate weighs, or both, so
  // that they can be mixed again.
  void attend_layer(int64_t layer, const float *x, const DeviceRows &rows);
  void attend_branches(int64_t layer, const float *x, const DeviceRows &rows);
  // Mix the layer's branches anew with other gates [G] (host), which stay its gates.
  void mix_again(int64_t layer, const float *gates, int64_t rows);
  // Queries, keys and values of x [T, C], kept inside; then of the heads of that layer whose gate is 1: full attention
  // and a window of `recent` tokens for each head, [rows, H, D] fp32, by one pass over the scores, so that where they
  // share keys they share roundings.
  void prepare_layer(int64_t layer, const float *x, const DeviceRows &rows);
  void attend_window(int64_t layer, const DeviceRows &rows, int64_t recent, float *full, float *stream);
  // x [rows, C] += attention and MLP, from the mixed attention kept inside. Where rows are not all, x holds the
  // gathered rows.
  void finish_layer(int64_t layer, float *x, int64_t rows) { finish_layer(layer, x, rows, memory_.mixed); }
  // All layers under gates [L, G] (host) or null: hidden [P, C] fp32 after the final norm.
  void run(const float *gates, float *hidden);

  // Distillation, in this order: all layers full, and mixed with inputs and branches kept, one after the other or, where
  // layers are streamed, side by side, so that they share each copy; back through all.
  struct States {
    const float *teacher;  // hidden states [P, C]
    float *student;
  };
  States run_forwards(const float *gates);
  // From `d` [P, C], the gradient of the student's hidden states: the gradient of all gates [L, G] on the device.
  const float *run_backward(const float *d);

  // Back through one layer for several gradients by turns, in a sketch, in this order. Every gate is 0 or 1; x [T, C]
  // is the layer's input. Its attention, and what its backward needs of it.
  void open_layer(int64_t layer, const float *x, const DeviceRows &rows);
  // d [rows, C] of each += the gradient through the MLP block; its d_mixed [rows, H, D] = the sum through the output
  // projection.
  struct SketchGradient {
    float *d;
    bf16 *d_mixed;
  };
  void backward_mlps(int64_t layer, const float *x, const DeviceRows &rows,
                     const std::vector<SketchGradient> &gradients);
  // d [T, C] += the gradient through attention, after launch_ladder_products has written memory().deltas. Where rows
  // are not all, `last` [rows, C] holds what backward_mlps made, and d is written.
  void backward_heads(int64_t layer, const float *x, const DeviceRows &rows, const bf16 *d_mixed, const float *last,
                      float *d);

  const Stream &stream() const { return stream_; }
  const PassMemory &memory() const { return memory_; }
  int64_t num_tokens() const { return size_.tokens; }
  DeviceRows all() const { return {memory_.all_positions, size_.tokens, true}; }
  DeviceRows wanted() const { return {memory_.wanted, size_.rows, false}; }
  DeviceRows rows_of(int64_t layer) const { return layer == config_.layers - 1 ? wanted() : all(); }
  LinearScratch &scratch() { return scratch_; }
  // Of an f16 pass so far. Waits for the stream.
  F16Peaks read_peaks() const;
  Half half() const { return arithmetic_.half; }
  void gather(const float *from, const DeviceRows &rows, float *to) const;
  // Wait for all but the last queued layer, so that an abort is seen and the queue stays short.
  void pace();

 private:
  // Which branches of a layer's heads one attention call computes.
  enum class Wanted {
    weighed,  // those that the head's gate weighs
    kept,  // both of every head; where the gate weighs one alone, that one by the kernel that computes it alone, with its bits
    together,  // both of the heads whose gate is 1, by one kernel
  };
  struct Attend {
    Wanted wanted;
    const float *teacher_full;  // the full branch of the mix, or null
    float *full, *stream;       // branch outputs [rows, H, D], or null
    BranchOutputs to;
  };
  void allocate();
  void project(int64_t layer, const DeviceRows &rows);
  void attend(int64_t layer, const DeviceRows &rows, const Attend &call);
  void attend_for_gradient(int64_t layer, const DeviceRows &rows, const BranchOutputs &to);
  void finish_layer(int64_t layer, float *x, int64_t rows, const bf16 *mixed);
  void end_layer(int64_t layer, const bf16 *mixed);
  void finish_norm(float *hidden);
  void keep_input(int64_t layer);
  void run_teacher_layer(int64_t layer);
  void run_student_layer(int64_t layer);
  void swap_teacher();
  void open_chunk(const DeviceLayer &layer, const bf16 *mixed, int64_t rows);
  void backward_chunk(const DeviceLayer &layer, int64_t rows, bf16 *d_gate_up, float *d, bf16 *d_mixed);
  void backward_mlp(int64_t layer, const DeviceRows &rows, const bf16 *mixed, float *d);
  AttentionBackward describe_backward(int64_t layer, const DeviceRows &rows, const BranchOutputs &outputs) const;
  void backward_queries(int64_t layer, const DeviceRows &rows, const AttentionBackward &a);
  void backward_attention(int64_t layer, const DeviceRows &rows, const AttentionBackward &a);
  void spread_rows(const DeviceRows &rows, const float *from, float *to);
  // The shape of a layer, with its heads' windows.
  AttentionShape shape_of(int64_t layer) const;
  const float *gates_of(int64_t layer) const { return memory_.gates + layer * config_.kv_heads; }
  bool is_kept(int64_t layer) const { return layer >= config_.layers - size_.kept_layers; }
  const BranchOutputs &outputs_of(int64_t layer) const {
    return is_kept(layer) ? memory_.kept[static_cast<size_t>(layer)] : memory_.again;
  }

  const CudaModel &model_;
  const ModelConfig &config_;
  Task &task_;
  PassArithmetic arithmetic_;
  AttentionShape shape_;  // of a layer: without its windows
  PassSize size_;
  std::vector<std::vector<int32_t>> class_counts_;    // [L][3] heads that are full alone, streaming alone, both
  std::vector<std::vector<int32_t>> teacher_counts_;  // the same of a teacher that runs with the student
  // Memory before the stream: its destructor, which runs first, waits for the work that uses it.
  DeviceBuffer<uint8_t> workspace_;
  PassMemory memory_{};
  LinearScratch scratch_;
  Stream stream_;
  LayerReader layers_;
  cudaEvent_t layer_done_[2] = {};
  int pace_ = 0;
};

// Throws NUMERIC where one of `count` results (device) of an f16 pass is not finite. Waits for the stream.
void require_finite_f16(const float *values, int64_t count, const Stream &stream);

// One past the last position that is looked at.
inline int64_t count_needed_tokens(const Passage &passage) {
  return int64_t{passage.positions[passage.num_positions - 1]} + 1;
}

}  // namespace duo::cuda

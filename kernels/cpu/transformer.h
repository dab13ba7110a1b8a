// One transformer layer over a whole sample, forward and backward to its input, for distillation, evaluation and
// probing. Weights get no gradient. The last layer computes only the rows that are looked at.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/attention.h"
#include "cpu/cpu_model.h"
#include "cpu/scratch.h"

namespace duo {

// Rows of a sample at which a layer's output is wanted; a subset of 0 … T−1, ascending.
struct RowSet {
  std::vector<int32_t> positions;
  bool is_all;  // positions are 0 … T−1
  int64_t count() const { return static_cast<int64_t>(positions.size()); }
  static RowSet all(int64_t num_tokens);
};

// How the heads of a layer are mixed: gates [G], or null for full attention.
struct LayerMix {
  const float *gates;
  const float *teacher_full;  // [rows, H, D]: constant full branch, or null for the student's own
  bool both_branches;         // compute both, whatever the gates, as the gate gradient needs
};

// Cosines and sines [T, D/2] of positions 0 … T−1.
struct RopeTables {
  ScratchBuffer cos, sin;
  RopeTables(const ModelConfig &config, int64_t num_tokens, int64_t max_tokens);
};

// Working memory of one sample, and what a layer's forward leaves for its backward. One object serves all layers in
// turn.
class SamplePass {
 public:
  // Computes the first num_tokens tokens of a sample of max_tokens, which dynamic rope scaling looks at.
  SamplePass(const CpuModel &model, int64_t num_tokens, int64_t max_tokens, const HeadWindows &windows,
             const Task &task);

  // x [T, C] → attention outputs of both branches at `rows`, kept inside.
  void attend_layer(int64_t layer, const float *x, const RowSet &rows, const LayerMix &mix, bool for_backward);
  // Mixed attention output [rows, H·D], from the branches kept inside; valid until the next attend_layer or mix_heads.
  const float *mix_heads(const RowSet &rows, const LayerMix &mix);
  // out [rows, C] = layer output, from x [T, C] and mixed attention output. `out` may not be x.
  void finish_layer(int64_t layer, const float *x, const RowSet &rows, const float *mixed, float *out);
  // attend, mix, finish.
  void forward_layer(int64_t layer, const float *x, const RowSet &rows, const LayerMix &mix, float *out);

  // Gradient of the layer's input: after attend_layer(…, for_backward) and mix_heads with the same arguments.
  // d_out [rows, C] → d_gates [G] and, unless null, dx [T, C] (written).
  void backward_layer(int64_t layer, const float *x, const RowSet &rows, const LayerMix &mix, const float *d_out,
                      double *d_gates, float *dx);

  // After attend_layer: out [rows, H·D] = what every head sees through another window.
  void attend_window(const RowSet &rows, Window window, float *out);
  // As backward_layer, of heads whose gates are 0 or 1, of which the streaming ones' products mean nothing, against
  // several windows: streams from attend_window, products [streams, G], written: ⟨gradient of a head's output, full −
  // stream⟩.
  void project_layer(int64_t layer, const float *x, const RowSet &rows, const LayerMix &mix,
                     const std::vector<ScratchBuffer> &streams, const float *d_out, double *products, float *dx);

  void embed(const int32_t *tokens, float *x);
  // out [rows, C] = final norm of x [rows, C].
  void final_norm(const float *x, int64_t rows, float *out);

  const CpuContext &context() const { return context_; }
  const float *full_branch() const { return full_.data(); }
  // Of the last attend_layer, rotated: queries [rows, H, D], keys [T, G, D]; and the cosines and sines [T, D/2] of all
  // positions.
  const float *queries() const { return query_.data(); }
  const float *keys() const { return key_.data(); }
  const RopeTables &rope() const { return tables_; }
  int64_t num_tokens() const { return num_tokens_; }

 private:
  const float *select_rows(const float *values, const RowSet &rows, int64_t width, ScratchBuffer &buffer) const;
  void turn_queries(float *query, const RowSet &rows, bool inverse);
  BranchNeeds choose_branches(const LayerMix &mix) const;
  void backward_mlp(const CpuLayer &layer, const float *middle, int64_t count, const float *d_out, float *d_middle);
  void backward_output(int64_t layer, const float *x, const RowSet &rows, const float *d_out);
  void backward_attention(int64_t layer, const float *x, const RowSet &rows, const LayerMix &mix, float *dx);
  void backward_projections(const CpuLayer &layer, const float *x, const RowSet &rows, float *dx);

  const CpuModel &model_;
  const ModelConfig &config_;
  CpuContext context_;
  HeadShape shape_;
  HeadWindows windows_;  // of all layers
  int64_t num_tokens_;
  RopeTables tables_;
  LayerPanels panels_;
  ScratchBuffer normed_, query_, key_, value_, query_raw_, key_raw_;  // [T, …]; raw = before q/k norm
  ScratchBuffer full_, stream_, mixed_, full_lse_, stream_lse_, window_lse_;
  ScratchBuffer d_mixed_, d_query_, d_key_, d_value_;
  ScratchBuffer selected_, middle_, mlp_normed_, gate_, up_, d_hidden_, row_cos_, row_sin_, d_middle_;
};

// Hidden states [P, C] after the final norm at the passage's positions. Positions' tail beyond the last one is not
// computed. layer_inputs: null, or [L] buffers that receive each layer's input [T, C]; teacher_full: null, or [L]
// buffers of the teacher's full branch, written when `gates` is null and read when it is not.
void forward_sample(const CpuModel &model, const Passage &passage, const float *gates, const HeadWindows &windows,
                    Task &task, std::vector<ScratchBuffer> *layer_inputs, std::vector<ScratchBuffer> *teacher_full,
                    float *hidden, float *last_rows);

// T that matters: one past the last position.
inline int64_t count_needed_tokens(const Passage &passage) {
  return int64_t{passage.positions[passage.num_positions - 1]} + 1;
}

}  // namespace duo

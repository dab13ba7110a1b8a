// The distillation step: teacher forward, student forward with layer inputs kept, then backward layer by layer, each recomputed.
// docs/semantics.md, 2 and 3; arXiv 2410.10819, section 2.3.
#include <algorithm>

#include "core/distill_cost.h"
#include "cpu/layer_ops.h"
#include "cpu/mlp_rows.h"
#include "cpu/transformer.h"

namespace duo {

void CpuModel::distill(const Passage &passage, const float *gates, const HeadWindows &windows, int32_t flags, Task &task, double *loss, float *gradient) {
  const int64_t num_tokens = count_needed_tokens(passage), num_rows = passage.num_positions, width = config_.hidden, layers = config_.layers;
  task.set_total(3 * layers);
  const bool teacher_branch = (flags & DUO_DISTILL_TEACHER_BRANCH) != 0;
  std::vector<ScratchBuffer> layer_inputs(static_cast<size_t>(layers)), teacher_full(static_cast<size_t>(layers));
  ScratchBuffer teacher(num_rows * width), student(num_rows * width), last_rows(num_rows * width);
  forward_sample(*this, passage, nullptr, windows, task, nullptr, teacher_branch ? &teacher_full : nullptr, teacher.data(), nullptr);
  forward_sample(*this, passage, gates, windows, task, &layer_inputs, teacher_branch ? &teacher_full : nullptr, student.data(), last_rows.data());

  const double count = static_cast<double>(num_rows) * static_cast<double>(width);
  double sum = 0;
  for (int64_t i = 0; i < num_rows * width; i++) {
    const double difference = static_cast<double>(student.data()[i]) - static_cast<double>(teacher.data()[i]);
    sum += difference * difference;
    student.data()[i] = static_cast<float>(2 * difference / count);  // becomes the gradient of the final hidden states
  }
  *loss = sum / count;

  SamplePass pass(*this, num_tokens, passage.num_tokens, windows, task);
  const RowSet all = RowSet::all(num_tokens);
  const RowSet wanted{std::vector<int32_t>(passage.positions, passage.positions + num_rows), false};
  ScratchBuffer d_out(num_tokens * width), dx(layers > 1 ? num_tokens * width : 0);
  rms_norm_backward(pass.context(), last_rows.data(), final_norm_.data(), student.data(), num_rows, width, config_.rms_norm_eps, d_out.data(),
                    false);
  std::vector<double> d_gates(static_cast<size_t>(config_.kv_heads));
  for (int64_t layer = layers - 1; layer >= 0; layer--) {
    const auto at = static_cast<size_t>(layer);
    const RowSet &rows = layer == layers - 1 ? wanted : all;
    const LayerMix mix{gates + layer * config_.kv_heads, teacher_branch ? teacher_full[at].data() : nullptr, true};
    const float *x = layer_inputs[at].data();
    pass.attend_layer(layer, x, rows, mix, layer > 0);
    pass.mix_heads(rows, mix);
    // Below layer 0 there is no gate, so its input needs no gradient.
    pass.backward_layer(layer, x, rows, mix, d_out.data(), d_gates.data(), layer > 0 ? dx.data() : nullptr);
    for (int64_t head = 0; head < config_.kv_heads; head++) gradient[layer * config_.kv_heads + head] = static_cast<float>(d_gates[static_cast<size_t>(head)]);
    layer_inputs[at].resize(0);
    std::swap(d_out, dx);
    task.add_done();
  }
}

void CpuModel::estimate_distill(int64_t num_tokens, int64_t num_positions, const HeadWindows &windows, int64_t *memory_bytes, double *operations) {
  *operations = count_distill_operations(config_, num_tokens, num_positions, windows);
  const double tokens = static_cast<double>(num_tokens), layers = static_cast<double>(config_.layers), hidden = static_cast<double>(config_.hidden);
  const double query = static_cast<double>(config_.query_width()), kv = static_cast<double>(config_.kv_width());
  const double mlp_rows = std::min(tokens, static_cast<double>(MLP_ROWS));
  const double working = tokens * (7 * hidden + 6 * query + 14 * kv) + 3 * mlp_rows * static_cast<double>(config_.intermediate);
  *memory_bytes = static_cast<int64_t>(4 * (layers * tokens * hidden + working));
}

}  // namespace duo

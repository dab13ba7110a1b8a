// The distillation step: teacher forward, student forward with layer inputs kept, then backward layer by layer, each recomputed.
// DESIGN, Semantics 2 and 3; arXiv 2410.10819, section 2.3.
#include <algorithm>

#include "cuda/layer_ops.h"
#include "cuda/reductions.h"
#include "cuda/sample_pass.h"

namespace duo::cuda {

void CudaModel::distill(const Passage &passage, const float *gates, Window window, int32_t flags, Task &task, double *loss, float *gradient) {
  select_device();
  const int64_t rows = passage.num_positions, width = config_.hidden, layers = config_.layers, kv_heads = config_.kv_heads;
  task.set_total(3 * layers);
  const bool teacher_branch = (flags & DUO_DISTILL_TEACHER_BRANCH) != 0;
  const int64_t tokens = count_needed_tokens(passage);
  std::vector<DeviceBuffer<bf16>> inputs(static_cast<size_t>(layers));
  std::vector<DeviceBuffer<float>> teacher_full(static_cast<size_t>(layers));
  DeviceBuffer<float> teacher(rows * width), student(rows * width), last_rows(rows * width), gradients(config_.num_gates());
  DeviceBuffer<double> partial(LOSS_BLOCKS), loss_value(1);
  DeviceBuffer<float> x, d, dx;
  SamplePass pass(*this, passage, window, task);
  pass.run(nullptr, nullptr, teacher_branch ? &teacher_full : nullptr, teacher.data(), nullptr);
  pass.run(gates, &inputs, teacher_branch ? &teacher_full : nullptr, student.data(), last_rows.data());
  const Stream &stream = pass.stream();
  check(launch_distill_loss(student.data(), teacher.data(), rows * width, partial.data(), loss_value.data(), stream.get()), "the loss");
  x.resize(tokens * width);
  d.resize(tokens * width);
  if (layers > 1) dx.resize(tokens * width);
  check(launch_rms_norm_backward(last_rows.data(), final_norm_.data(), student.data(), rows, width, config_.rms_norm_eps, d.data(), false, stream.get()),
        "the final norm backward");
  for (int64_t layer = layers - 1; layer >= 0; layer--) {
    const auto at = static_cast<size_t>(layer);
    const DeviceMix mix{gates + layer * kv_heads, teacher_branch ? teacher_full[at].data() : nullptr, true};
    const DeviceRows looked_at = pass.rows_of(layer);
    check(launch_widen(inputs[at].data(), tokens * width, x.data(), stream.get()), "reading a layer's input");
    pass.attend_layer(layer, x.data(), looked_at, mix);
    // Below layer 0 there is no gate, so its input needs no gradient.
    pass.backward_layer(layer, x.data(), looked_at, mix, d.data(), gradients.data() + layer * kv_heads, layer > 0 ? dx.data() : nullptr);
    std::swap(d, dx);
    pass.pace();
    task.add_done();
  }
  copy_to_host(gradient, gradients.data(), config_.num_gates(), stream);
  copy_to_host(loss, loss_value.data(), 1, stream);
}

void CudaModel::estimate_distill(int64_t num_tokens, int64_t num_positions, Window window, int64_t *memory_bytes, double *operations) {
  const double tokens = static_cast<double>(num_tokens), rows = static_cast<double>(num_positions), layers = static_cast<double>(config_.layers);
  const double hidden = static_cast<double>(config_.hidden), query = static_cast<double>(config_.query_width()), kv = static_cast<double>(config_.kv_width());
  const double intermediate = static_cast<double>(config_.intermediate), visible = std::min(tokens, static_cast<double>(window.sink + window.recent));
  // As the CPU counts: linear layers four times; scores and values of the causal half, three forwards and a backward of 2.5.
  const double linear_all = 2 * (2 * hidden * query + 2 * hidden * kv + 3 * hidden * intermediate), linear_keys = 2 * 2 * hidden * kv;
  const double linear = 4 * ((layers - 1) * tokens * linear_all + tokens * linear_keys + rows * (linear_all - linear_keys));
  const double pairs = (layers - 1) * (tokens * tokens / 2 + tokens * visible) + rows * (tokens + visible);
  *operations = linear + 5.5 * 4 * query * pairs;
  // Kept inputs; then per token, in bytes, the buffers of SamplePass and of the step.
  const double a_token = hidden * (2 + 2 + 4 * 5) + query * (2 * 5 + 4 * 3) + kv * (2 * 6 + 4 * 2) + static_cast<double>(config_.head_dim) * 4;
  const double mlp = std::min(tokens, 8192.0) * intermediate * 6;
  *memory_bytes = static_cast<int64_t>(layers * tokens * hidden * 2 + tokens * a_token + mlp);
}

}  // namespace duo::cuda

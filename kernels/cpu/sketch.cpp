// What closing each head to each of several windows does to the final hidden states, seen through random vectors over
// them: inner products with the derivatives of all heads and windows at once, by one backward pass a vector. The
// windows' outputs are computed once per layer for all vectors.
#include <algorithm>

#include "cpu/layer_ops.h"
#include "cpu/transformer.h"

namespace duo {
namespace {

// Gradients [T, C] that are carried down the layers side by side; more vectors than fit go in turns.
constexpr int64_t MAX_GRADIENT_FLOATS = int64_t{1} << 28;

}  // namespace

void CpuModel::sketch(const Passage &passage, const float *base_gates, const HeadWindows &base_windows,
                      const float *vectors, int64_t num_vectors, const int64_t *windows, int64_t num_windows,
                      int64_t sink, Task &task, float *products) {
  const int64_t num_tokens = count_needed_tokens(passage), num_rows = passage.num_positions, width = config_.hidden,
                layers = config_.layers, kv_heads = config_.kv_heads;
  const int64_t at_once = std::clamp<int64_t>(MAX_GRADIENT_FLOATS / (num_tokens * width), 1, num_vectors);
  task.set_total(layers * (1 + num_vectors));
  std::vector<ScratchBuffer> layer_inputs(static_cast<size_t>(layers));
  ScratchBuffer hidden(num_rows * width), last_rows(num_rows * width);
  forward_sample(*this, passage, base_gates, base_windows, task, &layer_inputs, nullptr, hidden.data(),
                 last_rows.data());

  SamplePass pass(*this, num_tokens, passage.num_tokens, base_windows, task);
  const RowSet all = RowSet::all(num_tokens);
  const RowSet wanted{std::vector<int32_t>(passage.positions, passage.positions + num_rows), false};
  std::vector<ScratchBuffer> streams(static_cast<size_t>(num_windows));
  for (auto &stream : streams) stream.resize(num_tokens * config_.query_width());
  std::vector<ScratchBuffer> gradients(static_cast<size_t>(at_once));
  for (auto &gradient : gradients) gradient.resize(num_tokens * width);
  ScratchBuffer dx(layers > 1 ? num_tokens * width : 0);
  std::vector<double> sums(static_cast<size_t>(num_windows * kv_heads));
  for (int64_t first = 0; first < num_vectors; first += at_once) {
    const int64_t count = std::min(at_once, num_vectors - first);
    for (int64_t i = 0; i < count; i++) {
      rms_norm_backward(pass.context(), last_rows.data(), final_norm_.data(), vectors + (first + i) * num_rows * width,
                        num_rows, width, config_.rms_norm_eps, gradients[static_cast<size_t>(i)].data(), false);
    }
    for (int64_t layer = layers - 1; layer >= 0; layer--) {
      const RowSet &rows = layer == layers - 1 ? wanted : all;
      const LayerMix mix{base_gates + layer * kv_heads, nullptr, false};
      const float *x = layer_inputs[static_cast<size_t>(layer)].data();
      pass.attend_layer(layer, x, rows, mix, layer > 0);
      pass.mix_heads(rows, mix);
      for (int64_t i = 0; i < num_windows; i++)
        pass.attend_window(rows, {sink, windows[i]}, streams[static_cast<size_t>(i)].data());
      for (int64_t i = 0; i < count; i++) {
        ScratchBuffer &gradient = gradients[static_cast<size_t>(i)];
        pass.project_layer(layer, x, rows, mix, streams, gradient.data(), sums.data(), layer > 0 ? dx.data() : nullptr);
        for (int64_t head = 0; head < kv_heads; head++) {
          float *out = products + (((first + i) * layers + layer) * kv_heads + head) * num_windows;
          for (int64_t window = 0; window < num_windows; window++)
            out[window] = static_cast<float>(sums[static_cast<size_t>(window * kv_heads + head)]);
        }
        if (layer > 0) std::swap(gradient, dx);
        task.add_done();
      }
    }
  }
}

}  // namespace duo

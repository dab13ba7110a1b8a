// Back through a layer for several gradients by turns: what they share, a layer's own activations, is computed once.
// Products are bf16's as in distillation: a gradient's rounding is a share of itself, unlike that of a difference of
// outputs.
#include <algorithm>

#include "cuda/layer_ops.h"
#include "cuda/sample_pass.h"

namespace duo::cuda {

void SamplePass::open_layer(int64_t layer, const float *x, const DeviceRows &rows) {
  prepare_layer(layer, x, rows);
  attend(layer, rows,
         {Wanted::weighed,
          nullptr,
          nullptr,
          nullptr,
          {memory_.mixed, nullptr, memory_.again.full_lse, memory_.again.stream_lse}});
}

void SamplePass::backward_mlps(int64_t index, const float *x, const DeviceRows &rows,
                               const std::vector<SketchGradient> &gradients) {
  const DeviceLayer &layer = layers_.use(index);
  const PassMemory &m = memory_;
  const int64_t hidden = config_.hidden, query_width = config_.query_width(), chunk = m.chunk_rows;
  for (int64_t first = 0; first < rows.count; first += chunk) {
    const int64_t here = std::min(chunk, rows.count - first);
    check(launch_gather_rows(rows.is_all ? x + first * hidden : x, rows.is_all ? nullptr : rows.positions + first, here,
                             hidden, m.middle, stream_.get()),
          "reading a layer's input");
    open_chunk(layer, m.mixed + first * query_width, here);
    for (const SketchGradient &gradient : gradients) {
      backward_chunk(layer, here, m.d_gate_up, gradient.d + first * hidden, gradient.d_mixed + first * query_width);
    }
  }
}

void SamplePass::backward_heads(int64_t index, const float *x, const DeviceRows &rows, const bf16 *d_mixed,
                                const float *last, float *d) {
  const DeviceLayer &layer = layers_.use(index);
  const PassMemory &m = memory_;
  const int64_t hidden = config_.hidden, width = config_.query_width() + 2 * config_.kv_width(), tokens = size_.tokens,
                chunk = m.chunk_rows;
  AttentionBackward a = describe_backward(index, rows, m.again);
  a.d_mixed = d_mixed;
  a.stream_delta = a.full_delta;  // each head has one branch, and `mixed` is that
  backward_queries(index, rows, a);
  if (!rows.is_all) spread_rows(rows, last, d);
  for (int64_t first = 0; first < tokens; first += chunk) {
    const int64_t here = std::min(chunk, tokens - first);
    multiply_linear_transposed(model_, layer.qkv, 0, width, m.d_qkv + first * width, width, here, m.d_normed,
                               Store::half, scratch_, stream_);
    check(launch_rms_norm_backward_add(x + first * hidden, layer.input_norm.data(), m.d_normed, here, hidden,
                                       config_.rms_norm_eps, d + first * hidden, nullptr, stream_.get()),
          "a norm backward");
  }
}

}  // namespace duo::cuda

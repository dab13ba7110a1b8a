// Backward of a layer to its input and its gates. Everything but the layer's input and the attention branches is
// recomputed.
#include <algorithm>

#include "cpu/layer_ops.h"
#include "cpu/mlp_rows.h"
#include "cpu/transformer.h"

namespace duo {
namespace {

void reserve(ScratchBuffer &buffer, int64_t count) {
  if (buffer.count() < count) buffer.resize(count);
}

}  // namespace

// d_middle = d_out + gradient of the MLP block at middle [count, C] (the layer after its attention).
void SamplePass::backward_mlp(const CpuLayer &layer, const float *middle, int64_t count, const float *d_out,
                              float *d_middle) {
  const int64_t hidden = config_.hidden, intermediate = config_.intermediate, chunk = std::min(MLP_ROWS, count);
  reserve(mlp_normed_, chunk * hidden);
  reserve(gate_, chunk * intermediate);
  reserve(up_, chunk * intermediate);
  reserve(d_hidden_, chunk * intermediate);
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t rows = std::min(chunk, count - first), at = first * hidden;
    float *normed = mlp_normed_.data();
    rms_norm(context_, middle + at, layer.post_attention_norm.data(), rows, hidden, config_.rms_norm_eps, normed);
    multiply_linear(context_, layer.gate, normed, hidden, rows, gate_.data(), intermediate, false);
    multiply_linear(context_, layer.up, normed, hidden, rows, up_.data(), intermediate, false);
    multiply_linear_transposed(context_, layer.down, d_out + at, hidden, rows, d_hidden_.data(), intermediate, false);
    swiglu_backward(context_, gate_.data(), up_.data(), d_hidden_.data(), rows, intermediate);
    // The normed rows are not needed any more: their gradient takes their place.
    multiply_linear_transposed(context_, layer.gate, gate_.data(), intermediate, rows, normed, hidden, false);
    multiply_linear_transposed(context_, layer.up, up_.data(), intermediate, rows, normed, hidden, true);
    std::copy(d_out + at, d_out + at + rows * hidden, d_middle + at);
    rms_norm_backward(context_, middle + at, layer.post_attention_norm.data(), normed, rows, hidden,
                      config_.rms_norm_eps, d_middle + at, true);
  }
}

// From d_query_, d_key_, d_value_: dx += gradient through the projections and the input norm.
void SamplePass::backward_projections(const CpuLayer &layer, const float *x, const RowSet &rows, float *dx) {
  const int64_t hidden = config_.hidden, head_dim = config_.head_dim, count = rows.count();
  turn_queries(d_query_.data(), rows, true);
  apply_rope(context_, d_key_.data(), num_tokens_, config_.kv_heads, head_dim, tables_.cos.data(), tables_.sin.data(),
             true);
  if (config_.qk_norm) {
    rms_norm_backward(context_, query_raw_.data(), layer.query_norm.data(), d_query_.data(), count * config_.heads,
                      head_dim, config_.rms_norm_eps, d_query_.data(), false);
    rms_norm_backward(context_, key_raw_.data(), layer.key_norm.data(), d_key_.data(), num_tokens_ * config_.kv_heads,
                      head_dim, config_.rms_norm_eps, d_key_.data(), false);
  }
  // normed_ becomes its own gradient.
  float *d_normed = normed_.data();
  multiply_linear_transposed(context_, layer.key, d_key_.data(), config_.kv_width(), num_tokens_, d_normed, hidden,
                             false);
  multiply_linear_transposed(context_, layer.value, d_value_.data(), config_.kv_width(), num_tokens_, d_normed, hidden,
                             true);
  if (rows.is_all) {
    multiply_linear_transposed(context_, layer.query, d_query_.data(), config_.query_width(), count, d_normed, hidden,
                               true);
  } else {
    reserve(selected_, count * hidden);
    multiply_linear_transposed(context_, layer.query, d_query_.data(), config_.query_width(), count, selected_.data(),
                               hidden, false);
    for (int64_t row = 0; row < count; row++) {
      context_.ops.add_scaled(1.0f, selected_.data() + row * hidden, hidden,
                              d_normed + rows.positions[static_cast<size_t>(row)] * hidden);
    }
  }
  rms_norm_backward(context_, x, layer.input_norm.data(), d_normed, num_tokens_, hidden, config_.rms_norm_eps, dx,
                    true);
}

// d_middle_ and d_mixed_: the gradient of the stream after attention and of the mixed heads.
void SamplePass::backward_output(int64_t index, const float *x, const RowSet &rows, const float *d_out) {
  const CpuLayer &layer = model_.layer(index);
  const int64_t count = rows.count(), hidden = config_.hidden, query_width = config_.query_width();
  reserve(middle_, count * hidden);
  reserve(d_middle_, count * hidden);
  reserve(d_mixed_, count * query_width);
  const float *residual = select_rows(x, rows, hidden, selected_);
  std::copy(residual, residual + count * hidden, middle_.data());
  multiply_linear(context_, layer.output, mixed_.data(), query_width, count, middle_.data(), hidden, true);
  backward_mlp(layer, middle_.data(), count, d_out, d_middle_.data());
  multiply_linear_transposed(context_, layer.output, d_middle_.data(), hidden, count, d_mixed_.data(), query_width,
                             false);
}

// After backward_output: dx [T, C] = the gradient of the layer's input.
void SamplePass::backward_attention(int64_t index, const float *x, const RowSet &rows, const LayerMix &mix, float *dx) {
  const int64_t count = rows.count(), hidden = config_.hidden;
  reserve(d_query_, count * config_.query_width());
  reserve(d_key_, num_tokens_ * config_.kv_width());
  reserve(d_value_, num_tokens_ * config_.kv_width());
  AttentionGradient gradient{};
  gradient.gates = mix.gates;
  gradient.full_is_constant = mix.teacher_full != nullptr;
  gradient.d_out = d_mixed_.data();
  gradient.full = mix.teacher_full != nullptr ? mix.teacher_full : full_.data();
  gradient.stream = stream_.data();
  gradient.full_lse = full_lse_.data();
  gradient.stream_lse = stream_lse_.data();
  gradient.d_query = d_query_.data();
  gradient.d_key = d_key_.data();
  gradient.d_value = d_value_.data();
  attend_backward(context_, shape_, {query_.data(), rows.positions.data(), count}, panels_, num_tokens_,
                  windows_.from(index * config_.kv_heads), gradient);

  // The residual's share first, then what came through attention.
  if (rows.is_all) {
    std::copy(d_middle_.data(), d_middle_.data() + count * hidden, dx);
  } else {
    std::fill(dx, dx + num_tokens_ * hidden, 0.0f);
    for (int64_t row = 0; row < count; row++) {
      std::copy(d_middle_.data() + row * hidden, d_middle_.data() + (row + 1) * hidden,
                dx + rows.positions[static_cast<size_t>(row)] * hidden);
    }
  }
  backward_projections(model_.layer(index), x, rows, dx);
}

void SamplePass::backward_layer(int64_t index, const float *x, const RowSet &rows, const LayerMix &mix,
                                const float *d_out, double *d_gates, float *dx) {
  backward_output(index, x, rows, d_out);
  const float *full = mix.teacher_full != nullptr ? mix.teacher_full : full_.data();
  sum_gate_gradient(context_, shape_, rows.count(), d_mixed_.data(), full, stream_.data(), d_gates);
  if (dx != nullptr) backward_attention(index, x, rows, mix, dx);
}

void SamplePass::attend_window(const RowSet &rows, Window window, float *out) {
  const auto heads = static_cast<size_t>(config_.kv_heads);
  const std::vector<int64_t> recent(heads, window.recent);
  reserve(window_lse_, config_.kv_heads * count_tiles(context_, shape_, rows.count()) * context_.ops.tile_columns);
  attend(context_, shape_, {query_.data(), rows.positions.data(), rows.count()}, panels_, {window.sink, recent.data()},
         {std::vector<bool>(heads, false), std::vector<bool>(heads, true)}, full_.data(), out, full_lse_.data(),
         window_lse_.data());
}

void SamplePass::project_layer(int64_t index, const float *x, const RowSet &rows, const LayerMix &mix,
                               const std::vector<ScratchBuffer> &streams, const float *d_out, double *products,
                               float *dx) {
  backward_output(index, x, rows, d_out);
  for (size_t i = 0; i < streams.size(); i++) {
    sum_gate_gradient(context_, shape_, rows.count(), d_mixed_.data(), full_.data(), streams[i].data(),
                      products + static_cast<int64_t>(i) * config_.kv_heads);
  }
  if (dx != nullptr) backward_attention(index, x, rows, mix, dx);
}

}  // namespace duo

// Back through a sample's layers to the gates. Of a layer, queries, keys and values are computed again from its kept
// input, and its attention too where its branches were not kept; the MLP's activations always are, chunk by chunk.
#include <algorithm>

#include "cuda/branch_gradient.h"
#include "cuda/layer_ops.h"
#include "cuda/sample_pass.h"

namespace duo::cuda {

// Of `rows` rows at m.middle, the stream before attention: the stream after it, and gates and ups of the MLP.
void SamplePass::open_chunk(const DeviceLayer &layer, const bf16 *mixed, int64_t rows) {
  const PassMemory &m = memory_;
  const int64_t hidden = config_.hidden, intermediate = config_.intermediate;
  multiply_linear(model_, layer.output, 0, hidden, mixed, rows, m.middle, hidden, Store::add_f32, scratch_, stream_);
  check(launch_rms_norm(m.middle, layer.post_attention_norm.data(), rows, hidden, config_.rms_norm_eps, m.chunk_normed,
                        stream_.get()),
        "a norm");
  multiply_linear(model_, layer.gate_up, 0, 2 * intermediate, m.chunk_normed, rows, m.gate_up, 2 * intermediate,
                  Store::half, scratch_, stream_);
}

// After open_chunk: d [rows, C] += the gradient through the MLP block; d_mixed = the sum through the output projection.
// d_gate_up may be m.gate_up.
void SamplePass::backward_chunk(const DeviceLayer &layer, int64_t rows, bf16 *d_gate_up, float *d, bf16 *d_mixed) {
  const PassMemory &m = memory_;
  const int64_t hidden = config_.hidden, intermediate = config_.intermediate;
  check(launch_narrow(d, rows * hidden, m.chunk_normed, stream_.get()), "rounding a gradient");
  multiply_linear_transposed(model_, layer.down, 0, hidden, m.chunk_normed, hidden, rows, m.activated, Store::half,
                             scratch_, stream_);
  check(launch_swiglu_backward(m.gate_up, m.activated, rows, intermediate, d_gate_up, stream_.get()),
        "swiglu backward");
  multiply_linear_transposed(model_, layer.gate_up, 0, 2 * intermediate, d_gate_up, 2 * intermediate, rows, m.d_normed,
                             Store::half, scratch_, stream_);
  check(launch_rms_norm_backward_add(m.middle, layer.post_attention_norm.data(), m.d_normed, rows, hidden,
                                     config_.rms_norm_eps, d, m.chunk_normed, stream_.get()),
        "a norm backward");
  multiply_linear_transposed(model_, layer.output, 0, hidden, m.chunk_normed, hidden, rows, d_mixed, Store::half,
                             scratch_, stream_);
}

// d [rows, C] += the gradient through the MLP block; d_mixed = the sum through the output projection.
void SamplePass::backward_mlp(int64_t index, const DeviceRows &rows, const bf16 *mixed, float *d) {
  const DeviceLayer &layer = layers_.use(index);
  const PassMemory &m = memory_;
  const int64_t hidden = config_.hidden, query_width = config_.query_width(), chunk = m.chunk_rows;
  const bf16 *input = m.inputs[static_cast<size_t>(index)];
  for (int64_t first = 0; first < rows.count; first += chunk) {
    const int64_t here = std::min(chunk, rows.count - first);
    check(launch_gather_rows_widened(rows.is_all ? input + first * hidden : input,
                                     rows.is_all ? nullptr : rows.positions + first, here, hidden, m.middle,
                                     stream_.get()),
          "reading a layer's input");
    open_chunk(layer, mixed + first * query_width, here);
    backward_chunk(layer, here, m.gate_up, d + first * hidden, m.d_mixed + first * query_width);
  }
}

AttentionBackward SamplePass::describe_backward(int64_t layer, const DeviceRows &rows,
                                                const BranchOutputs &outputs) const {
  const PassMemory &m = memory_;
  const int64_t count = rows.count * shape_.heads;
  AttentionBackward a{};
  a.shape = shape_of(layer);
  a.query = m.query;
  a.positions = rows.positions;
  a.num_rows = rows.count;
  a.key = m.key, a.value = m.value;
  a.num_keys = size_.tokens;
  a.d_mixed = m.d_mixed;
  a.full_lse = outputs.full_lse, a.stream_lse = outputs.stream_lse;
  a.gates = gates_of(layer);
  a.full_is_constant = size_.teacher_branch;
  a.full_delta = m.deltas, a.stream_delta = m.deltas + count, a.gate_delta = m.deltas + 2 * count;
  if (m.d_gates != nullptr) a.d_gates = m.d_gates + layer * config_.kv_heads;
  // The branches themselves are done with once their difference is taken.
  a.d_query = m.full;
  a.d_key = m.stream, a.d_value = m.stream + size_.tokens * config_.kv_width();
  return a;
}

// The gradient of queries, keys and values before rotation and norm, [T, (H + 2G)·D].
void SamplePass::backward_queries(int64_t index, const DeviceRows &rows, const AttentionBackward &a) {
  const DeviceLayer &layer = layers_.use(index);
  const PassMemory &m = memory_;
  const int64_t query_width = config_.query_width(), kv_width = config_.kv_width(), width = query_width + 2 * kv_width,
                tokens = size_.tokens;
  check(launch_attention_backward(a, stream_.get()), "attention backward");
  // One matrix [T, (H + 2G)·D]; rows that ask for nothing have no gradient of queries.
  if (!rows.is_all)
    check(cudaMemsetAsync(m.d_qkv, 0, static_cast<size_t>(tokens * width) * sizeof(bf16), stream_.get()),
          "clearing a gradient");
  RopeBackward rope{};
  rope.head_dim = shape_.head_dim;
  rope.cosine = m.cosine, rope.sine = m.sine;
  rope.eps = config_.rms_norm_eps;
  rope.out_stride = width;
  rope.dy = a.d_query, rope.positions = rows.positions, rope.rows = rows.count, rope.heads = shape_.heads,
  rope.norm = layer.query_norm.data();
  rope.raw = rows.is_all ? m.qkv : m.query_raw, rope.raw_stride = rows.is_all ? width : query_width;
  rope.out = m.d_qkv, rope.scatters = !rows.is_all;
  check(launch_rope_backward(rope, stream_.get()), "rotating gradients back");
  rope.dy = a.d_key, rope.positions = m.all_positions, rope.rows = tokens, rope.heads = shape_.kv_heads,
  rope.norm = layer.key_norm.data();
  rope.raw = rows.is_all ? m.qkv + query_width : m.qkv, rope.raw_stride = rows.is_all ? width : 2 * kv_width;
  rope.out = m.d_qkv + query_width, rope.scatters = false;
  check(launch_rope_backward(rope, stream_.get()), "rotating gradients back");
  rope.dy = a.d_value, rope.cosine = nullptr, rope.norm = nullptr, rope.out = m.d_qkv + query_width + kv_width;
  check(launch_rope_backward(rope, stream_.get()), "rounding gradients");
}

// to [T, C] = from [rows, C] at its positions, 0 elsewhere.
void SamplePass::spread_rows(const DeviceRows &rows, const float *from, float *to) {
  check(cudaMemsetAsync(to, 0, static_cast<size_t>(size_.tokens * config_.hidden) * sizeof(float), stream_.get()),
        "clearing a gradient");
  check(launch_scatter_rows(from, rows.positions, rows.count, config_.hidden, to, stream_.get()), "scattering rows");
}

// The stream's gradient += the gradient through attention, back through rotation and norm.
void SamplePass::backward_attention(int64_t index, const DeviceRows &rows, const AttentionBackward &a) {
  const DeviceLayer &layer = layers_.use(index);
  const PassMemory &m = memory_;
  const int64_t hidden = config_.hidden, width = config_.query_width() + 2 * config_.kv_width(), tokens = size_.tokens,
                chunk = m.chunk_rows;
  backward_queries(index, rows, a);
  if (!rows.is_all) spread_rows(rows, m.last_gradient, m.residual);
  const bf16 *input = m.inputs[static_cast<size_t>(index)];
  for (int64_t first = 0; first < tokens; first += chunk) {
    const int64_t here = std::min(chunk, tokens - first);
    multiply_linear_transposed(model_, layer.qkv, 0, width, m.d_qkv + first * width, width, here, m.d_normed,
                               Store::half, scratch_, stream_);
    check(launch_rms_norm_backward_add_kept(input + first * hidden, layer.input_norm.data(), m.d_normed, here, hidden,
                                            config_.rms_norm_eps, m.residual + first * hidden, stream_.get()),
          "a norm backward");
  }
}

const float *SamplePass::run_backward(const float *d) {
  model_.layers().expect({-1, -1});
  check(launch_rms_norm_backward(memory_.last, model_.final_norm().data(), d, size_.rows, config_.hidden,
                                 config_.rms_norm_eps, memory_.last_gradient, stream_.get()),
        "the final norm backward");
  for (int64_t layer = config_.layers - 1; layer >= 0; layer--) {
    const DeviceRows rows = rows_of(layer);
    const BranchOutputs &outputs = outputs_of(layer);
    check(launch_rms_norm_of_kept(memory_.inputs[static_cast<size_t>(layer)], layers_.use(layer).input_norm.data(),
                                  size_.tokens, config_.hidden, config_.rms_norm_eps, memory_.normed, stream_.get()),
          "a norm");
    project(layer, rows);
    if (!is_kept(layer)) attend_for_gradient(layer, rows, outputs);
    backward_mlp(layer, rows, outputs.mixed, rows.is_all ? memory_.residual : memory_.last_gradient);
    const AttentionBackward a = describe_backward(layer, rows, outputs);
    check(launch_branch_deltas(a, outputs.mixed, outputs.difference, memory_.gate_sums, stream_.get()),
          "the gate gradient");
    // Below layer 0 there is no gate, so its input needs no gradient.
    if (layer > 0) backward_attention(layer, rows, a);
    pace();
    task_.add_done();
  }
  return memory_.d_gates;
}

}  // namespace duo::cuda

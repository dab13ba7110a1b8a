// The layers of a sample, MLP in chunks of rows so that its activations stay small.
#include "cuda/sample_pass.h"

#include <algorithm>

#include "core/rope.h"
#include "cuda/layer_ops.h"

namespace duo::cuda {
namespace {

constexpr int64_t MLP_ROWS = 8192;  // full matrix rate from a few thousand rows on; 8B: 8192 × 28672 bf16 = 470 MB

}  // namespace

SamplePass::SamplePass(const CudaModel &model, const Passage &passage, Window window, Task &task)
    : model_(model),
      config_(model.config()),
      task_(task),
      window_(window),
      num_tokens_(count_needed_tokens(passage)),
      shape_{static_cast<int32_t>(config_.heads), static_cast<int32_t>(config_.kv_heads), static_cast<int32_t>(config_.head_dim), window.sink, window.recent} {
  const int64_t half = config_.head_dim / 2, width = config_.query_width() + 2 * config_.kv_width();
  for (auto &event : layer_done_) {
    check(cudaEventCreate(&event), "creating an event");
    check(cudaEventRecord(event, stream_.get()), "recording an event");
  }
  tokens_.resize(num_tokens_);
  copy_to_device(tokens_.data(), passage.tokens, num_tokens_, stream_);
  wanted_.resize(passage.num_positions);
  copy_to_device(wanted_.data(), passage.positions, passage.num_positions, stream_);
  all_positions_.resize(num_tokens_);
  check(launch_count_up(0, num_tokens_, all_positions_.data(), stream_.get()), "numbering positions");
  const RopeFrequencies rope = compute_rope_frequencies(config_, num_tokens_);
  DeviceBuffer<float> inverse(half);
  copy_to_device(inverse.data(), rope.inverse.data(), half, stream_);
  cosine_.resize(num_tokens_ * half);
  sine_.resize(num_tokens_ * half);
  check(launch_rope_tables(inverse.data(), rope.attention_scale, 0, nullptr, num_tokens_, static_cast<int32_t>(half), cosine_.data(), sine_.data(), stream_.get()),
        "making rotary tables");
  normed_.resize(num_tokens_ * config_.hidden);
  qkv_.resize(num_tokens_ * width);
  query_.resize(num_tokens_ * config_.query_width());
  mixed_.resize(num_tokens_ * config_.query_width());
  key_.resize(num_tokens_ * config_.kv_width());
  value_.resize(num_tokens_ * config_.kv_width());
  kv_list_.resize(config_.kv_heads);
  gates_.resize(config_.kv_heads);
  stream_.wait();  // `inverse` goes here
}

SamplePass::~SamplePass() {
  cudaStreamSynchronize(stream_.get());
  for (auto event : layer_done_) cudaEventDestroy(event);
}

void SamplePass::pace() {
  check(cudaEventRecord(layer_done_[pace_], stream_.get()), "recording an event");
  pace_ = 1 - pace_;
  check(cudaEventSynchronize(layer_done_[pace_]), "waiting for a layer");
  task_.check_abort();
}

void SamplePass::embed(float *x) {
  check(launch_embed(tokens_.data(), model_.embedding().data(), num_tokens_, config_.hidden, x, stream_.get()), "reading embeddings");
}

void SamplePass::gather(const float *from, const DeviceRows &rows, float *to) const {
  check(launch_gather_rows(from, rows.positions, rows.count, config_.hidden, to, stream_.get()), "gathering rows");
}

void SamplePass::attend_layer(int64_t index, const float *x, const DeviceRows &rows, const DeviceMix &mix) {
  const DeviceLayer &layer = model_.layer(index);
  const int64_t hidden = config_.hidden, query_width = config_.query_width(), kv_width = config_.kv_width(), width = query_width + 2 * kv_width;
  check(launch_rms_norm(x, layer.input_norm.data(), num_tokens_, hidden, config_.rms_norm_eps, normed_.data(), stream_.get()), "a norm");
  RopeWrite rope{};
  if (rows.is_all) {
    multiply_linear(model_, layer.qkv, 0, width, normed_.data(), num_tokens_, qkv_.data(), width, Store::bf16, scratch_, stream_);
    rope.query_in = qkv_.data();
    rope.query_stride = rope.key_stride = width;
    rope.key_in = qkv_.data() + query_width;
  } else {
    // Keys and values of every token, queries of the wanted rows.
    multiply_linear(model_, layer.qkv, query_width, 2 * kv_width, normed_.data(), num_tokens_, qkv_.data(), 2 * kv_width, Store::bf16, scratch_, stream_);
    selected_.reserve(rows.count * hidden);
    query_raw_.reserve(rows.count * query_width);
    check(launch_gather_rows_bf16(normed_.data(), rows.positions, rows.count, hidden, selected_.data(), stream_.get()), "gathering rows");
    multiply_linear(model_, layer.qkv, 0, query_width, selected_.data(), rows.count, query_raw_.data(), query_width, Store::bf16, scratch_, stream_);
    rope.query_in = query_raw_.data();
    rope.query_stride = query_width;
    rope.key_stride = 2 * kv_width;
    rope.key_in = qkv_.data();
  }
  rope.value_in = rope.key_in + kv_width;
  rope.query_positions = rows.positions;
  rope.positions = all_positions_.data();
  rope.query_rows = rows.count;
  rope.rows = num_tokens_;
  rope.heads = shape_.heads, rope.kv_heads = shape_.kv_heads, rope.head_dim = shape_.head_dim;
  rope.query_norm = layer.query_norm.data(), rope.key_norm = layer.key_norm.data();
  rope.eps = config_.rms_norm_eps;
  rope.cosine = cosine_.data(), rope.sine = sine_.data();
  rope.query_out = query_.data();
  rope.dtype = Dtype::bf16;
  rope.key_out = reinterpret_cast<uint8_t *>(key_.data()), rope.value_out = reinterpret_cast<uint8_t *>(value_.data());
  check(launch_rope_write(rope, stream_.get()), "rotating queries and keys");

  // Heads of one launch follow each other in the list: full alone, streaming alone, both.
  std::vector<int32_t> classes[3], list;
  for (int32_t head = 0; head < shape_.kv_heads; head++) {
    const float gate = mix.gates == nullptr ? 1.0f : mix.gates[head];
    const bool is_both = mix.gates != nullptr && (mix.keeps_branches || (gate > 0.0f && gate < 1.0f));
    classes[is_both ? 2 : gate == 0.0f ? 1 : 0].push_back(head);
  }
  for (const auto &one : classes) list.insert(list.end(), one.begin(), one.end());
  copy_to_device(kv_list_.data(), list.data(), shape_.kv_heads, stream_);
  if (mix.gates != nullptr) copy_to_device(gates_.data(), mix.gates, shape_.kv_heads, stream_);
  AttentionForward a{};
  a.shape = shape_;
  a.query = query_.data();
  a.positions = rows.positions;
  a.num_rows = rows.count;
  a.dtype = Dtype::bf16;
  a.chunk_key = rope.key_out, a.chunk_value = rope.value_out;
  a.chunk_count = num_tokens_;
  a.gates = gates_.data();
  a.teacher_full = mix.teacher_full;
  a.mixed = mixed_.data();
  if (mix.keeps_branches) {
    full_.reserve(rows.count * query_width);
    stream_branch_.reserve(rows.count * query_width);
    full_lse_.reserve(rows.count * shape_.heads);
    stream_lse_.reserve(rows.count * shape_.heads);
    a.full = full_.data(), a.stream = stream_branch_.data();
    a.full_lse = full_lse_.data(), a.stream_lse = stream_lse_.data();
  }
  a.kv_list = kv_list_.data();
  for (int i = 0; i < 3; i++) {
    a.num_listed = static_cast<int32_t>(classes[i].size());
    check(launch_attention_forward(a, i == 0 ? Branches::full : i == 1 ? Branches::stream : Branches::both, stream_.get()), "attention");
    a.kv_list += a.num_listed;
  }
}

void SamplePass::mix_again(const float *gates, int64_t rows) {
  copy_to_device(gates_.data(), gates, shape_.kv_heads, stream_);
  check(launch_mix(full_.data(), stream_branch_.data(), gates_.data(), rows, shape_.heads, shape_.kv_heads, shape_.head_dim, mixed_.data(), stream_.get()),
        "mixing heads");
}

void SamplePass::finish_layer(int64_t index, float *x, int64_t rows) {
  const DeviceLayer &layer = model_.layer(index);
  const int64_t hidden = config_.hidden, intermediate = config_.intermediate, chunk = std::min(MLP_ROWS, rows);
  multiply_linear(model_, layer.output, 0, hidden, mixed_.data(), rows, x, hidden, Store::add_f32, scratch_, stream_);
  narrow_.reserve(chunk * hidden);
  gate_up_.reserve(chunk * 2 * intermediate);
  activated_.reserve(chunk * intermediate);
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t here = std::min(chunk, rows - first);
    float *at = x + first * hidden;
    check(launch_rms_norm(at, layer.post_attention_norm.data(), here, hidden, config_.rms_norm_eps, narrow_.data(), stream_.get()), "a norm");
    multiply_linear(model_, layer.gate_up, 0, 2 * intermediate, narrow_.data(), here, gate_up_.data(), 2 * intermediate, Store::bf16, scratch_, stream_);
    check(launch_swiglu(gate_up_.data(), here, intermediate, activated_.data(), stream_.get()), "swiglu");
    multiply_linear(model_, layer.down, 0, hidden, activated_.data(), here, at, hidden, Store::add_f32, scratch_, stream_);
  }
}

AttentionBackward SamplePass::describe_backward(const DeviceRows &rows, const DeviceMix &mix) {
  const int64_t count = rows.count * shape_.heads;
  deltas_.reserve(3 * count);
  AttentionBackward a{};
  a.shape = shape_;
  a.query = query_.data();
  a.positions = rows.positions;
  a.num_rows = rows.count;
  a.key = key_.data(), a.value = value_.data();
  a.num_keys = num_tokens_;
  a.d_mixed = d_mixed_.data();
  a.full = mix.teacher_full != nullptr ? mix.teacher_full : full_.data();
  a.stream = stream_branch_.data();
  a.full_lse = full_lse_.data(), a.stream_lse = stream_lse_.data();
  a.gates = gates_.data();
  a.full_is_constant = mix.teacher_full != nullptr;
  a.full_delta = deltas_.data(), a.stream_delta = deltas_.data() + count, a.gate_delta = deltas_.data() + 2 * count;
  return a;
}

void SamplePass::backward_layer(int64_t index, const float *x, const DeviceRows &rows, const DeviceMix &mix, float *d, float *d_gates, float *dx) {
  const DeviceLayer &layer = model_.layer(index);
  const int64_t hidden = config_.hidden, intermediate = config_.intermediate, query_width = config_.query_width(), kv_width = config_.kv_width();
  const int64_t width = query_width + 2 * kv_width, count = rows.count, chunk = std::min(MLP_ROWS, count);
  const float eps = config_.rms_norm_eps;
  // The stream between attention and MLP.
  middle_.reserve(count * hidden);
  gather(x, rows, middle_.data());
  multiply_linear(model_, layer.output, 0, hidden, mixed_.data(), count, middle_.data(), hidden, Store::add_f32, scratch_, stream_);

  // d += gradient through the MLP block.
  narrow_.reserve(std::max(chunk, count) * hidden);
  gate_up_.reserve(chunk * 2 * intermediate);
  activated_.reserve(chunk * intermediate);
  d_normed_.reserve(std::max(num_tokens_, chunk) * hidden);
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t here = std::min(chunk, count - first), at = first * hidden;
    check(launch_rms_norm(middle_.data() + at, layer.post_attention_norm.data(), here, hidden, eps, narrow_.data(), stream_.get()), "a norm");
    multiply_linear(model_, layer.gate_up, 0, 2 * intermediate, narrow_.data(), here, gate_up_.data(), 2 * intermediate, Store::bf16, scratch_, stream_);
    check(launch_narrow(d + at, here * hidden, narrow_.data(), stream_.get()), "rounding a gradient");
    multiply_linear_transposed(model_, layer.down, 0, hidden, narrow_.data(), hidden, here, activated_.data(), Store::bf16, scratch_, stream_);
    check(launch_swiglu_backward(gate_up_.data(), activated_.data(), here, intermediate, stream_.get()), "swiglu backward");
    multiply_linear_transposed(model_, layer.gate_up, 0, 2 * intermediate, gate_up_.data(), 2 * intermediate, here, d_normed_.data(), Store::f32, scratch_, stream_);
    check(launch_rms_norm_backward(middle_.data() + at, layer.post_attention_norm.data(), d_normed_.data(), here, hidden, eps, d + at, true, stream_.get()),
          "a norm backward");
  }

  d_mixed_.reserve(count * query_width);
  check(launch_narrow(d, count * hidden, narrow_.data(), stream_.get()), "rounding a gradient");
  multiply_linear_transposed(model_, layer.output, 0, hidden, narrow_.data(), hidden, count, d_mixed_.data(), Store::bf16, scratch_, stream_);
  AttentionBackward a = describe_backward(rows, mix);
  a.d_gates = d_gates;
  check(launch_gate_gradient(a, stream_.get()), "the gate gradient");
  if (dx == nullptr) return;

  d_query_.reserve(count * query_width);
  d_key_.reserve(num_tokens_ * kv_width);
  d_value_.reserve(num_tokens_ * kv_width);
  a.d_query = d_query_.data(), a.d_key = d_key_.data(), a.d_value = d_value_.data();
  check(launch_attention_backward(a, stream_.get()), "attention backward");

  // Back through rotation and norm into one matrix [T, (H + 2G)·D], or queries apart where only some rows have one.
  d_qkv_.reserve(num_tokens_ * width);
  const int64_t key_at = rows.is_all ? query_width : 0, stride = rows.is_all ? width : 2 * kv_width;
  bf16 *d_queries = d_qkv_.data();
  if (!rows.is_all) {
    d_query_narrow_.reserve(count * query_width);
    d_queries = d_query_narrow_.data();
  }
  RopeBackward rope{};
  rope.head_dim = shape_.head_dim;
  rope.cosine = cosine_.data(), rope.sine = sine_.data();
  rope.eps = eps;
  rope.dy = d_query_.data(), rope.positions = rows.positions, rope.rows = count, rope.heads = shape_.heads, rope.norm = layer.query_norm.data();
  rope.raw = rows.is_all ? qkv_.data() : query_raw_.data(), rope.raw_stride = rows.is_all ? width : query_width;
  rope.out = d_queries, rope.out_stride = rows.is_all ? width : query_width;
  check(launch_rope_backward(rope, stream_.get()), "rotating gradients back");
  rope.dy = d_key_.data(), rope.positions = all_positions_.data(), rope.rows = num_tokens_, rope.heads = shape_.kv_heads, rope.norm = layer.key_norm.data();
  rope.raw = qkv_.data() + key_at, rope.raw_stride = stride, rope.out = d_qkv_.data() + key_at, rope.out_stride = stride;
  check(launch_rope_backward(rope, stream_.get()), "rotating gradients back");
  rope.dy = d_value_.data(), rope.cosine = nullptr, rope.norm = nullptr, rope.out = d_qkv_.data() + key_at + kv_width;
  check(launch_rope_backward(rope, stream_.get()), "rounding gradients");

  if (rows.is_all) {
    multiply_linear_transposed(model_, layer.qkv, 0, width, d_qkv_.data(), width, num_tokens_, d_normed_.data(), Store::f32, scratch_, stream_);
    check(cudaMemcpyAsync(dx, d, static_cast<size_t>(count * hidden) * sizeof(float), cudaMemcpyDeviceToDevice, stream_.get()), "copying a gradient");
  } else {
    multiply_linear_transposed(model_, layer.qkv, query_width, 2 * kv_width, d_qkv_.data(), 2 * kv_width, num_tokens_, d_normed_.data(), Store::f32, scratch_, stream_);
    d_selected_.reserve(count * hidden);
    multiply_linear_transposed(model_, layer.qkv, 0, query_width, d_queries, query_width, count, d_selected_.data(), Store::f32, scratch_, stream_);
    check(launch_scatter_add_rows(d_selected_.data(), rows.positions, count, hidden, d_normed_.data(), stream_.get()), "scattering rows");
    check(cudaMemsetAsync(dx, 0, static_cast<size_t>(num_tokens_ * hidden) * sizeof(float), stream_.get()), "clearing a gradient");
    check(launch_scatter_add_rows(d, rows.positions, count, hidden, dx, stream_.get()), "scattering rows");
  }
  check(launch_rms_norm_backward(x, layer.input_norm.data(), d_normed_.data(), num_tokens_, hidden, eps, dx, true, stream_.get()), "a norm backward");
}

void SamplePass::run(const float *gates, std::vector<DeviceBuffer<bf16>> *layer_inputs, std::vector<DeviceBuffer<float>> *teacher_full, float *hidden, float *last_rows) {
  const int64_t width = config_.hidden, layers = config_.layers;
  DeviceBuffer<float> x(num_tokens_ * width), last(wanted_.count() * width);
  embed(x.data());
  for (int64_t index = 0; index < layers; index++) {
    const DeviceRows rows = rows_of(index);
    const auto at = static_cast<size_t>(index);
    if (layer_inputs != nullptr) {
      (*layer_inputs)[at].resize(num_tokens_ * width);
      check(launch_narrow(x.data(), num_tokens_ * width, (*layer_inputs)[at].data(), stream_.get()), "keeping a layer's input");
    }
    const bool has_teacher = teacher_full != nullptr;
    const DeviceMix mix{gates == nullptr ? nullptr : gates + index * config_.kv_heads, has_teacher && gates != nullptr ? (*teacher_full)[at].data() : nullptr,
                        has_teacher && gates != nullptr};
    if (has_teacher && gates == nullptr) {
      // The teacher's full branch is what the student mixes with: keep it.
      std::vector<float> ones(static_cast<size_t>(config_.kv_heads), 1.0f);
      attend_layer(index, x.data(), rows, {ones.data(), nullptr, true});
      (*teacher_full)[at].resize(rows.count * config_.query_width());
      check(cudaMemcpyAsync((*teacher_full)[at].data(), full_.data(), static_cast<size_t>(rows.count * config_.query_width()) * sizeof(float),
                            cudaMemcpyDeviceToDevice, stream_.get()), "keeping the teacher's branch");
    } else {
      attend_layer(index, x.data(), rows, mix);
    }
    float *out = x.data();
    if (!rows.is_all) {
      gather(x.data(), rows, last.data());
      out = last.data();
    }
    finish_layer(index, out, rows.count);
    pace();
    task_.add_done();
  }
  check(launch_rms_norm_f32(last.data(), model_.final_norm().data(), wanted_.count(), width, config_.rms_norm_eps, hidden, stream_.get()), "the final norm");
  if (last_rows != nullptr) {
    check(cudaMemcpyAsync(last_rows, last.data(), static_cast<size_t>(last.bytes()), cudaMemcpyDeviceToDevice, stream_.get()), "keeping the last rows");
  }
  stream_.wait();  // x and last go here
}

}  // namespace duo::cuda

// A sample through the layers, forward: evaluation, probing, and the two forwards of distillation. MLP in chunks of
// rows so that its activations stay small.
#include "cuda/sample_pass.h"

#include <algorithm>

#include "core/rope.h"
#include "cuda/branch_gradient.h"
#include "cuda/layer_ops.h"
#include "cuda/reductions.h"

namespace duo::cuda {

SamplePass::SamplePass(const CudaModel &model, const Passage &passage, const HeadWindows &windows, PassRole role,
                       int32_t flags, Task &task, PassArithmetic arithmetic)
    : model_(model),
      config_(model.config()),
      task_(task),
      arithmetic_(arithmetic),
      shape_{static_cast<int32_t>(config_.heads), static_cast<int32_t>(config_.kv_heads),
             static_cast<int32_t>(config_.head_dim), windows.sink, nullptr},
      size_{count_needed_tokens(passage),
            passage.num_positions,
            role,
            0,
            (flags & DUO_DISTILL_TEACHER_BRANCH) != 0,
            role == PassRole::distill && model.layers().streams()},
      layers_(model.layers(), stream_) {
  const int64_t half = config_.head_dim / 2;
  for (auto &event : layer_done_) {
    check(cudaEventCreate(&event), "creating an event");
    check(cudaEventRecord(event, stream_.get()), "recording an event");
  }
  allocate();
  copy_to_device(memory_.tokens, passage.tokens, size_.tokens, stream_);
  copy_to_device(memory_.wanted, passage.positions, size_.rows, stream_);
  if (windows.recent != nullptr) copy_to_device(memory_.recent, windows.recent, config_.num_gates(), stream_);
  check(launch_count_up(0, size_.tokens, memory_.all_positions, stream_.get()), "numbering positions");
  const RopeFrequencies rope =
      compute_rope_frequencies(config_, passage.num_tokens);  // dynamic scaling depends on the whole sample's length
  DeviceBuffer<float> inverse(half);
  copy_to_device(inverse.data(), rope.inverse.data(), half, stream_);
  check(launch_rope_tables(inverse.data(), rope.attention_scale, 0, size_.tokens, static_cast<int32_t>(half),
                           memory_.cosine, memory_.sine, stream_.get()),
        "making rotary tables");
  check(cudaMemsetAsync(memory_.mlp_peaks, 0, static_cast<size_t>(2 * config_.layers) * sizeof(float), stream_.get()),
        "clearing peaks");
  stream_.wait();  // `inverse` is freed here
}

SamplePass::~SamplePass() {
  cudaStreamSynchronize(stream_.get());
  for (auto event : layer_done_) cudaEventDestroy(event);
  model_.workspace().give_back(std::move(workspace_));
}

AttentionShape SamplePass::shape_of(int64_t layer) const {
  AttentionShape shape = shape_;
  shape.recent = memory_.recent + layer * config_.kv_heads;
  return shape;
}

// Kept branches only save time: where memory for them is taken by others, layers attend again, with the same bits as a
// result.
void SamplePass::allocate() {
  if (size_.role == PassRole::distill) size_.kept_layers = model_.choose_kept_layers(size_);
  try {
    workspace_ = model_.workspace().take(PassMemory::count_bytes(config_, size_));
  } catch (const Error &error) {
    if (error.status() != DUO_STATUS_MEMORY || size_.kept_layers == 0) throw;
    size_.kept_layers = 0;
    workspace_ = model_.workspace().take(PassMemory::count_bytes(config_, size_));
  }
  Layout layout(workspace_.data());
  memory_.lay_out(layout, config_, size_);
}

void require_finite_f16(const float *values, int64_t count, const Stream &stream) {
  DeviceBuffer<int32_t> first_bad(1);
  int32_t bad = 0;
  check(launch_check_finite(values, 1, count, first_bad.data(), stream.get()), "looking for what is not a number");
  copy_to_host(&bad, first_bad.data(), 1, stream);
  if (bad >= 0) fail_f16_range();
}

void SamplePass::pace() {
  check(cudaEventRecord(layer_done_[pace_], stream_.get()), "recording an event");
  pace_ = 1 - pace_;
  check(cudaEventSynchronize(layer_done_[pace_]), "waiting for a layer");
  task_.check_abort();
}

F16Peaks SamplePass::read_peaks() const {
  std::vector<float> peaks(static_cast<size_t>(2 * config_.layers));
  copy_to_host(peaks.data(), memory_.mlp_peaks, 2 * config_.layers, stream_);
  return {{peaks.begin(), peaks.begin() + config_.layers}, {peaks.begin() + config_.layers, peaks.end()}};
}

void SamplePass::set_gates(const float *gates) {
  std::vector<int32_t> lists;
  class_counts_.clear();
  for (int64_t layer = 0; layer < config_.layers; layer++) {
    std::vector<int32_t> classes[3];
    for (int64_t head = 0; head < config_.kv_heads; head++) {
      const float gate = gates == nullptr ? 1.0f : gates[layer * config_.kv_heads + head];
      classes[gate == 1.0f ? 0 : gate == 0.0f ? 1 : 2].push_back(static_cast<int32_t>(head));
    }
    class_counts_.emplace_back();
    for (const auto &one : classes) {
      lists.insert(lists.end(), one.begin(), one.end());
      class_counts_.back().push_back(static_cast<int32_t>(one.size()));
    }
  }
  copy_to_device(memory_.kv_lists, lists.data(), config_.num_gates(), stream_);
  if (gates != nullptr) copy_to_device(memory_.gates, gates, config_.num_gates(), stream_);
}

void SamplePass::embed(float *x) { model_.embed(memory_.tokens, size_.tokens, x, stream_, arithmetic_.half); }

void SamplePass::gather(const float *from, const DeviceRows &rows, float *to) const {
  check(launch_gather_rows(from, rows.is_all ? nullptr : rows.positions, rows.count, config_.hidden, to, stream_.get()),
        "gathering rows");
}

// Rotated queries of `rows`, keys and values of every token, from the normed input.
void SamplePass::project(int64_t index, const DeviceRows &rows) {
  const DeviceLayer &layer = layers_.use(index);
  const PassMemory &m = memory_;
  const int64_t hidden = config_.hidden, query_width = config_.query_width(), kv_width = config_.kv_width(),
                width = query_width + 2 * kv_width;
  RopeWrite rope{};
  if (rows.is_all) {
    multiply_linear(model_, layer.qkv, 0, width, m.normed, size_.tokens, m.qkv, width, Store::half, scratch_, stream_,
                    arithmetic_.half);
    rope.query_in = m.qkv;
    rope.query_stride = rope.key_stride = width;
    rope.key_in = m.qkv + query_width;
  } else {
    multiply_linear(model_, layer.qkv, query_width, 2 * kv_width, m.normed, size_.tokens, m.qkv, 2 * kv_width,
                    Store::half, scratch_, stream_, arithmetic_.half);
    check(launch_gather_rows_bf16(m.normed, rows.positions, rows.count, hidden, m.selected, stream_.get()),
          "gathering rows");
    multiply_linear(model_, layer.qkv, 0, query_width, m.selected, rows.count, m.query_raw, query_width, Store::half,
                    scratch_, stream_, arithmetic_.half);
    rope.query_in = m.query_raw;
    rope.query_stride = query_width;
    rope.key_stride = 2 * kv_width;
    rope.key_in = m.qkv;
  }
  rope.value_in = rope.key_in + kv_width;
  rope.query_positions = rows.positions;
  rope.positions = m.all_positions;
  rope.query_rows = rows.count;
  rope.rows = size_.tokens;
  rope.heads = shape_.heads, rope.kv_heads = shape_.kv_heads, rope.head_dim = shape_.head_dim;
  rope.query_norm = layer.query_norm.data(), rope.key_norm = layer.key_norm.data();
  rope.eps = config_.rms_norm_eps;
  rope.cosine = m.cosine, rope.sine = m.sine;
  rope.query_out = m.query;
  rope.peak = m.projection_peaks + index;
  rope.dtype = arithmetic_.half == Half::f16 ? Dtype::f16 : Dtype::bf16;
  rope.key_out = reinterpret_cast<uint8_t *>(m.key), rope.value_out = reinterpret_cast<uint8_t *>(m.value);
  check(launch_rope_write(rope, stream_.get()), "rotating queries and keys");
}

void SamplePass::attend(int64_t index, const DeviceRows &rows, const Attend &call) {
  AttentionForward a{};
  a.shape = shape_of(index);
  a.query = memory_.query;
  a.positions = rows.positions;
  a.num_rows = rows.count;
  a.dtype = arithmetic_.half == Half::f16 ? Dtype::f16 : Dtype::bf16;
  a.chunk_key = reinterpret_cast<const uint8_t *>(memory_.key),
  a.chunk_value = reinterpret_cast<const uint8_t *>(memory_.value);
  a.chunk_count = size_.tokens;
  a.gates = gates_of(index);
  a.teacher_full = call.teacher_full;
  a.mixed = call.to.mixed;
  a.full = call.full, a.stream = call.stream;
  a.full_lse = call.to.full_lse, a.stream_lse = call.to.stream_lse;
  const auto launch = [&](Branches branches, const int32_t *heads, int32_t count) {
    a.kv_list = heads;
    a.num_listed = count;
    check(launch_attention_forward(a, branches, stream_.get()), "attention");
  };
  const auto &counts = class_counts_[static_cast<size_t>(index)];
  const int32_t *full = memory_.kv_lists + index * config_.kv_heads, *stream = full + counts[0],
                *both = stream + counts[1];
  if (call.wanted == Wanted::together) return launch(Branches::both, full, counts[0]);
  if (call.wanted == Wanted::kept) {
    // The branch without weight is launched first: each launch writes the mix of its heads, and the last one must be
    // right.
    launch(Branches::stream, full, counts[0]);
    launch(Branches::full, stream, counts[1]);
  }
  launch(Branches::full, full, counts[0]);
  launch(Branches::stream, stream, counts[1]);
  launch(Branches::both, both, counts[2]);
}

void SamplePass::prepare_layer(int64_t layer, const float *x, const DeviceRows &rows) {
  check(launch_rms_norm(x, layers_.use(layer).input_norm.data(), size_.tokens, config_.hidden, config_.rms_norm_eps,
                        memory_.normed, stream_.get(), arithmetic_.half),
        "a norm");
  project(layer, rows);
}

void SamplePass::attend_layer(int64_t layer, const float *x, const DeviceRows &rows) {
  prepare_layer(layer, x, rows);
  attend(layer, rows, {Wanted::weighed, nullptr, nullptr, nullptr, {memory_.mixed, nullptr, nullptr, nullptr}});
}

void SamplePass::attend_branches(int64_t layer, const float *x, const DeviceRows &rows) {
  prepare_layer(layer, x, rows);
  attend(layer, rows,
         {Wanted::kept, nullptr, memory_.full, memory_.stream, {memory_.mixed, nullptr, nullptr, nullptr}});
}

void SamplePass::attend_window(int64_t layer, const DeviceRows &rows, int64_t recent, float *full, float *stream) {
  const std::vector<int64_t> recents(static_cast<size_t>(config_.kv_heads), recent);
  copy_to_device(memory_.recent + layer * config_.kv_heads, recents.data(), config_.kv_heads, stream_);
  attend(layer, rows, {Wanted::together, nullptr, full, stream, {memory_.mixed, nullptr, nullptr, nullptr}});
}

void SamplePass::mix_again(int64_t layer, const float *gates, int64_t rows) {
  float *to = memory_.gates + layer * config_.kv_heads;
  copy_to_device(to, gates, shape_.kv_heads, stream_);
  check(launch_mix(memory_.full, memory_.stream, to, rows, shape_.heads, shape_.kv_heads, shape_.head_dim,
                   memory_.mixed, stream_.get(), arithmetic_.half),
        "mixing heads");
}

// Both branches of every head, and what the gradient needs of them.
void SamplePass::attend_for_gradient(int64_t layer, const DeviceRows &rows, const BranchOutputs &to) {
  const float *teacher_full = size_.teacher_branch ? memory_.teacher_full[static_cast<size_t>(layer)] : nullptr;
  attend(layer, rows, {Wanted::kept, teacher_full, memory_.full, memory_.stream, to});
  check(launch_branch_difference(teacher_full != nullptr ? teacher_full : memory_.full, memory_.stream,
                                 rows.count * config_.query_width(), to.difference, stream_.get()),
        "subtracting branches");
}

void SamplePass::finish_layer(int64_t index, float *x, int64_t rows, const bf16 *mixed) {
  const DeviceLayer &layer = layers_.use(index);
  const PassMemory &m = memory_;
  const int64_t hidden = config_.hidden, intermediate = config_.intermediate, chunk = m.chunk_rows;
  multiply_linear(model_, layer.output, 0, hidden, mixed, rows, x, hidden, Store::add_f32, scratch_, stream_,
                  arithmetic_.half);
  const float scale = arithmetic_.mlp_scales == nullptr ? 1.0f : arithmetic_.mlp_scales[index];
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t here = std::min(chunk, rows - first);
    float *at = x + first * hidden;
    check(launch_rms_norm(at, layer.post_attention_norm.data(), here, hidden, config_.rms_norm_eps, m.chunk_normed,
                          stream_.get(), arithmetic_.half),
          "a norm");
    multiply_linear(model_, layer.gate_up, 0, 2 * intermediate, m.chunk_normed, here, m.gate_up, 2 * intermediate,
                    Store::half, scratch_, stream_, arithmetic_.half);
    check(arithmetic_.half == Half::f16
              ? launch_swiglu_f16(m.gate_up, here, intermediate, scale, m.mlp_peaks + index, m.activated, stream_.get())
              : launch_swiglu(m.gate_up, here, intermediate, m.activated, stream_.get()),
          "swiglu");
    multiply_linear(model_, layer.down, 0, hidden, m.activated, here, at, hidden, Store::add_f32, scratch_, stream_,
                    arithmetic_.half, 1.0f / scale);
  }
}

// The rest of a layer after its attention, of all rows or of the wanted ones; then on to the next.
void SamplePass::end_layer(int64_t layer, const bf16 *mixed) {
  const DeviceRows rows = rows_of(layer);
  float *x = memory_.residual;
  if (!rows.is_all) {
    gather(memory_.residual, rows, memory_.last);
    x = memory_.last;
  }
  finish_layer(layer, x, rows.count, mixed);
  pace();
  task_.add_done();
}

void SamplePass::finish_norm(float *hidden) {
  check(launch_rms_norm_f32(memory_.last, model_.final_norm().data(), size_.rows, config_.hidden, config_.rms_norm_eps,
                            hidden, stream_.get()),
        "the final norm");
}

void SamplePass::run(const float *gates, float *hidden) {
  model_.layers().expect({1, 0});
  set_gates(gates);
  embed(memory_.residual);
  for (int64_t layer = 0; layer < config_.layers; layer++) {
    attend_layer(layer, memory_.residual, rows_of(layer));
    end_layer(layer, memory_.mixed);
  }
  finish_norm(hidden);
}

// A layer's input as bf16, kept, and its norm: of the kept values, so that what is computed again from them in backward
// is the same to the bit.
void SamplePass::keep_input(int64_t layer) {
  check(launch_rms_norm_kept(memory_.residual, layers_.use(layer).input_norm.data(), size_.tokens, config_.hidden,
                             config_.rms_norm_eps, memory_.inputs[static_cast<size_t>(layer)], memory_.normed,
                             stream_.get()),
        "a norm");
}

void SamplePass::run_teacher_layer(int64_t layer) {
  keep_input(layer);  // not needed, but rounds as the student does: with all gates 1 the loss is 0
  project(layer, rows_of(layer));
  float *full = size_.teacher_branch ? memory_.teacher_full[static_cast<size_t>(layer)] : nullptr;
  attend(layer, rows_of(layer), {Wanted::weighed, nullptr, full, nullptr, {memory_.mixed, nullptr, nullptr, nullptr}});
  end_layer(layer, memory_.mixed);
}

void SamplePass::run_student_layer(int64_t layer) {
  keep_input(layer);
  project(layer, rows_of(layer));
  const BranchOutputs &outputs = outputs_of(layer);
  attend_for_gradient(layer, rows_of(layer), outputs);
  end_layer(layer, outputs.mixed);
}

// The teacher's stream and lists of heads where the student's were, and back.
void SamplePass::swap_teacher() {
  std::swap(memory_.residual, memory_.teacher_residual);
  std::swap(memory_.last, memory_.teacher_last);
  std::swap(memory_.kv_lists, memory_.teacher_lists);
  std::swap(class_counts_, teacher_counts_);
}

SamplePass::States SamplePass::run_forwards(const float *gates) {
  model_.layers().expect({1, -1});
  if (size_.side_by_side) {
    set_gates(gates);
    embed(memory_.residual);
    swap_teacher();
    set_gates(nullptr);
    embed(memory_.residual);
    for (int64_t layer = 0; layer < config_.layers; layer++) {
      run_teacher_layer(layer);
      swap_teacher();
      run_student_layer(layer);
      if (layer + 1 < config_.layers) swap_teacher();
    }
    swap_teacher();
    finish_norm(memory_.teacher_hidden);
    swap_teacher();
  } else {
    set_gates(nullptr);
    embed(memory_.residual);
    for (int64_t layer = 0; layer < config_.layers; layer++) run_teacher_layer(layer);
    finish_norm(memory_.teacher_hidden);
    set_gates(gates);
    embed(memory_.residual);
    for (int64_t layer = 0; layer < config_.layers; layer++) run_student_layer(layer);
  }
  finish_norm(memory_.student_hidden);
  return {memory_.teacher_hidden, memory_.student_hidden};
}

}  // namespace duo::cuda

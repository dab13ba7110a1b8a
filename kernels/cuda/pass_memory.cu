// Every buffer of a pass, in one list.
#include "cuda/pass_memory.h"

#include <algorithm>

#include "cuda/branch_gradient.h"
#include "cuda/reductions.h"

namespace duo::cuda {

namespace {

// Rows of a chunk of the MLP: alike in all chunks, at most as many as give matrix products their full rate, a multiple
// of their tiles.
int64_t choose_chunk_rows(int64_t rows) {
  constexpr int64_t MAX_ROWS = 8192, TILE = 128;
  if (rows <= MAX_ROWS) return rows;
  return ceil_divide(ceil_divide(rows, ceil_divide(rows, MAX_ROWS)), TILE) * TILE;
}

}  // namespace

void PassMemory::lay_out(Layout &layout, const ModelConfig &config, const PassSize &size) {
  const int64_t t = size.tokens, p = size.rows, hidden = config.hidden, intermediate = config.intermediate,
                half = config.head_dim / 2;
  const int64_t query_width = config.query_width(), kv_width = config.kv_width(), heads = config.heads,
                layers = config.layers;
  // Only the last layer looks at fewer rows than there are tokens.
  const int64_t rows = layers > 1 ? t : p, chunk = choose_chunk_rows(t);
  const bool is_distill = size.role == PassRole::distill, goes_back = is_distill || size.role == PassRole::sketch;
  chunk_rows = chunk;
  tokens = layout.take<int32_t>(t), all_positions = layout.take<int32_t>(t), wanted = layout.take<int32_t>(p);
  kv_lists = layout.take<int32_t>(config.num_gates());
  gates = layout.take<float>(config.num_gates());
  recent = layout.take<int64_t>(config.num_gates());
  mlp_peaks = layout.take<float>(2 * config.layers), projection_peaks = mlp_peaks + config.layers;
  cosine = layout.take<float>(t * half), sine = layout.take<float>(t * half);
  residual = layout.take<float>(t * hidden), last = layout.take<float>(p * hidden);
  normed = layout.take<bf16>(t * hidden), qkv = layout.take<bf16>(t * (query_width + 2 * kv_width));
  query = layout.take<bf16>(rows * query_width), key = layout.take<bf16>(t * kv_width),
  value = layout.take<bf16>(t * kv_width);
  selected = layout.take<bf16>(p * hidden), query_raw = layout.take<bf16>(p * query_width);
  mixed = layout.take<bf16>(rows * query_width);
  chunk_normed = layout.take<bf16>(chunk * hidden), gate_up = layout.take<bf16>(chunk * 2 * intermediate),
  activated = layout.take<bf16>(chunk * intermediate);
  again = {mixed, nullptr, nullptr, nullptr};
  full = stream = nullptr;
  if (size.role == PassRole::forward) return;

  full = layout.take<float>(rows * query_width);
  stream = layout.take<float>(goes_back ? std::max(rows * query_width, 2 * t * kv_width) : rows * query_width);
  if (!goes_back) return;
  middle = layout.take<float>(chunk * hidden), d_normed = layout.take<bf16>(chunk * hidden),
  d_qkv = layout.take<bf16>(t * (query_width + 2 * kv_width));
  if (!is_distill) {
    again.full_lse = again.stream_lse = layout.take<float>(rows * heads);  // each head has one branch
    deltas = layout.take<float>(heads * rows);
    d_gate_up = layout.take<bf16>(chunk * 2 * intermediate);
    return;
  }
  const auto take_outputs = [&](int64_t count) {
    BranchOutputs outputs;
    outputs.mixed = layout.take<bf16>(count * query_width), outputs.difference = layout.take<bf16>(count * query_width);
    outputs.full_lse = layout.take<float>(count * heads), outputs.stream_lse = layout.take<float>(count * heads);
    return outputs;
  };
  inputs.clear(), kept.clear(), teacher_full.clear();
  bool attends_again = false;
  for (int64_t layer = 0; layer < layers; layer++) {
    const int64_t count = layer == layers - 1 ? p : t;
    inputs.push_back(layout.take<bf16>(t * hidden));
    const bool is_kept = layer >= layers - size.kept_layers;
    kept.push_back(is_kept ? take_outputs(count) : BranchOutputs{});
    attends_again = attends_again || !is_kept;
    if (size.teacher_branch) teacher_full.push_back(layout.take<float>(count * query_width));
  }
  teacher_residual = teacher_last = nullptr, teacher_lists = nullptr;
  if (size.side_by_side) {
    teacher_residual = layout.take<float>(t * hidden), teacher_last = layout.take<float>(p * hidden);
    teacher_lists = layout.take<int32_t>(config.num_gates());
  }
  if (attends_again) {
    again.difference = layout.take<bf16>(rows * query_width);
    again.full_lse = layout.take<float>(rows * heads), again.stream_lse = layout.take<float>(rows * heads);
  }
  teacher_hidden = layout.take<float>(p * hidden), student_hidden = layout.take<float>(p * hidden),
  last_gradient = layout.take<float>(p * hidden);
  d_mixed = layout.take<bf16>(rows * query_width);
  deltas = layout.take<float>(3 * heads * rows);
  gate_sums = layout.take<double>(config.kv_heads * GATE_SLICES), loss_sums = layout.take<double>(LOSS_BLOCKS),
  loss = layout.take<double>(1);
  d_gates = layout.take<float>(config.num_gates());
}

int64_t PassMemory::count_bytes(const ModelConfig &config, const PassSize &size) {
  Layout layout(nullptr);
  PassMemory memory;
  memory.lay_out(layout, config, size);
  return layout.bytes();
}

}  // namespace duo::cuda

// Forward of a layer over a sample, row chunk by row chunk where the MLP is concerned.
#include "cpu/transformer.h"

#include <algorithm>
#include <numeric>

#include "cpu/layer_ops.h"
#include "cpu/mlp_rows.h"

namespace duo {
namespace {

void reserve(ScratchBuffer &buffer, int64_t count) {
  if (buffer.count() < count) buffer.resize(count);
}

}  // namespace

RowSet RowSet::all(int64_t num_tokens) {
  RowSet rows{std::vector<int32_t>(static_cast<size_t>(num_tokens)), true};
  std::iota(rows.positions.begin(), rows.positions.end(), 0);
  return rows;
}

RopeTables::RopeTables(const ModelConfig &config, int64_t num_tokens, int64_t max_tokens)
    : cos(num_tokens * config.head_dim / 2), sin(num_tokens * config.head_dim / 2) {
  fill_rope_tables(compute_rope_frequencies(config, max_tokens), 0, num_tokens, cos.data(), sin.data());
}

SamplePass::SamplePass(const CpuModel &model, int64_t num_tokens, int64_t max_tokens, const HeadWindows &windows,
                       const Task &task)
    : model_(model),
      config_(model.config()),
      context_(model.context(&task)),
      shape_{config_.heads, config_.kv_heads, config_.head_dim},
      windows_(windows),
      num_tokens_(num_tokens),
      tables_(config_, num_tokens, max_tokens) {
  normed_.resize(num_tokens * config_.hidden);
  key_.resize(num_tokens * config_.kv_width());
  value_.resize(num_tokens * config_.kv_width());
}

void SamplePass::embed(const int32_t *tokens, float *x) {
  embed_tokens(context_, model_.embedding(), tokens, num_tokens_, x);
}

void SamplePass::final_norm(const float *x, int64_t rows, float *out) {
  rms_norm(context_, x, model_.final_norm().data(), rows, config_.hidden, config_.rms_norm_eps, out);
}

const float *SamplePass::select_rows(const float *values, const RowSet &rows, int64_t width,
                                     ScratchBuffer &buffer) const {
  if (rows.is_all) return values;
  reserve(buffer, rows.count() * width);
  for (int64_t row = 0; row < rows.count(); row++) {
    const float *from = values + rows.positions[static_cast<size_t>(row)] * width;
    std::copy(from, from + width, buffer.data() + row * width);
  }
  return buffer.data();
}

void SamplePass::turn_queries(float *query, const RowSet &rows, bool inverse) {
  const int64_t half = config_.head_dim / 2;
  const float *cos = select_rows(tables_.cos.data(), rows, half, row_cos_),
              *sin = select_rows(tables_.sin.data(), rows, half, row_sin_);
  apply_rope(context_, query, rows.count(), config_.heads, config_.head_dim, cos, sin, inverse);
}

BranchNeeds SamplePass::choose_branches(const LayerMix &mix) const {
  BranchNeeds needs{std::vector<bool>(static_cast<size_t>(config_.kv_heads)),
                    std::vector<bool>(static_cast<size_t>(config_.kv_heads))};
  for (int64_t head = 0; head < config_.kv_heads; head++) {
    const auto at = static_cast<size_t>(head);
    const bool own_full = mix.gates == nullptr || mix.both_branches || mix.gates[head] > 0.0f;
    needs.full[at] = own_full && mix.teacher_full == nullptr;
    needs.stream[at] = mix.gates != nullptr && (mix.both_branches || mix.gates[head] < 1.0f);
  }
  return needs;
}

void SamplePass::attend_layer(int64_t index, const float *x, const RowSet &rows, const LayerMix &mix,
                              bool for_backward) {
  const CpuLayer &layer = model_.layer(index);
  const int64_t count = rows.count(), hidden = config_.hidden, head_dim = config_.head_dim,
                query_width = config_.query_width();
  rms_norm(context_, x, layer.input_norm.data(), num_tokens_, hidden, config_.rms_norm_eps, normed_.data());
  multiply_linear(context_, layer.key, normed_.data(), hidden, num_tokens_, key_.data(), config_.kv_width(), false);
  multiply_linear(context_, layer.value, normed_.data(), hidden, num_tokens_, value_.data(), config_.kv_width(), false);
  reserve(query_, count * query_width);
  multiply_linear(context_, layer.query, select_rows(normed_.data(), rows, hidden, selected_), hidden, count,
                  query_.data(), query_width, false);
  if (config_.qk_norm) {
    if (for_backward) {
      reserve(query_raw_, count * query_width);
      reserve(key_raw_, num_tokens_ * config_.kv_width());
      std::copy(query_.data(), query_.data() + count * query_width, query_raw_.data());
      std::copy(key_.data(), key_.data() + num_tokens_ * config_.kv_width(), key_raw_.data());
    }
    rms_norm(context_, query_.data(), layer.query_norm.data(), count * config_.heads, head_dim, config_.rms_norm_eps,
             query_.data());
    rms_norm(context_, key_.data(), layer.key_norm.data(), num_tokens_ * config_.kv_heads, head_dim,
             config_.rms_norm_eps, key_.data());
  }
  turn_queries(query_.data(), rows, false);
  apply_rope(context_, key_.data(), num_tokens_, config_.kv_heads, head_dim, tables_.cos.data(), tables_.sin.data(),
             false);
  panels_.pack(context_, shape_, key_.data(), value_.data(), num_tokens_, for_backward);

  const int64_t lse_count = config_.kv_heads * count_tiles(context_, shape_, count) * context_.ops.tile_columns;
  reserve(full_, count * query_width);
  reserve(full_lse_, lse_count);
  if (mix.gates != nullptr) {
    reserve(stream_, count * query_width);
    reserve(stream_lse_, lse_count);
  }
  attend(context_, shape_, {query_.data(), rows.positions.data(), count}, panels_,
         windows_.from(index * config_.kv_heads), choose_branches(mix), full_.data(), stream_.data(), full_lse_.data(),
         stream_lse_.data());
}

const float *SamplePass::mix_heads(const RowSet &rows, const LayerMix &mix) {
  if (mix.gates == nullptr) return full_.data();
  const int64_t width = shape_.group() * config_.head_dim;
  const float *full = mix.teacher_full != nullptr ? mix.teacher_full : full_.data();
  reserve(mixed_, rows.count() * config_.query_width());
  context_.run(rows.count(), [&](int64_t row, int64_t) {
    for (int64_t head = 0; head < config_.kv_heads; head++) {
      const int64_t at = (row * config_.kv_heads + head) * width;
      const float gate = mix.gates[head], other = 1.0f - gate;
      // A branch of weight 0 may not have been computed.
      for (int64_t i = at; i < at + width; i++) {
        mixed_.data()[i] = gate == 1.0f   ? full[i]
                           : gate == 0.0f ? stream_.data()[i]
                                          : gate * full[i] + other * stream_.data()[i];
      }
    }
  });
  return mixed_.data();
}

void SamplePass::finish_layer(int64_t index, const float *x, const RowSet &rows, const float *mixed, float *out) {
  const CpuLayer &layer = model_.layer(index);
  const int64_t count = rows.count(), hidden = config_.hidden, intermediate = config_.intermediate;
  const float *residual = select_rows(x, rows, hidden, selected_);
  std::copy(residual, residual + count * hidden, out);
  multiply_linear(context_, layer.output, mixed, config_.query_width(), count, out, hidden, true);
  const int64_t chunk = std::min(MLP_ROWS, count);
  reserve(mlp_normed_, chunk * hidden);
  reserve(gate_, chunk * intermediate);
  reserve(up_, chunk * intermediate);
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t rows_here = std::min(chunk, count - first);
    float *at = out + first * hidden;
    rms_norm(context_, at, layer.post_attention_norm.data(), rows_here, hidden, config_.rms_norm_eps,
             mlp_normed_.data());
    multiply_linear(context_, layer.gate, mlp_normed_.data(), hidden, rows_here, gate_.data(), intermediate, false);
    multiply_linear(context_, layer.up, mlp_normed_.data(), hidden, rows_here, up_.data(), intermediate, false);
    swiglu(context_, gate_.data(), up_.data(), rows_here, intermediate);
    multiply_linear(context_, layer.down, gate_.data(), intermediate, rows_here, at, hidden, true);
  }
}

void SamplePass::forward_layer(int64_t layer, const float *x, const RowSet &rows, const LayerMix &mix, float *out) {
  attend_layer(layer, x, rows, mix, false);
  finish_layer(layer, x, rows, mix_heads(rows, mix), out);
}

void forward_sample(const CpuModel &model, const Passage &passage, const float *gates, const HeadWindows &windows,
                    Task &task, std::vector<ScratchBuffer> *layer_inputs, std::vector<ScratchBuffer> *teacher_full,
                    float *hidden, float *last_rows) {
  const ModelConfig &config = model.config();
  const int64_t num_tokens = count_needed_tokens(passage), width = config.hidden;
  SamplePass pass(model, num_tokens, passage.num_tokens, windows, task);
  const RowSet all = RowSet::all(num_tokens);
  const RowSet wanted{std::vector<int32_t>(passage.positions, passage.positions + passage.num_positions), false};
  ScratchBuffer current(num_tokens * width), next(num_tokens * width), last(passage.num_positions * width);
  pass.embed(passage.tokens, current.data());
  for (int64_t layer = 0; layer < config.layers; layer++) {
    const bool is_last = layer == config.layers - 1;
    const RowSet &rows = is_last ? wanted : all;
    const auto at = static_cast<size_t>(layer);
    const bool reads_teacher = gates != nullptr && teacher_full != nullptr;
    const LayerMix mix{gates == nullptr ? nullptr : gates + layer * config.kv_heads,
                       reads_teacher ? (*teacher_full)[at].data() : nullptr, false};
    pass.forward_layer(layer, current.data(), rows, mix, is_last ? last.data() : next.data());
    if (gates == nullptr && teacher_full != nullptr) {
      (*teacher_full)[at].resize(rows.count() * config.query_width());
      std::copy(pass.full_branch(), pass.full_branch() + rows.count() * config.query_width(),
                (*teacher_full)[at].data());
    }
    if (layer_inputs != nullptr) {
      // The layer's input is kept; its output takes fresh memory.
      (*layer_inputs)[at] = std::move(current);
      current = std::move(next);
      if (layer + 2 < config.layers) next.resize(num_tokens * width);
    } else {
      std::swap(current, next);
    }
    task.add_done();
  }
  pass.final_norm(last.data(), passage.num_positions, hidden);
  if (last_rows != nullptr) std::copy(last.data(), last.data() + last.count(), last_rows);
}

}  // namespace duo

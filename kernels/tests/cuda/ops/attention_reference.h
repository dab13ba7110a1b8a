// Gated attention of one layer and its gradient from the definition, in fp64: what the kernels' outputs, log-sum-exps
// and deltas are held to.
#pragma once
#include "op_test.h"

namespace duo::test {

struct AttentionProblem {
  int64_t heads, kv_heads, dim, tokens, sink, recent;
  int64_t growth = 0;              // KV head h has a window of recent + h·growth
  std::vector<int32_t> positions;  // of the queries, ascending
  bool is_chunked = false;         // streaming rows see the sinks and everything from chunk_start − window on
  int64_t chunk_start = 0;
  std::vector<float> query, key, value;  // [rows, H, D], [tokens, G, D]

  int64_t group() const { return heads / kv_heads; }
  int64_t rows() const { return static_cast<int64_t>(positions.size()); }
  int64_t window_of(int64_t kv_head) const { return recent + kv_head * growth; }
  std::vector<int64_t> windows() const {
    std::vector<int64_t> all;
    for (int64_t head = 0; head < kv_heads; head++) all.push_back(window_of(head));
    return all;
  }
  bool sees(bool streaming, int64_t kv_head, int64_t position, int64_t key_position) const {
    const int64_t window = window_of(kv_head);
    if (key_position > position) return false;
    return !streaming || key_position < sink ||
           (is_chunked ? key_position >= chunk_start - window : position - key_position < window);
  }
};

struct Branch {
  std::vector<double> out;  // [rows, H, D]
  std::vector<double> lse;  // [H, rows], log2
};

// Softmax weights [position + 1] of one query row, and its log-sum-exp in log2.
inline std::vector<double> weigh_keys(const AttentionProblem &p, bool streaming, int64_t row, int64_t head,
                                      double *lse = nullptr) {
  const int64_t position = p.positions[static_cast<size_t>(row)], kv_head = head / p.group();
  const float *query = p.query.data() + (row * p.heads + head) * p.dim;
  std::vector<double> weight(static_cast<size_t>(position + 1), -INFINITY);
  double best = -INFINITY, sum = 0;
  for (int64_t j = 0; j <= position; j++) {
    if (!p.sees(streaming, kv_head, position, j)) continue;
    const float *key = p.key.data() + (j * p.kv_heads + kv_head) * p.dim;
    double score = 0;
    for (int64_t d = 0; d < p.dim; d++) score += static_cast<double>(query[d]) * static_cast<double>(key[d]);
    weight[static_cast<size_t>(j)] = score / std::sqrt(static_cast<double>(p.dim));
    best = std::max(best, weight[static_cast<size_t>(j)]);
  }
  for (double &w : weight) sum += w = std::exp(w - best);
  for (double &w : weight) w /= sum;
  if (lse != nullptr) *lse = (best + std::log(sum)) / std::log(2.0);
  return weight;
}

inline Branch attend_exactly(const AttentionProblem &p, bool streaming) {
  Branch branch{std::vector<double>(p.query.size()), std::vector<double>(static_cast<size_t>(p.heads * p.rows()))};
  for (int64_t row = 0; row < p.rows(); row++) {
    for (int64_t head = 0; head < p.heads; head++) {
      const auto weight = weigh_keys(p, streaming, row, head, &branch.lse[static_cast<size_t>(head * p.rows() + row)]);
      double *out = branch.out.data() + (row * p.heads + head) * p.dim;
      for (size_t j = 0; j < weight.size(); j++) {
        if (weight[j] == 0) continue;
        const float *value = p.value.data() + (static_cast<int64_t>(j) * p.kv_heads + head / p.group()) * p.dim;
        for (int64_t d = 0; d < p.dim; d++) out[d] += weight[j] * static_cast<double>(value[d]);
      }
    }
  }
  return branch;
}

struct AttentionGradients {
  std::vector<double> query, key, value;         // [rows, H, D], [tokens, G, D] twice
  std::vector<double> full_delta, stream_delta;  // [H, rows]: ⟨d, full⟩, ⟨d, stream⟩
};

// full_is_constant: no gradient passes through the full branch.
inline AttentionGradients attend_backward_exactly(const AttentionProblem &p, const std::vector<float> &gates,
                                                  bool full_is_constant, const std::vector<float> &d_mixed) {
  AttentionGradients g;
  g.query.resize(p.query.size()), g.key.resize(p.key.size()), g.value.resize(p.value.size());
  g.full_delta.resize(static_cast<size_t>(p.heads * p.rows())), g.stream_delta.resize(g.full_delta.size());
  const double scale = 1 / std::sqrt(static_cast<double>(p.dim));
  for (int64_t row = 0; row < p.rows(); row++) {
    for (int64_t head = 0; head < p.heads; head++) {
      const int64_t at = (row * p.heads + head) * p.dim, kv_head = head / p.group();
      for (const bool streaming : {false, true}) {
        const auto weight = weigh_keys(p, streaming, row, head);
        const double gate = static_cast<double>(gates[static_cast<size_t>(kv_head)]), factor = streaming ? 1 - gate
                                                                                               : full_is_constant
                                                                                                   ? 0
                                                                                                   : gate;
        std::vector<double> product(weight.size());
        double delta = 0;
        for (size_t j = 0; j < weight.size(); j++) {
          const int64_t key = (static_cast<int64_t>(j) * p.kv_heads + kv_head) * p.dim;
          for (int64_t d = 0; d < p.dim; d++)
            product[j] += static_cast<double>(d_mixed[static_cast<size_t>(at + d)]) *
                          static_cast<double>(p.value[static_cast<size_t>(key + d)]);
          delta += weight[j] * product[j];
        }
        (streaming ? g.stream_delta : g.full_delta)[static_cast<size_t>(head * p.rows() + row)] = delta;
        for (size_t j = 0; j < weight.size(); j++) {
          if (weight[j] == 0 || factor == 0) continue;
          const int64_t key = (static_cast<int64_t>(j) * p.kv_heads + kv_head) * p.dim;
          const double slope = factor * weight[j] * (product[j] - delta) * scale;
          for (int64_t d = 0; d < p.dim; d++) {
            g.query[static_cast<size_t>(at + d)] += slope * static_cast<double>(p.key[static_cast<size_t>(key + d)]);
            g.key[static_cast<size_t>(key + d)] += slope * static_cast<double>(p.query[static_cast<size_t>(at + d)]);
            g.value[static_cast<size_t>(key + d)] +=
                factor * weight[j] * static_cast<double>(d_mixed[static_cast<size_t>(at + d)]);
          }
        }
      }
    }
  }
  return g;
}

}  // namespace duo::test

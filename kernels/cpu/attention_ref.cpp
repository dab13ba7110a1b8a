// Plain attention and its gradient from the definition, fp64 inside: what tests hold the tiles to.
#include <cmath>

#include "cpu/attention.h"

namespace duo {
namespace {

// Softmax weights [position + 1] of one query row; 0 where a key is not visible.
std::vector<double> compute_weights(const HeadShape &shape, const float *query, int64_t position, const float *key,
                                    int64_t kv_head, Window window, bool streaming) {
  std::vector<double> weights(static_cast<size_t>(position + 1), -INFINITY);
  double best = -INFINITY, sum = 0;
  for (int64_t j = 0; j <= position; j++) {
    if (streaming && j >= window.sink && position - j >= window.recent) continue;
    double score = 0;
    for (int64_t d = 0; d < shape.head_dim; d++) {
      score +=
          static_cast<double>(query[d]) * static_cast<double>(key[(j * shape.kv_heads + kv_head) * shape.head_dim + d]);
    }
    weights[static_cast<size_t>(j)] = score / std::sqrt(static_cast<double>(shape.head_dim));
    best = std::max(best, weights[static_cast<size_t>(j)]);
  }
  for (double &weight : weights) sum += weight = std::exp(weight - best);
  for (double &weight : weights) weight /= sum;
  return weights;
}

}  // namespace

void attend_ref(const HeadShape &shape, const Queries &queries, const float *key, const float *value,
                const HeadWindows &windows, bool streaming, float *out) {
  for (int64_t row = 0; row < queries.count * shape.heads; row++) {
    const int64_t kv_head = row % shape.heads / shape.group(), position = queries.positions[row / shape.heads];
    const auto weights = compute_weights(shape, queries.values + row * shape.head_dim, position, key, kv_head,
                                         streaming ? windows.of(kv_head) : Window{0, 1}, streaming);
    for (int64_t d = 0; d < shape.head_dim; d++) {
      double sum = 0;
      for (int64_t j = 0; j <= position; j++)
        sum += weights[static_cast<size_t>(j)] *
               static_cast<double>(value[(j * shape.kv_heads + kv_head) * shape.head_dim + d]);
      out[row * shape.head_dim + d] = static_cast<float>(sum);
    }
  }
}

void attend_backward_ref(const HeadShape &shape, const Queries &queries, const float *key, const float *value,
                         int64_t num_keys, const HeadWindows &windows, const float *gates, const float *d_out,
                         float *d_query, float *d_key, float *d_value, double *d_gates) {
  const int64_t head_dim = shape.head_dim;
  std::vector<double> key_sum(static_cast<size_t>(num_keys * shape.kv_heads * head_dim)), value_sum(key_sum.size());
  for (int64_t head = 0; head < shape.kv_heads; head++) d_gates[head] = 0;
  for (int64_t row = 0; row < queries.count * shape.heads; row++) {
    const int64_t kv_head = row % shape.heads / shape.group(), position = queries.positions[row / shape.heads];
    const float *query = queries.values + row * head_dim, *gradient = d_out + row * head_dim;
    std::vector<double> query_sum(static_cast<size_t>(head_dim));
    for (const bool streaming : {false, true}) {
      const auto weights = compute_weights(shape, query, position, key, kv_head, windows.of(kv_head), streaming);
      const double gate = static_cast<double>(gates[kv_head]), factor = streaming ? 1 - gate : gate;
      std::vector<double> d_weights(weights.size());
      double delta = 0;
      for (int64_t j = 0; j <= position; j++) {
        const auto at = static_cast<size_t>((j * shape.kv_heads + kv_head) * head_dim), index = static_cast<size_t>(j);
        for (int64_t d = 0; d < head_dim; d++) {
          d_weights[index] +=
              static_cast<double>(gradient[d]) * static_cast<double>(value[at + static_cast<size_t>(d)]);
          value_sum[at + static_cast<size_t>(d)] += factor * weights[index] * static_cast<double>(gradient[d]);
        }
        delta += weights[index] * d_weights[index];
      }
      d_gates[kv_head] += streaming ? -delta : delta;
      for (int64_t j = 0; j <= position; j++) {
        const auto at = static_cast<size_t>((j * shape.kv_heads + kv_head) * head_dim), index = static_cast<size_t>(j);
        const double d_score =
            factor * weights[index] * (d_weights[index] - delta) / std::sqrt(static_cast<double>(head_dim));
        for (int64_t d = 0; d < head_dim; d++) {
          query_sum[static_cast<size_t>(d)] += d_score * static_cast<double>(key[at + static_cast<size_t>(d)]);
          key_sum[at + static_cast<size_t>(d)] += d_score * static_cast<double>(query[d]);
        }
      }
    }
    for (int64_t d = 0; d < head_dim; d++)
      d_query[row * head_dim + d] = static_cast<float>(query_sum[static_cast<size_t>(d)]);
  }
  for (size_t i = 0; i < key_sum.size(); i++) {
    d_key[i] = static_cast<float>(key_sum[i]);
    d_value[i] = static_cast<float>(value_sum[i]);
  }
}

}  // namespace duo

// Causal attention of one sequence, forward and backward, in blocks of query rows: no length × length matrix is kept.
// The backward pass recomputes the probabilities of a block from the stored log-sums.
#include <algorithm>
#include <cmath>

#include "model.h"

namespace pretrain {
namespace {

constexpr int64_t kBlock = 48;  // query rows of a block: four micro-tiles; 48 × 512 scores are 96 KiB

}  // namespace

void attend(const Shape &shape, int64_t length, const float *q, const float *k, const float *v, const uint8_t *streams,
            int64_t sink, int64_t recent, float *attended, float *log_sum) {
  const int64_t dim = shape.head_dim, q_row = shape.heads * dim, k_row = shape.kv_heads * dim;
  const int64_t group = shape.heads / shape.kv_heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  std::vector<float> scores(static_cast<size_t>(kBlock * length));
  Packed keys, values;
  for (int64_t h = 0; h < shape.heads; h++) {
    const int64_t g = h / group;
    if (h % group == 0) {
      keys.pack({k + g * dim, 1, k_row}, dim, length);
      values.pack({v + g * dim, k_row, 1}, length, dim);
    }
    const bool streaming = streams != nullptr && streams[g] != 0;
    for (int64_t i0 = 0; i0 < length; i0 += kBlock) {
      const int64_t rows = std::min(kBlock, length - i0), seen = i0 + rows;
      multiply(rows, seen, dim, {q + i0 * q_row + h * dim, q_row, 1}, keys, scores.data(), seen, false);
      for (int64_t i = i0; i < seen; i++) {
        float *row = scores.data() + (i - i0) * seen;
        if (streaming) {
          for (int64_t j = sink; j <= i - recent; j++) row[j] = -INFINITY;
        }
        float top = -INFINITY, sum = 0.0f;
#pragma omp simd reduction(max : top)
        for (int64_t j = 0; j <= i; j++) top = std::max(top, row[j]);
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j <= i; j++) {
          row[j] = exp_nonpositive((row[j] - top) * scale);
          sum += row[j];
        }
        const float inverse = 1.0f / sum;
        for (int64_t j = 0; j <= i; j++) row[j] *= inverse;
        std::fill(row + i + 1, row + seen, 0.0f);
        log_sum[i * shape.heads + h] = top * scale + std::log(sum);
      }
      multiply(rows, dim, seen, {scores.data(), seen, 1}, values, attended + i0 * q_row + h * dim, q_row, false);
    }
  }
}

void attend_backward(const Shape &shape, int64_t length, const float *q, const float *k, const float *v,
                     const float *attended, const float *log_sum, const float *d_attended, float *d_q, float *d_k,
                     float *d_v) {
  const int64_t dim = shape.head_dim, q_row = shape.heads * dim, k_row = shape.kv_heads * dim;
  const int64_t group = shape.heads / shape.kv_heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  std::vector<float> probabilities(static_cast<size_t>(kBlock * length)),
      d_scores(static_cast<size_t>(kBlock * length));
  std::fill(d_k, d_k + length * k_row, 0.0f);
  std::fill(d_v, d_v + length * k_row, 0.0f);
  Packed keys, key_rows, values, block;
  for (int64_t h = 0; h < shape.heads; h++) {
    const int64_t g = h / group;
    if (h % group == 0) {
      keys.pack({k + g * dim, 1, k_row}, dim, length);
      key_rows.pack({k + g * dim, k_row, 1}, length, dim);
      values.pack({v + g * dim, 1, k_row}, dim, length);
    }
    for (int64_t i0 = 0; i0 < length; i0 += kBlock) {
      const int64_t rows = std::min(kBlock, length - i0), seen = i0 + rows, at = i0 * q_row + h * dim;
      multiply(rows, seen, dim, {q + at, q_row, 1}, keys, probabilities.data(), seen, false);
      multiply(rows, seen, dim, {d_attended + at, q_row, 1}, values, d_scores.data(), seen, false);
      for (int64_t i = i0; i < seen; i++) {
        float *p = probabilities.data() + (i - i0) * seen;
        float *d = d_scores.data() + (i - i0) * seen;
        const float *out = attended + i * q_row + h * dim;
        const float *d_out = d_attended + i * q_row + h * dim;
        float mean = 0.0f;
#pragma omp simd reduction(+ : mean)
        for (int64_t c = 0; c < dim; c++) mean += out[c] * d_out[c];
        const float log_total = log_sum[i * shape.heads + h];
#pragma omp simd
        for (int64_t j = 0; j <= i; j++) {
          p[j] = exp_nonpositive(std::min(p[j] * scale - log_total, 0.0f));
          d[j] = p[j] * (d[j] - mean) * scale;
        }
        std::fill(p + i + 1, p + seen, 0.0f);
        std::fill(d + i + 1, d + seen, 0.0f);
      }
      multiply(rows, dim, seen, {d_scores.data(), seen, 1}, key_rows, d_q + at, q_row, false);
      block.pack({q + at, q_row, 1}, rows, dim);
      multiply(seen, dim, rows, {d_scores.data(), 1, seen}, block, d_k + g * dim, k_row, true);
      block.pack({d_attended + at, q_row, 1}, rows, dim);
      multiply(seen, dim, rows, {probabilities.data(), 1, seen}, block, d_v + g * dim, k_row, true);
    }
  }
}

}  // namespace pretrain

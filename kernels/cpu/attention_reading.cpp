// What heads attend to: the mass on chosen keys and the key of the greatest probability, a row of scores at a time; and
// mean queries and keys, from the rotated ones turned back.
#include <cmath>
#include <vector>

#include "cpu/transformer.h"

namespace duo {
namespace {

// Sum of products in eight partial sums, which the compiler keeps in vector registers, added in a fixed order.
float dot(const float *a, const float *b, int64_t count) {
  float sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int64_t lane = 0; lane < 8; lane++) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (; i < count; i++) sums[i % 8] += a[i] * b[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// One head at one position, over keys 0 … position.
struct HeadRow {
  const float *query;  // [D]
  const float *keys;   // of its KV head: the first key's, rows `stride` apart
  int64_t stride, head_dim, position;
};

void read_row(const HeadRow &row, int64_t begin, int64_t end, float *mass, int32_t *top_key) {
  std::vector<float> scores(static_cast<size_t>(row.position + 1));
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(row.head_dim)));
  size_t top = 0;
  for (size_t key = 0; key < scores.size(); key++) {
    scores[key] = scale * dot(row.query, row.keys + static_cast<int64_t>(key) * row.stride, row.head_dim);
    if (scores[key] > scores[top]) top = key;
  }
  double all = 0, chosen = 0;
  for (size_t key = 0; key < scores.size(); key++) {
    const double weight = static_cast<double>(std::exp(scores[key] - scores[top]));
    all += weight;
    if (static_cast<int64_t>(key) >= begin && static_cast<int64_t>(key) < end) chosen += weight;
  }
  *mass = static_cast<float>(chosen / all);
  *top_key = static_cast<int32_t>(top);
}

// Means over rows of the vectors of one head before their rotation: rows `stride` apart, out [D]. Cosine and sine may
// carry a common factor.
void mean_unrotated(const float *vectors, int64_t stride, int64_t rows, int64_t head_dim, const RopeTables &rope,
                    float *out) {
  const int64_t half = head_dim / 2;
  std::vector<double> sums(static_cast<size_t>(head_dim));
  for (int64_t row = 0; row < rows; row++) {
    const float *from = vectors + row * stride, *cosine = rope.cos.data() + row * half,
                *sine = rope.sin.data() + row * half;
    for (int64_t i = 0; i < half; i++) {
      const double c = static_cast<double>(cosine[i]), s = static_cast<double>(sine[i]),
                   x = static_cast<double>(from[i]), y = static_cast<double>(from[half + i]);
      const double size = c * c + s * s;
      sums[static_cast<size_t>(i)] += (x * c + y * s) / size;
      sums[static_cast<size_t>(half + i)] += (y * c - x * s) / size;
    }
  }
  for (int64_t i = 0; i < head_dim; i++)
    out[i] = static_cast<float>(sums[static_cast<size_t>(i)] / static_cast<double>(rows));
}

}  // namespace

void CpuModel::attention(const Passage &passage, const AttentionReading &reading, Task &task) {
  const int64_t num_tokens = count_needed_tokens(passage), width = config_.hidden, layers = config_.layers,
                heads = config_.heads, kv_heads = config_.kv_heads, head_dim = config_.head_dim,
                query_width = config_.query_width(), kv_width = config_.kv_width();
  task.set_total(layers);
  SamplePass pass(*this, num_tokens, passage.num_tokens, {0, nullptr}, task);
  const RowSet all = RowSet::all(num_tokens);
  const LayerMix full{nullptr, nullptr, false};
  ScratchBuffer current(num_tokens * width), next(num_tokens * width);
  pass.embed(passage.tokens, current.data());
  for (int64_t layer = 0; layer < layers; layer++) {
    pass.attend_layer(layer, current.data(), all, full, false);
    if (reading.masses != nullptr) {
      pass.context().run(passage.num_positions * heads, [&](int64_t item, int64_t) {
        const int64_t i = item / heads, head = item % heads, position = passage.positions[i],
                      to = (i * layers + layer) * heads + head;
        const float *keys = pass.keys() + head / (heads / kv_heads) * head_dim;
        const HeadRow row{pass.queries() + position * query_width + head * head_dim, keys, kv_width, head_dim,
                          position};
        read_row(row, reading.key_ranges[2 * i], reading.key_ranges[2 * i + 1], reading.masses + to,
                 reading.top_keys + to);
      });
    }
    if (reading.mean_queries != nullptr) {
      pass.context().run(heads + kv_heads, [&](int64_t item, int64_t) {
        const int64_t head = item < heads ? item : item - heads;
        if (item < heads) {
          mean_unrotated(pass.queries() + head * head_dim, query_width, num_tokens, head_dim, pass.rope(),
                         reading.mean_queries + layer * query_width + head * head_dim);
        } else {
          mean_unrotated(pass.keys() + head * head_dim, kv_width, num_tokens, head_dim, pass.rope(),
                         reading.mean_keys + layer * kv_width + head * head_dim);
        }
      });
    }
    if (layer < layers - 1) {
      pass.finish_layer(layer, current.data(), all, pass.mix_heads(all, full), next.data());
      std::swap(current, next);
    }
    task.add_done();
  }
}

}  // namespace duo

// What heads attend to, and mean queries and keys, against fp64 loops on the same f16 values.
#include "cuda/attention_reading.h"
#include "op_test.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

// A layer's f16 queries and keys, rotary tables and what is looked at, on both sides.
struct Layer {
  int64_t tokens;
  int32_t heads, kv_heads, dim;
  std::vector<float> query, key, cosine, sine;
  std::vector<int32_t> positions, ranges;
  DeviceBuffer<uint16_t> query_device, key_device;
  DeviceBuffer<float> cosine_device, sine_device;
  DeviceBuffer<int32_t> positions_device, ranges_device;

  // table_scale: as yarn has one
  Layer(int64_t tokens, int32_t heads, int32_t kv_heads, int32_t dim, double table_scale)
      : tokens(tokens), heads(heads), kv_heads(kv_heads), dim(dim) {
    Random random(static_cast<uint64_t>(tokens * dim));
    const auto query_bits = to_half(random.values(tokens * heads * dim, 2.0), Half::f16),
               key_bits = to_half(random.values(tokens * kv_heads * dim, 2.0), Half::f16);
    query = from_half(query_bits, Half::f16), key = from_half(key_bits, Half::f16);
    for (int64_t i = 0; i < tokens * dim / 2; i++) {
      const double angle = 0.37 * static_cast<double>(i);
      cosine.push_back(static_cast<float>(table_scale * std::cos(angle))),
          sine.push_back(static_cast<float>(table_scale * std::sin(angle)));
    }
    // The first token, some within, the last; ranges that are empty, begin within, and go past the position.
    for (int64_t position = 0; position < tokens;
         position +=
         position < tokens - 1 ? std::max<int64_t>(1, std::min<int64_t>(tokens / 3, tokens - 1 - position)) : 1) {
      const auto at = static_cast<int32_t>(position), end = static_cast<int32_t>(tokens);
      positions.push_back(at);
      const size_t turn = positions.size() % 3;
      ranges.push_back(turn == 0 ? at : at / 2), ranges.push_back(turn == 0   ? at
                                                                  : turn == 1 ? std::min(end, at + 2)
                                                                              : end);
    }
    query_device = upload(query_bits), key_device = upload(key_bits), cosine_device = upload(cosine),
    sine_device = upload(sine);
    positions_device = upload(positions), ranges_device = upload(ranges);
  }
  LayerReading view() const {
    return {query_device.data(),
            key_device.data(),
            cosine_device.data(),
            sine_device.data(),
            positions_device.data(),
            ranges_device.data(),
            tokens,
            static_cast<int64_t>(positions.size()),
            heads,
            kv_heads,
            dim};
  }
};

OP_TEST(reading, launch_read_attention) {
  // One token; fewer keys than threads; a few rounds of all threads; heads of odd pairs, all heads on one KV head.
  for (const auto &[tokens, heads, kv_heads, dim] :
       std::vector<std::array<int32_t, 4>>{{1, 2, 1, 8}, {90, 4, 2, 64}, {700, 6, 3, 66}, {300, 3, 1, 192}}) {
    if (is_brief && tokens > 100) continue;
    Layer layer(tokens, heads, kv_heads, dim, 1.0);
    if (tokens > 100) {
      // Two keys alike, far apart: the first counts. Made from the last position's first query, so that they are the
      // greatest.
      for (int32_t i = 0; i < dim; i++) {
        const float value = layer.query[static_cast<size_t>((tokens - 1) * heads * dim + i)];
        for (const int32_t at : {40, tokens - 20}) layer.key[static_cast<size_t>(at * kv_heads * dim + i)] = value;
      }
      layer.key_device = upload(to_half(layer.key, Half::f16));
    }
    const auto rows = static_cast<int64_t>(layer.positions.size());
    DeviceBuffer<int32_t> tops(rows * heads);
    const auto masses = run_launch<float>("masses", rows * heads, [&](float *out, cudaStream_t stream) {
      return launch_read_attention(layer.view(), out, tops.data(), stream);
    });
    std::vector<double> expected;
    std::vector<int32_t> best;
    for (size_t row = 0; row < layer.positions.size(); row++) {
      for (int32_t head = 0; head < heads; head++) {
        const int32_t position = layer.positions[row];
        std::vector<double> scores;
        for (int32_t key = 0; key <= position; key++) {
          double score = 0;
          for (int32_t i = 0; i < dim; i++) {
            score += static_cast<double>(layer.query[static_cast<size_t>((position * heads + head) * dim + i)]) *
                     static_cast<double>(
                         layer.key[static_cast<size_t>((key * kv_heads + head / (heads / kv_heads)) * dim + i)]);
          }
          scores.push_back(score / std::sqrt(static_cast<double>(dim)));
        }
        const auto top = std::max_element(scores.begin(), scores.end());
        best.push_back(static_cast<int32_t>(top - scores.begin()));
        double all = 0, chosen = 0;
        for (int32_t key = 0; key <= position; key++) {
          const double weight = std::exp(scores[static_cast<size_t>(key)] - *top);
          all += weight;
          if (key >= layer.ranges[2 * row] && key < layer.ranges[2 * row + 1]) chosen += weight;
        }
        expected.push_back(chosen / all);
      }
    }
    expect_within(worst_row_error(masses, expected, heads), tolerance::fp32_sum,
                  "masses of " + std::to_string(tokens) + " tokens");
    expect(download(tops) == best, "top keys of " + std::to_string(tokens) + " tokens");
  }
}

OP_TEST(reading, launch_mean_heads) {
  for (const auto &[tokens, heads, kv_heads, dim] :
       std::vector<std::array<int32_t, 4>>{{1, 2, 1, 8}, {33, 4, 2, 64}, {70, 3, 3, 66}, {21, 2, 1, 512}}) {
    const Layer layer(tokens, heads, kv_heads, dim, 1.25);
    const auto means = run_launch<float>(
        "means", int64_t{heads + kv_heads} * dim,
        [&](float *out, cudaStream_t stream) { return launch_mean_heads(layer.view(), out, stream); });
    std::vector<double> expected;
    for (int32_t head = 0; head < heads + kv_heads; head++) {
      std::vector<double> sums(static_cast<size_t>(dim));
      for (int32_t token = 0; token < tokens; token++) {
        const float *from = head < heads ? layer.query.data() + (token * heads + head) * dim
                                         : layer.key.data() + (token * kv_heads + head - heads) * dim;
        for (int32_t i = 0; i < dim / 2; i++) {
          const double angle = 0.37 * (token * (dim / 2) + i), x = static_cast<double>(from[i]),
                       y = static_cast<double>(from[dim / 2 + i]);
          sums[static_cast<size_t>(i)] += (x * std::cos(angle) + y * std::sin(angle)) / 1.25;
          sums[static_cast<size_t>(dim / 2 + i)] += (y * std::cos(angle) - x * std::sin(angle)) / 1.25;
        }
      }
      for (const double sum : sums) expected.push_back(sum / tokens);
    }
    expect_within(worst_row_error(means, expected, dim), tolerance::fp32_sum,
                  "mean queries and keys of " + std::to_string(tokens) + " tokens");
  }
}

}  // namespace

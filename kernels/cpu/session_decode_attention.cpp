// Decode: split every head's slots into ranges, one item each, then merge the ranges by their maxima (flash decoding).
#include <algorithm>
#include <cmath>

#include "cpu/session_attention.h"

namespace duo {
namespace {

// Slots of one item: some ten microseconds of reading. A constant, because the cut decides the rounding.
constexpr int64_t RANGE_SLOTS = 1024;

struct Item {
  int64_t token, head, begin, end;
};

}  // namespace

void attend_decode(const CpuContext &context, const ModelConfig &config, int64_t layer,
                   const std::vector<DecodeAttention> &tokens, ScratchBuffer &scratch) {
  const int64_t group = config.group(), head_dim = config.head_dim;
  std::vector<Item> items;
  std::vector<int64_t> first_items;  // of each (token, head)
  for (int64_t token = 0; token < static_cast<int64_t>(tokens.size()); token++) {
    for (int64_t head = 0; head < config.kv_heads; head++) {
      const DecodeAttention &one = tokens[static_cast<size_t>(token)];
      const int64_t filled = std::min(one.position + 1, one.cache->capacity(layer, head));
      first_items.push_back(static_cast<int64_t>(items.size()));
      for (int64_t begin = 0; begin < filled; begin += RANGE_SLOTS)
        items.push_back({token, head, begin, std::min(filled, begin + RANGE_SLOTS)});
    }
  }
  first_items.push_back(static_cast<int64_t>(items.size()));

  // For each item: maxima [g], sums [g], weighted values [g, D]; before them the scaled queries of all tokens.
  const int64_t query_width = config.query_width(), item_floats = group * (head_dim + 2);
  const int64_t query_floats = query_width * static_cast<int64_t>(tokens.size());
  if (scratch.count() < query_floats + item_floats * static_cast<int64_t>(items.size())) {
    // Half as much again, so that a growing text does not allocate at every token.
    scratch.resize(query_floats + item_floats * static_cast<int64_t>(items.size() + items.size() / 2));
  }
  float *queries = scratch.data(), *partial = scratch.data() + query_floats;
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
  for (size_t token = 0; token < tokens.size(); token++) {
    for (int64_t i = 0; i < query_width; i++)
      queries[static_cast<int64_t>(token) * query_width + i] = tokens[token].query[i] * scale;
  }
  context.run(static_cast<int64_t>(items.size()), [&](int64_t index, int64_t) {
    const Item &item = items[static_cast<size_t>(index)];
    float *max = partial + index * item_floats, *sum = max + group, *weighted = sum + group;
    context.ops.cache->attend_slots(tokens[static_cast<size_t>(item.token)].cache->view(layer, item.head),
                                    queries + item.token * query_width + item.head * group * head_dim, group,
                                    item.begin, item.end, max, sum, weighted);
  });
  for (int64_t pair = 0; pair + 1 < static_cast<int64_t>(first_items.size()); pair++) {
    const int64_t begin = first_items[static_cast<size_t>(pair)], end = first_items[static_cast<size_t>(pair + 1)];
    const int64_t token = pair / config.kv_heads, head = pair % config.kv_heads;
    float *out = tokens[static_cast<size_t>(token)].out + head * group * head_dim;
    for (int64_t row = 0; row < group; row++) {
      float max = partial[begin * item_floats + row];
      for (int64_t index = begin + 1; index < end; index++) max = std::max(max, partial[index * item_floats + row]);
      float sum = 0.0f;
      std::fill(out + row * head_dim, out + (row + 1) * head_dim, 0.0f);
      for (int64_t index = begin; index < end; index++) {
        const float *from = partial + index * item_floats;
        const float factor = std::exp(from[row] - max);
        sum += factor * from[group + row];
        context.ops.add_scaled(factor, from + 2 * group + row * head_dim, head_dim, out + row * head_dim);
      }
      context.ops.cache->scale(out + row * head_dim, head_dim, 1.0f / sum);
    }
  }
}

}  // namespace duo

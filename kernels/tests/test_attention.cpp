// Tiled gated attention and its backward against the plain fp64 definition, for every instruction set: random shapes,
// windows, query subsets.
#include <algorithm>
#include <numeric>

#include "check.h"
#include "cpu/attention.h"
#include "simd_variants.h"

using namespace duo;

namespace {

// fp32 softmax over up to a few hundred keys.
constexpr double TOLERANCE = 5e-6;

struct Case {
  HeadShape shape;
  int64_t num_keys;
  Window window;
  bool is_subset;  // queries at some positions only, as in the last layer
};

std::string describe(const CpuContext &context, const Case &test) {
  char text[200];
  std::snprintf(
      text, sizeof text, "%s H%d G%d D%d T%d S%d R%d %s", context.ops.name, static_cast<int>(test.shape.heads),
      static_cast<int>(test.shape.kv_heads), static_cast<int>(test.shape.head_dim), static_cast<int>(test.num_keys),
      static_cast<int>(test.window.sink), static_cast<int>(test.window.recent), test.is_subset ? "subset" : "all");
  return text;
}

void test_case(const CpuContext &context, Random &random, const Case &test) {
  const HeadShape &shape = test.shape;
  const std::string name = describe(context, test);
  std::vector<int32_t> positions;
  for (int32_t i = 0; i < test.num_keys; i++) {
    if (!test.is_subset || random.integer(0, 2) == 0) positions.push_back(i);
  }
  if (positions.empty()) positions.push_back(static_cast<int32_t>(test.num_keys - 1));
  const auto count = static_cast<int64_t>(positions.size());
  const int64_t width = shape.heads * shape.head_dim, kv_width = shape.kv_heads * shape.head_dim;
  auto query = random.values(count * width);
  for (float &at : query) at *= 3.0f;  // scores far enough apart to make softmax uneven
  const auto key = random.values(test.num_keys * kv_width), value = random.values(test.num_keys * kv_width),
             d_out = random.values(count * width);
  std::vector<float> gates;
  for (int64_t head = 0; head < shape.kv_heads; head++)
    gates.push_back(head % 3 == 0 ? 0.3f : head % 3 == 1 ? 0.0f : 1.0f);
  const Queries queries{query.data(), positions.data(), count};
  std::vector<int64_t> recents;  // each head its own: R, R + 13, R + 26, …
  for (int64_t head = 0; head < shape.kv_heads; head++) recents.push_back(test.window.recent + 13 * head);
  const HeadWindows windows{test.window.sink, recents.data()};

  std::vector<float> full_ref(query.size()), stream_ref(query.size());
  attend_ref(shape, queries, key.data(), value.data(), windows, false, full_ref.data());
  attend_ref(shape, queries, key.data(), value.data(), windows, true, stream_ref.data());

  LayerPanels panels;
  panels.pack(context, shape, key.data(), value.data(), test.num_keys, true);
  const int64_t lse_count = shape.kv_heads * count_tiles(context, shape, count) * context.ops.tile_columns;
  std::vector<float> full_lse(static_cast<size_t>(lse_count)), stream_lse(static_cast<size_t>(lse_count));
  Guarded full(count * width), stream(count * width), alone(count * width);
  const auto heads = static_cast<size_t>(shape.kv_heads);
  attend(context, shape, queries, panels, windows, {std::vector<bool>(heads, false), std::vector<bool>(heads, true)},
         nullptr, alone.data(), nullptr, stream_lse.data());
  attend(context, shape, queries, panels, windows, {std::vector<bool>(heads, true), std::vector<bool>(heads, true)},
         full.data(), stream.data(), full_lse.data(), stream_lse.data());
  expect(measure_agreement(full.data(), full_ref.data(), count * width) <= TOLERANCE && full.is_intact(),
         name + " full");
  expect(measure_agreement(stream.data(), stream_ref.data(), count * width) <= TOLERANCE && stream.is_intact(),
         name + " streaming");
  expect(std::memcmp(alone.data(), stream.data(), static_cast<size_t>(count * width) * 4) == 0,
         name + " streaming alone differs");
  if (test.window.sink + test.window.recent >= test.num_keys) {
    expect(std::memcmp(full.data(), stream.data(), static_cast<size_t>(count * width) * 4) == 0,
           name + " S + R >= T differs from full");
  }

  std::vector<float> d_query_ref(query.size()), d_key_ref(key.size()), d_value_ref(value.size());
  std::vector<double> d_gates(gates.size()), d_gates_ref(gates.size());
  attend_backward_ref(shape, queries, key.data(), value.data(), test.num_keys, windows, gates.data(), d_out.data(),
                      d_query_ref.data(), d_key_ref.data(), d_value_ref.data(), d_gates_ref.data());
  Guarded d_query(count * width), d_key(test.num_keys * kv_width), d_value(test.num_keys * kv_width);
  AttentionGradient gradient{gates.data(),  false,           d_out.data(),      full.data(),
                             stream.data(), full_lse.data(), stream_lse.data(), d_query.data(),
                             d_key.data(),  d_value.data()};
  attend_backward(context, shape, queries, panels, test.num_keys, windows, gradient);
  sum_gate_gradient(context, shape, count, d_out.data(), full.data(), stream.data(), d_gates.data());
  const auto agrees = [](const float *a, const std::vector<float> &b) {
    return measure_agreement(a, b.data(), static_cast<int64_t>(b.size()));
  };
  expect(agrees(d_query.data(), d_query_ref) <= 2 * TOLERANCE && d_query.is_intact(),
         name + " d_query " + std::to_string(agrees(d_query.data(), d_query_ref)));
  expect(agrees(d_key.data(), d_key_ref) <= 2 * TOLERANCE && d_key.is_intact(),
         name + " d_key " + std::to_string(agrees(d_key.data(), d_key_ref)));
  expect(agrees(d_value.data(), d_value_ref) <= 2 * TOLERANCE && d_value.is_intact(), name + " d_value");
  double difference = 0, size = 0;
  for (const double at : d_out) size += std::fabs(at);
  for (size_t i = 0; i < d_gates.size(); i++) difference = worse(difference, std::fabs(d_gates[i] - d_gates_ref[i]));
  expect(difference <= 1e-6 * size, name + " d_gates");
}

}  // namespace

int main() {
  ThreadPool pool(3);
  for (const SimdOps *ops : list_simd_ops()) {
    const CpuContext context{pool, *ops, DUO_COMPUTE_ACCURATE};
    Random random(11);
    const Case cases[] = {
        {{1, 1, 2}, 1, {0, 1}, false},    {{4, 4, 32}, 33, {4, 8}, false},    {{6, 2, 20}, 97, {3, 11}, true},
        {{7, 1, 64}, 130, {0, 1}, false}, {{8, 8, 128}, 65, {16, 17}, false}, {{4, 2, 36}, 200, {64, 100}, false},
        {{2, 1, 16}, 300, {1, 7}, true},  {{3, 3, 8}, 50, {0, 1000}, false},  {{3, 3, 8}, 50, {1000, 1}, false},
        {{40, 1, 6}, 29, {2, 5}, false},  {{12, 4, 34}, 111, {5, 96}, false}, {{2, 2, 32}, 1100, {8, 40}, false}};
    for (const Case &test : cases) test_case(context, random, test);
    for (int i = 0; i < 20; i++) {
      const int64_t kv_heads = random.integer(1, 3), group = random.integer(1, 4);
      test_case(context, random,
                {{kv_heads * group, kv_heads, 2 * random.integer(1, 24)},
                 random.integer(1, 150),
                 {random.integer(0, 60), random.integer(1, 60)},
                 random.integer(0, 1) == 1});
    }
  }
  return finish("test_attention");
}

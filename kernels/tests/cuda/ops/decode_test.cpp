// One decode step's attention: how it is shared out, and attention itself over caches of every format, with this step's
// entries written on the way.
#include <numeric>

#include "cuda/decode_attention.h"
#include "cuda/layer_ops.h"
#include "kv_rows.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

// Sessions' caches [batch, layers, G] of unlike kinds and lengths: every head's tiles once, in order, after what a head
// costs besides.
OP_TEST(decode, launch_decode_plan) {
  struct Case {
    int32_t layers, kv_heads;
    std::vector<int32_t> lengths;
  };
  for (const Case &c : {Case{1, 1, {0}}, Case{3, 5, {130, 0, 32}}, Case{2, 40, {1000, 31}}, Case{1, 16, {63, 64}}}) {
    const auto batch = static_cast<int32_t>(c.lengths.size());
    const int64_t sink = 5, pairs = batch * c.kv_heads;
    std::vector<HeadCache> caches;
    uint8_t *const base = nullptr;
    for (int64_t i = 0; i < c.layers * pairs; i++) {
      const bool ring = i % 3 == 1;
      const int64_t recent = 41 + 9 * (i % 5);
      caches.push_back({base + 4096 * i, base + 4096 * i + 2048, reinterpret_cast<uint32_t *>(base + 64 * i),
                        reinterpret_cast<uint32_t *>(base + 64 * i + 32), ring ? sink + recent : 2000, ring, sink,
                        recent});
    }
    const auto table = upload(caches);
    std::vector<DecodeMember> members;
    for (int32_t m = 0; m < batch; m++)
      members.push_back(
          {table.data() + m * c.layers * c.kv_heads, nullptr, nullptr, 1.0f, c.lengths[static_cast<size_t>(m)]});
    const auto member_buffer = upload(members);
    struct Plan {
      std::vector<DecodeHead> heads;
      bool operator==(const Plan &o) const {
        return std::equal(heads.begin(), heads.end(), o.heads.begin(), o.heads.end(),
                          [](const DecodeHead &a, const DecodeHead &b) {
                            return a.key == b.key && a.value == b.value && a.key_scale == b.key_scale &&
                                   a.value_scale == b.value_scale && a.entries == b.entries && a.fresh == b.fresh &&
                                   a.first_tile == b.first_tile;
                          });
      }
    };
    const auto plan = run_in_every_order<Plan>("a plan", [&] {
      DeviceBuffer<DecodeHead> heads(c.layers * (pairs + 1));
      check(launch_decode_plan(member_buffer.data(), batch, c.layers, c.kv_heads, heads.data(), test_stream().get()),
            "a plan");
      return Plan{download(heads)};
    });
    bool is_right = true;
    for (int64_t layer = 0; layer < c.layers; layer++) {
      int64_t place = 0;
      const DecodeHead *heads = plan.heads.data() + layer * (pairs + 1);
      for (int64_t pair = 0; pair < pairs; pair++) {
        const HeadCache &cache =
            caches[static_cast<size_t>((pair / c.kv_heads * c.layers + layer) * c.kv_heads + pair % c.kv_heads)];
        const int64_t length = c.lengths[static_cast<size_t>(pair / c.kv_heads)],
                      entries = std::min<int64_t>(length + 1, cache.slots);
        place += DECODE_HEAD_TILES;
        is_right =
            is_right && heads[pair].key == cache.key && heads[pair].value == cache.value &&
            heads[pair].key_scale == cache.key_scale && heads[pair].value_scale == cache.value_scale &&
            heads[pair].entries == entries && heads[pair].first_tile == place &&
            heads[pair].fresh == (!cache.is_ring || length < sink ? length : sink + (length - sink) % cache.recent);
        place += (entries + 31) / 32;  // tiles of 32 entries
      }
      is_right = is_right && heads[pairs].first_tile == place + DECODE_HEAD_TILES;
    }
    expect(is_right, "the plan of " + std::to_string(pairs) + " heads in " + std::to_string(c.layers) + " layers");
  }
}

struct DecodeCase {
  Dtype dtype;
  int64_t heads, kv_heads, head_dim;
  std::vector<int32_t> lengths;      // a session each
  int64_t retrieval;                 // the first so many KV heads
  DecodeShape shape;                 // blocks at least; zeros: chosen
  bool is_ready = false;             // queries rotated and the step's entries written beforehand
  bool rotates = false;              // by hadamard.h
  int64_t shared_bytes = 227 << 10;  // of a block
  double query_size = 2.0;           // largest element of ready queries
};

// The step's entry is written and nothing else, and each query attends to exactly the entries that it sees.
void test_decode(const DecodeCase &c) {
  const int64_t slots = 700, sink = 5, batch = static_cast<int64_t>(c.lengths.size()), group = c.heads / c.kv_heads,
                pairs = batch * c.kv_heads;
  Random random(static_cast<uint64_t>(c.lengths.front() + c.head_dim));
  // Values have as much space as keys, and may fill less of it.
  const int64_t row_bytes = kv_bytes(kv_stored(c.dtype, false), c.head_dim);
  const auto bytes_of = [&](bool is_value) { return kv_bytes(kv_stored(c.dtype, is_value), c.head_dim); };
  const auto place_of = [&](int64_t index, bool is_value, int64_t slot) {
    return (2 * index + is_value) * slots * row_bytes + slot * bytes_of(is_value);
  };
  DeviceBuffer<uint8_t> memory(2 * pairs * slots * row_bytes);
  DeviceBuffer<uint32_t> scales(2 * pairs * slots);
  clear(scales, test_stream());
  std::vector<HeadCache> caches;
  for (int64_t index = 0; index < pairs; index++) {
    const bool ring = index % c.kv_heads >= c.retrieval;
    const int64_t recent = 41 + 9 * (index % 40);  // each head its own
    caches.push_back({memory.data() + 2 * index * slots * row_bytes,
                      memory.data() + (2 * index + 1) * slots * row_bytes, scales.data() + 2 * index * slots,
                      scales.data() + (2 * index + 1) * slots, ring ? sink + recent : slots, ring, sink, recent});
    check(launch_fill_cache(caches.back(), c.dtype, static_cast<int32_t>(c.head_dim), static_cast<uint64_t>(index),
                            test_stream().get()),
          "filling");
  }
  const auto cache_buffer = upload(caches);
  std::vector<DecodeMember> members;
  for (int64_t m = 0; m < batch; m++)
    members.push_back(
        {cache_buffer.data() + m * c.kv_heads, nullptr, nullptr, 1.0f, c.lengths[static_cast<size_t>(m)]});
  const auto member_buffer = upload(members);
  const int64_t width = (c.heads + 2 * c.kv_heads) * c.head_dim;
  const auto query = round_bf16(random.values(batch * c.heads * c.head_dim, c.query_size)),
             projected = round_bf16(random.values(batch * width, 2.0));
  const auto angles = random.values(batch * c.head_dim / 2, 3.0), query_norm = random.values(c.head_dim, 2.0),
             key_norm = random.values(c.head_dim, 2.0);
  std::vector<float> cosines, sines;
  for (const float angle : angles) cosines.push_back(std::cos(angle)), sines.push_back(std::sin(angle));
  const auto q = upload(to_bf16(query)), qkv = upload(to_bf16(projected));
  const auto query_norm_buffer = upload(query_norm), key_norm_buffer = upload(key_norm), cosine = upload(cosines),
             sine = upload(sines);
  const bool has_norm = c.heads % 4 == 0;
  const float eps = 0.3f;  // of the size of the mean square, so that it counts
  const DecodeProjections projections{qkv.data(),
                                      has_norm ? query_norm_buffer.data() : nullptr,
                                      has_norm ? key_norm_buffer.data() : nullptr,
                                      eps,
                                      cosine.data(),
                                      sine.data()};
  const DecodeShape shape =
      choose_decode_shape(c.dtype, static_cast<int>(c.head_dim), static_cast<int>(group), 4, c.shared_bytes, c.shape);
  DeviceBuffer<DecodeHead> plan(pairs + 1);
  const int64_t parts = (shape.blocks + pairs) * group;
  std::string name = std::string("decode ") + kv_name(c.dtype) + " H" + std::to_string(c.heads) + " G" +
                     std::to_string(c.kv_heads) + " D" + std::to_string(c.head_dim) + " blocks " +
                     std::to_string(shape.blocks) + (c.is_ready ? " ready" : "") + (c.rotates ? " transformed" : "") +
                     " length";
  for (const int32_t length : c.lengths) name += " " + std::to_string(length);
  DeviceBuffer<int32_t> arrived(batch * c.heads);
  clear(arrived, test_stream());  // once: a launch leaves zeros for the next
  const auto bytes_before = download(memory);
  const auto words_before = download(scales);
  check(launch_decode_plan(member_buffer.data(), static_cast<int32_t>(batch), 1, static_cast<int32_t>(c.kv_heads),
                           plan.data(), test_stream().get()),
        "a plan");
  const auto out = run_launch<uint16_t>(name, batch * c.heads * c.head_dim, [&](uint16_t *to, cudaStream_t stream) {
    const DeviceBuffer<float> partial(parts * c.head_dim), partial_scale(parts * 2);
    DecodeAttention a{};
    a.plan = plan.data(), a.shape = shape, a.batch = static_cast<int32_t>(batch);
    a.heads = static_cast<int32_t>(c.heads), a.kv_heads = static_cast<int32_t>(c.kv_heads),
    a.head_dim = static_cast<int32_t>(c.head_dim), a.dtype = c.dtype;
    a.rotates = c.rotates;
    a.query = c.is_ready ? q.data() : nullptr, a.projections = projections;
    a.partial = partial.data(), a.partial_scale = partial_scale.data(), a.arrived = arrived.data(), a.out = to;
    const cudaError_t error = launch_decode_attention(a, stream);
    test_stream().wait();
    return error;
  });
  const auto counts = download(arrived);
  expect(std::all_of(counts.begin(), counts.end(), [](int32_t x) { return x == 0; }),
         name + ": arrivals are zeros again");

  const auto bytes = download(memory);
  const auto words = download(scales);
  const auto element = [&](int64_t head, bool is_value, int64_t slot, int64_t i) {
    const int64_t at = (2 * head + is_value) * slots + slot;
    return kv_value(kv_stored(c.dtype, is_value), bytes.data() + place_of(head, is_value, slot),
                    words[static_cast<size_t>(at)], i);
  };
  const auto transformed = [&](std::vector<double> vector) {
    return c.rotates ? transform_exactly(vector, c.head_dim) : vector;
  };
  const auto fresh_of = [&](int64_t index) {
    const int64_t length = c.lengths[static_cast<size_t>(index / c.kv_heads)];
    const HeadCache &cache = caches[static_cast<size_t>(index)];
    return !cache.is_ring || length < sink ? length : sink + (length - sink) % cache.recent;
  };
  const auto cosine_of = [&](int64_t member) { return cosines.data() + member * c.head_dim / 2; };
  const auto sine_of = [&](int64_t member) { return sines.data() + member * c.head_dim / 2; };
  std::vector<uint8_t> kept = bytes;
  std::vector<uint32_t> kept_words = words;
  if (!c.is_ready) {
    double worst = 0;
    for (int64_t index = 0; index < pairs; index++) {
      const int64_t member = index / c.kv_heads;
      const float *key = projected.data() + member * width + (c.heads + index % c.kv_heads) * c.head_dim,
                  *value = key + c.kv_heads * c.head_dim;
      const auto rotated = transformed(rotate_exactly(key, c.head_dim, has_norm ? key_norm.data() : nullptr, eps,
                                                      cosine_of(member), sine_of(member)));
      const auto as_is = transformed(std::vector<double>(value, value + c.head_dim));
      for (const bool is_value : {false, true}) {
        const int64_t at = (2 * index + is_value) * slots + fresh_of(index),
                      place = place_of(index, is_value, fresh_of(index));
        worst =
            worse(worst, kv_row_error(kv_stored(c.dtype, is_value), bytes.data() + place,
                                      words[static_cast<size_t>(at)], (is_value ? as_is : rotated).data(), c.head_dim));
        std::copy_n(bytes_before.begin() + place, bytes_of(is_value), kept.begin() + place);
        kept_words[static_cast<size_t>(at)] = words_before[static_cast<size_t>(at)];
      }
    }
    expect_within(worst, 1, name + ": the step's entries, in half steps");
  }
  expect(kept == bytes_before && kept_words == words_before, name + ": other entries are as they were");
  std::vector<double> expected;
  double nearest = INFINITY;  // the least that a query's largest score is above its mean one
  for (int64_t h = 0; h < batch * c.heads; h++) {
    const int64_t member = h / c.heads;
    const auto made =
        transformed(rotate_exactly(projected.data() + member * width + h % c.heads * c.head_dim, c.head_dim,
                                   has_norm ? query_norm.data() : nullptr, eps, cosine_of(member), sine_of(member)));
    const auto query_of = [&](int64_t i) {
      return c.is_ready ? static_cast<double>(query[h * c.head_dim + i])
                        : bf16_to_float(float_to_bf16(static_cast<float>(made[static_cast<size_t>(i)])));
    };
    const int64_t head = h / group, entries = std::min<int64_t>(c.lengths[static_cast<size_t>(member)] + 1,
                                                                caches[static_cast<size_t>(head)].slots);
    std::vector<double> weight;
    double best = -1e30, sum = 0;
    for (int64_t j = 0; j < entries; j++) {
      double score = 0;
      for (int64_t i = 0; i < c.head_dim; i++)
        score += query_of(i) * (c.dtype == Dtype::f32
                                    ? bf16_to_float(float_to_bf16(static_cast<float>(element(head, false, j, i))))
                                    : element(head, false, j, i));
      weight.push_back(score / std::sqrt(static_cast<double>(c.head_dim)));
      best = std::max(best, weight.back());
    }
    nearest =
        std::min(nearest, best - std::accumulate(weight.begin(), weight.end(), 0.0) / static_cast<double>(entries));
    for (double &w : weight) sum += w = std::exp(w - best);
    for (int64_t i = 0; i < c.head_dim; i++) {
      double value = 0;
      for (int64_t j = 0; j < entries; j++) value += weight[static_cast<size_t>(j)] / sum * element(head, true, j, i);
      expected.push_back(value);
    }
  }
  expect_within(worst_row_error(from_bf16(out), transformed(expected), c.head_dim), tolerance::decode_attention, name);
  if (c.query_size > 2) expect(nearest > 256, name + ": scores far apart");
}

OP_TEST(decode, launch_decode_attention) {
  for (const Dtype dtype : KV_DTYPES) {
    test_decode({dtype, 4, 2, 64, {600}, 1, {}});
    test_decode({dtype, 4, 2, 128, {130, 31}, 1, {2, 2, 3}});
    test_decode({dtype, 20, 2, 32, {65}, 1, {8, 9, 7}});
    // Each head size; rows of odd numbers of 16-byte parts; more queries than one warp has, with a combine of splits.
    test_decode({dtype, 4, 2, 80, {100, 40}, 1, {2, 2, 3}});
    test_decode({dtype, 10, 1, 96, {75}, 1, {}});
    test_decode({dtype, 6, 2, 192, {70}, 1, {2, 2, 3}});
    test_decode({dtype, 12, 1, 256, {90}, 1, {4, 2, 2}});
    test_decode({dtype, 40, 1, 64, {200}, 1, {6, 3, 3}});
    // Rotated: a head of one split, heads of several, and of more quads per split than threads.
    if (!kv_has_scale(dtype)) continue;
    test_decode({dtype, 4, 2, 64, {600}, 1, {}, false, true});
    test_decode({dtype, 4, 2, 128, {130, 31}, 1, {2, 2, 3}, false, true});
    test_decode({dtype, 20, 2, 32, {65}, 1, {8, 9, 7}, false, true});
    for (const int64_t dim : {80, 96, 192, 256}) test_decode({dtype, 18, 2, dim, {70}, 1, {}, false, true});
  }
  if (is_brief) return;
  // On the smallest shared memory; teams of as many warps as there are, and a group of more queries than these hold.
  for (const int64_t dim : {32, 80, 128, 256})
    test_decode({Dtype::f32, 8, 1, dim, {300}, 1, {}, false, false, 99 << 10});
  test_decode({Dtype::bf16, 71, 1, 64, {300}, 1, {}});
  test_decode({Dtype::int8, 71, 1, 64, {300}, 1, {0, 0, 9}, true, true});
  test_decode({Dtype::bf16, 130, 1, 32, {65}, 1, {}});
  test_decode({Dtype::int4, 66, 1, 256, {65}, 1, {}, false, true});
  // One entry; around a tile's and a piece's end; blocks without work; streaming heads alone; one retrieval head;
  // sessions of unlike lengths.
  test_decode({Dtype::bf16, 3, 3, 32, {0}, 2, {0, 0, 9}});
  for (const int32_t length : {14, 15, 16, 30, 31, 32, 126, 127, 128})
    test_decode({Dtype::bf16, 2, 1, 32, {length}, 1, {3, 3, 2}});
  test_decode({Dtype::bf16, 18, 1, 128, {130}, 1, {}});
  test_decode({Dtype::int8, 4, 4, 64, {699}, 0, {4, 3, 5}});
  test_decode({Dtype::bf16, 8, 8, 64, {413}, 1, {4, 3, 40}});
  test_decode({Dtype::int4, 8, 2, 128, {44}, 1, {}});
  // Combines of all splits at once, and of as many as there is room for; of more quads per split than threads.
  test_decode({Dtype::bf16, 8, 1, 128, {690}, 1, {8, 2, 40}});
  test_decode({Dtype::bf16, 8, 1, 128, {690}, 1, {2, 2, 40, 1}});
  test_decode({Dtype::bf16, 10, 1, 128, {690}, 1, {1, 3, 20, 1}});
  // Quads that do not divide the threads, and more splits than teams: the threads over have no part.
  test_decode({Dtype::bf16, 2, 1, 80, {690}, 1, {8, 2, 40}});
  test_decode({Dtype::int4, 8, 1, 128, {690}, 1, {8, 2, 40}, false, true});
  test_decode({Dtype::int8, 10, 1, 128, {690}, 1, {1, 3, 20, 1}, false, true});
  test_decode({Dtype::int4, 20, 2, 64, {650}, 1, {}, true, true});
  test_decode({Dtype::fp8, 10, 5, 64, {3, 650, 46}, 3, {4, 2, 11}});
  test_decode({Dtype::bf16, 40, 40, 32, {90, 2}, 20, {2, 2, 33}});
  test_decode({Dtype::bf16, 8, 2, 128, {130, 31}, 1, {2, 2, 3}, true});
  test_decode({Dtype::int4, 20, 2, 64, {650}, 1, {}, true});
  test_decode({Dtype::k8v4, 18, 1, 128, {690}, 1, {}, false, true});
  // Scores so far apart that fp32 has no factor from one warp's largest to another's, nor from one split's to another's:
  // a combine by any but the largest of all is infinite.
  test_decode({Dtype::bf16, 8, 2, 64, {300}, 1, {4, 2, 1}, true, false, 227 << 10, 500});
  test_decode({Dtype::int8, 8, 2, 128, {690}, 1, {2, 2, 40}, true, true, 227 << 10, 500});
  DecodeAttention a{};
  a.heads = a.kv_heads = a.batch = 1, a.head_dim = 112, a.dtype = Dtype::bf16;
  expect(launch_decode_attention(a, test_stream().get()) == cudaErrorInvalidValue, "head_dim 112 is refused");
  a.head_dim = 64, a.dtype = Dtype::f16;
  expect(launch_decode_attention(a, test_stream().get()) == cudaErrorInvalidValue, "f16 caches are refused");
}

}  // namespace

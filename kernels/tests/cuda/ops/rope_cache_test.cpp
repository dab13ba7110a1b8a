// Rotary positions with Q/K norm, forward into a cache's format and back; copies into caches; the filler of benches.
#include <set>
#include "cuda/layer_ops.h"

#include "kv_rows.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

constexpr float EPS = 1e-5f;

OP_TEST(layer, launch_rope_tables) {
  const int64_t half = 20, rows = 30;
  std::vector<float> inverse;
  for (int64_t i = 0; i < half; i++) inverse.push_back(std::pow(10000.0f, -static_cast<float>(i) / half));
  const auto f = upload(inverse);
  const int64_t start = 100000;
  DeviceBuffer<float> sine(rows * half);
  const auto cosine = run_launch<float>("rope tables", rows * half, [&](float *out, cudaStream_t stream) {
    return launch_rope_tables(f.data(), 1.25f, start, rows, static_cast<int32_t>(half), out, sine.data(), stream);
  });
  const auto sines = download(sine);
  double worst = 0;
  for (int64_t i = 0; i < rows * half; i++) {
    const double angle =
        static_cast<double>(static_cast<float>(start + i / half) *
                            inverse[static_cast<size_t>(i % half)]);  // the fp32 product, as core/rope.h defines it
    worst = worse(worst, std::fabs(cosine[static_cast<size_t>(i)] - 1.25 * std::cos(angle)));
    worst = worse(worst, std::fabs(sines[static_cast<size_t>(i)] - 1.25 * std::sin(angle)));
  }
  expect_within(worst, 3e-7, "rope tables of a run of positions");
}

struct RopeCase {
  Dtype dtype;
  int32_t heads, kv_heads, dim;
  bool has_norm;
  bool rotates_kv = false;
};

// Queries of some rows, keys and values of all; rows that lie further apart than they are wide, tables that begin late.
void test_rope_write(const RopeCase &c) {
  const Half half_kind = c.dtype == Dtype::f16 ? Half::f16 : Half::bf16;
  const std::string name = std::string("rope write ") + kv_name(c.dtype) + " D" + std::to_string(c.dim) +
                           (c.has_norm ? " normed" : "") + (c.rotates_kv ? " transformed" : "");
  const auto transformed = [&](std::vector<double> vector) {
    return c.rotates_kv ? transform_exactly(vector, c.dim) : vector;
  };
  Random random(static_cast<uint64_t>(c.dim) + (c.has_norm ? 1 : 0));
  const int64_t rows = 7, start = 50, half = c.dim / 2, kv_width = c.kv_heads * c.dim,
                width = c.heads * c.dim + 2 * kv_width + 8;
  const std::vector<int32_t> query_positions{51, 56, 53};
  std::vector<int32_t> positions{56, 50, 51, 52, 53, 54, 55};
  const auto query_rows = static_cast<int64_t>(query_positions.size());
  auto projected = random.values(rows * width, 3.0);
  for (int64_t i = 0; i < width; i++)
    projected[static_cast<size_t>(2 * width + i)] *= 2e-3f;  // where the norm's eps counts
  projected = round_half(projected, half_kind);
  const auto query_in = round_half(random.values(query_rows * width, 3.0), half_kind);
  const auto query_norm = random.values(c.dim, 2.0), key_norm = random.values(c.dim, 2.0);
  const auto angles = random.values(rows * half, 3.2);
  std::vector<float> cosines, sines;
  for (const float angle : angles) cosines.push_back(std::cos(angle)), sines.push_back(std::sin(angle));
  const auto q_in = upload(to_half(query_in, half_kind)), kv_in = upload(to_half(projected, half_kind));
  const auto qn = upload(query_norm), kn = upload(key_norm), cosine = upload(cosines), sine = upload(sines);
  const auto qp = upload(query_positions), p = upload(positions);
  const Dtype key_kind = kv_stored(c.dtype, false), value_kind = kv_stored(c.dtype, true);
  const int64_t key_bytes = kv_bytes(key_kind, c.dim), value_bytes = kv_bytes(value_kind, c.dim),
                items = rows * c.kv_heads;
  struct Result {
    std::vector<uint16_t> query;
    std::vector<uint8_t> key, value;
    std::vector<uint32_t> key_scale, value_scale;
    bool operator==(const Result &o) const {
      return query == o.query && key == o.key && value == o.value && key_scale == o.key_scale &&
             value_scale == o.value_scale;
    }
  };
  const auto result = run_in_every_order<Result>(name, [&] {
    DeviceBuffer<uint16_t> query(query_rows * c.heads * c.dim);
    DeviceBuffer<uint8_t> key(items * key_bytes), value(items * value_bytes);
    DeviceBuffer<uint32_t> key_scale(items), value_scale(items);
    clear(key_scale, test_stream()), clear(value_scale, test_stream());
    RopeWrite rope{};
    rope.query_in = q_in.data(), rope.query_stride = width;
    rope.key_in = kv_in.data() + c.heads * c.dim, rope.value_in = rope.key_in + kv_width, rope.key_stride = width;
    rope.query_positions = qp.data(), rope.positions = p.data(), rope.table_start = start;
    rope.query_rows = query_rows, rope.rows = rows;
    rope.heads = c.heads, rope.kv_heads = c.kv_heads, rope.head_dim = c.dim;
    rope.query_norm = c.has_norm ? qn.data() : nullptr, rope.key_norm = c.has_norm ? kn.data() : nullptr;
    rope.eps = EPS;
    rope.cosine = cosine.data(), rope.sine = sine.data();
    rope.query_out = query.data();
    rope.dtype = c.dtype, rope.rotates_kv = c.rotates_kv;
    rope.key_out = key.data(), rope.value_out = value.data();
    rope.key_scale = kv_has_scale(c.dtype) ? key_scale.data() : nullptr,
    rope.value_scale = kv_has_scale(c.dtype) ? value_scale.data() : nullptr;
    check(launch_rope_write(rope, test_stream().get()), "rope");
    return Result{download(query), download(key), download(value), download(key_scale), download(value_scale)};
  });
  const auto table_of = [&](int32_t position) { return static_cast<size_t>((position - start) * half); };
  std::vector<double> expected;
  for (int64_t row = 0; row < query_rows; row++) {
    for (int64_t head = 0; head < c.heads; head++) {
      const auto table = table_of(query_positions[static_cast<size_t>(row)]);
      const auto made =
          transformed(rotate_exactly(query_in.data() + row * width + head * c.dim, c.dim,
                                     c.has_norm ? query_norm.data() : nullptr, EPS, &cosines[table], &sines[table]));
      expected.insert(expected.end(), made.begin(), made.end());
    }
  }
  expect_rounded(result.query, expected, c.dim, half_kind, name + ": queries");
  double key_error = 0, value_error = 0;
  for (int64_t item = 0; item < items; item++) {
    const int64_t row = item / c.kv_heads, head = item % c.kv_heads;
    const float *key = projected.data() + row * width + (c.heads + head) * c.dim, *value = key + kv_width;
    const auto table = table_of(positions[static_cast<size_t>(row)]);
    const auto made = transformed(
        rotate_exactly(key, c.dim, c.has_norm ? key_norm.data() : nullptr, EPS, &cosines[table], &sines[table]));
    const auto as_is = transformed(std::vector<double>(value, value + c.dim));
    const auto at = static_cast<size_t>(item);
    key_error = worse(key_error, kv_row_error(key_kind, result.key.data() + item * key_bytes, result.key_scale[at],
                                              made.data(), c.dim));
    value_error = worse(value_error, kv_row_error(value_kind, result.value.data() + item * value_bytes,
                                                  result.value_scale[at], as_is.data(), c.dim));
  }
  expect_within(key_error, 1, name + ": keys, in half steps");
  expect_within(value_error, 1, name + ": values, in half steps");
}

// Of f16, what leaves the range is recorded: queries, keys and values each.
void test_rope_peak() {
  const int32_t dim = 64;
  enum { NOTHING, QUERY, KEY, VALUE };
  for (const int which : {NOTHING, QUERY, KEY, VALUE}) {
    std::vector<float> vectors(3 * dim, 1.0f);  // query, key, value
    // Rotated by an eighth of a turn, two of 60000 make one of 84853; a value is not rotated, so it must be infinite
    // already.
    if (which == QUERY || which == KEY)
      vectors[(which == KEY) * dim + 5] = -60000.0f, vectors[(which == KEY) * dim + 5 + dim / 2] = -60000.0f;
    if (which == VALUE) vectors[2 * dim + 63] = INFINITY;
    if (which == NOTHING) vectors[2 * dim + 3] = 65504.0f;
    const auto in = upload(to_half(vectors, Half::f16));
    const auto cosine = upload(std::vector<float>(dim / 2, std::sqrt(0.5f))),
               sine = upload(std::vector<float>(dim / 2, std::sqrt(0.5f)));
    const auto position = upload(std::vector<int32_t>{0});
    const auto peak = run_launch<float>(
        "rope peak", 1,
        [&](float *out, cudaStream_t stream) {
          DeviceBuffer<uint16_t> query(dim), key(dim), value(dim);
          RopeWrite rope{};
          rope.query_in = in.data(), rope.key_in = in.data() + dim, rope.value_in = in.data() + 2 * dim;
          rope.query_positions = rope.positions = position.data();
          rope.query_rows = rope.rows = rope.heads = rope.kv_heads = 1, rope.head_dim = dim, rope.eps = EPS;
          rope.cosine = cosine.data(), rope.sine = sine.data(), rope.dtype = Dtype::f16, rope.peak = out;
          rope.query_out = query.data(), rope.key_out = reinterpret_cast<uint8_t *>(key.data()),
          rope.value_out = reinterpret_cast<uint8_t *>(value.data());
          return launch_rope_write(rope, stream);
        },
        {0.0f});
    expect(which == NOTHING ? peak[0] == 0.0f : peak[0] > 65504.0f,
           "rope records what leaves f16's range, case " + std::to_string(which));
  }
}

OP_TEST(layer, launch_rope_write) {
  for (const bool has_norm : {false, true}) {
    for (const Dtype dtype : KV_DTYPES) test_rope_write({dtype, 4, 2, 64, has_norm});
    test_rope_write({Dtype::f16, 3, 3, 128, has_norm});
    test_rope_write({Dtype::bf16, 6, 1, 32, has_norm});
    test_rope_write({Dtype::int4, 2, 2, 128, has_norm});
    for (const Dtype dtype : {Dtype::int8, Dtype::fp8, Dtype::int4, Dtype::k8v4}) {
      for (const int32_t dim : {32, 64, 80, 96, 128, 192, 256}) test_rope_write({dtype, 4, 2, dim, has_norm, true});
    }
  }
  test_rope_peak();
}

struct BackwardCase {
  int32_t heads, dim;
  bool rotates, has_norm, scatters;
};
void test_rope_backward(const BackwardCase &c) {
  const std::string name = "rope backward D" + std::to_string(c.dim) + (c.rotates ? " rotated" : "") +
                           (c.has_norm ? " normed" : "") + (c.scatters ? " scattered" : "");
  Random random(static_cast<uint64_t>(c.dim));
  const std::vector<int32_t> positions{4, 0, 3};
  const int64_t rows = 3, all = 5, half = c.dim / 2, raw_stride = c.heads * c.dim + 8,
                out_stride = c.heads * c.dim + 16;
  const auto dy = random.values(rows * c.heads * c.dim);
  auto raw = random.values(rows * raw_stride, 2.0);
  for (int64_t i = 0; i < raw_stride; i++) raw[static_cast<size_t>(raw_stride + i)] *= 2e-3f;
  raw = round_bf16(raw);
  const auto norm = random.values(c.dim, 2.0), angles = random.values(all * half, 3.2);
  std::vector<float> cosines, sines;
  for (const float angle : angles) cosines.push_back(std::cos(angle)), sines.push_back(std::sin(angle));
  const auto d = upload(dy), n = upload(norm), cosine = upload(cosines), sine = upload(sines);
  const auto r = upload(to_bf16(raw));
  const auto p = upload(positions);
  const std::vector<uint16_t> before(static_cast<size_t>(all * out_stride), 0x1234);
  const auto got = run_launch<uint16_t>(
      name, all * out_stride,
      [&](uint16_t *out, cudaStream_t stream) {
        RopeBackward rope{};
        rope.dy = d.data(), rope.positions = p.data(), rope.rows = rows, rope.heads = c.heads, rope.head_dim = c.dim;
        rope.cosine = c.rotates ? cosine.data() : nullptr, rope.sine = sine.data();
        rope.norm = c.has_norm ? n.data() : nullptr;
        rope.raw = r.data(), rope.raw_stride = raw_stride, rope.eps = EPS;
        rope.out = out, rope.out_stride = out_stride, rope.scatters = c.scatters;
        return launch_rope_backward(rope, stream);
      },
      before);
  std::vector<double> expected;
  std::vector<uint16_t> written;
  std::vector<uint16_t> untouched = got;
  for (int64_t row = 0; row < rows; row++) {
    const int64_t to = c.scatters ? positions[static_cast<size_t>(row)] : row;
    for (int64_t head = 0; head < c.heads; head++) {
      const float *gradient = dy.data() + (row * c.heads + head) * c.dim,
                  *x = raw.data() + row * raw_stride + head * c.dim;
      // The transpose of the rotation, then of the norm's derivative.
      std::vector<double> back(static_cast<size_t>(c.dim));
      for (int64_t i = 0; i < half; i++) {
        const auto table = static_cast<size_t>(positions[static_cast<size_t>(row)] * half + i);
        const double co = c.rotates ? cosines[table] : 1, si = c.rotates ? sines[table] : 0;
        back[static_cast<size_t>(i)] = gradient[i] * co + gradient[i + half] * si;
        back[static_cast<size_t>(i + half)] = gradient[i + half] * co - gradient[i] * si;
      }
      if (c.has_norm) {
        double square = 0, projection = 0;
        for (int64_t i = 0; i < c.dim; i++)
          square += static_cast<double>(x[i]) * x[i],
              projection += back[static_cast<size_t>(i)] * norm[static_cast<size_t>(i)] * x[i];
        const double scale = 1 / std::sqrt(square / c.dim + static_cast<double>(EPS));
        for (int64_t i = 0; i < c.dim; i++) {
          double &value = back[static_cast<size_t>(i)];
          value = value * norm[static_cast<size_t>(i)] * scale - x[i] * projection * scale * scale * scale / c.dim;
        }
      }
      expected.insert(expected.end(), back.begin(), back.end());
      const auto at = static_cast<size_t>(to * out_stride + head * c.dim);
      written.insert(written.end(), got.begin() + static_cast<std::ptrdiff_t>(at),
                     got.begin() + static_cast<std::ptrdiff_t>(at) + c.dim);
      std::fill_n(untouched.begin() + static_cast<std::ptrdiff_t>(at), c.dim, 0x1234);
    }
  }
  expect_rounded(written, expected, c.dim, Half::bf16, name);
  expect(untouched == before, name + ": nothing else is written");
}
OP_TEST(layer, launch_rope_backward) {
  test_rope_backward({3, 64, true, false, false});
  test_rope_backward({3, 64, true, true, true});
  test_rope_backward({2, 128, true, true, false});
  test_rope_backward({5, 32, false, false, false});
  test_rope_backward({1, 128, true, false, true});
  test_rope_backward({4, 32, true, true, false});
  for (const int32_t dim : {80, 96, 192, 256}) test_rope_backward({3, dim, true, true, true});
}

// Chunks into a cache that grows and a ring; what a ring would overwrite in the same chunk is left out. Bytes only:
// what they mean does not matter.
OP_TEST(layer, launch_cache_copy) {
  struct Case {
    int64_t rows, start, sink, recent;
  };
  for (const Dtype dtype : KV_DTYPES) {
    for (const Case &c : {Case{5, 0, 2, 4}, Case{30, 3, 4, 7}, Case{9, 40, 2, 8}, Case{1, 11, 0, 5}}) {
      const int32_t kv_heads = 3, dim = 32;
      // Of the space for rows of keys, values may leave some.
      const int64_t key_bytes = kv_bytes(kv_stored(dtype, false), dim),
                    value_bytes = kv_bytes(kv_stored(dtype, true), dim), slots = 60, items = c.rows * kv_heads;
      const auto window_of = [&](int64_t head) { return c.recent + 3 * head; };
      Random random(static_cast<uint64_t>(c.rows));
      const auto bytes = [&](int64_t count) {
        std::vector<uint8_t> out;
        for (int64_t i = 0; i < count; i++) out.push_back(static_cast<uint8_t>(random.bits()));
        return out;
      };
      const auto words = [&](int64_t count) {
        std::vector<uint32_t> out;
        for (int64_t i = 0; i < count; i++) out.push_back(static_cast<uint32_t>(random.bits()));
        return out;
      };
      const auto key = bytes(items * key_bytes), value = bytes(items * value_bytes),
                 memory = bytes(2 * kv_heads * slots * key_bytes);
      const auto key_scale = words(items), value_scale = words(items), scale_memory = words(2 * kv_heads * slots);
      const auto k = upload(key), v = upload(value);
      const auto ks = upload(key_scale), vs = upload(value_scale);
      struct Result {
        std::vector<uint8_t> memory;
        std::vector<uint32_t> scales;
        bool operator==(const Result &o) const { return memory == o.memory && scales == o.scales; }
      };
      const std::string name = std::string("cache copy ") + kv_name(dtype) + " of " + std::to_string(c.rows) +
                               " from " + std::to_string(c.start);
      const auto got = run_in_every_order<Result>(name, [&] {
        const auto cache_memory = upload(memory);
        const auto cache_scales = upload(scale_memory);
        std::vector<HeadCache> caches;
        for (int64_t head = 0; head < kv_heads; head++) {
          uint8_t *at = cache_memory.data() + 2 * head * slots * key_bytes;
          uint32_t *scale = cache_scales.data() + 2 * head * slots;
          caches.push_back({at, at + slots * key_bytes, scale, scale + slots,
                            head == 1 ? slots : c.sink + window_of(head), head != 1, c.sink, window_of(head)});
        }
        const auto table = upload(caches);
        check(launch_cache_copy(
                  {k.data(), v.data(), ks.data(), vs.data(), table.data(), c.rows, c.start, kv_heads, dim, dtype},
                  test_stream().get()),
              "a copy");
        return Result{download(cache_memory), download(cache_scales)};
      });
      Result expected{memory, scale_memory};
      for (int64_t row = 0; row < c.rows; row++) {
        for (int64_t head = 0; head < kv_heads; head++) {
          const int64_t position = c.start + row;
          // In order, later tokens overwrite earlier ones; the sinks are never overwritten.
          const int64_t slot =
                            head == 1 || position < c.sink ? position : c.sink + (position - c.sink) % window_of(head),
                        item = row * kv_heads + head;
          for (const bool is_value : {false, true}) {
            const int64_t begin = (2 * head + is_value) * slots, to = begin + slot,
                          row_bytes = is_value ? value_bytes : key_bytes;
            std::copy_n((is_value ? value : key).begin() + item * row_bytes, row_bytes,
                        expected.memory.begin() + begin * key_bytes + slot * row_bytes);
            if (kv_has_scale(dtype))
              expected.scales[static_cast<size_t>(to)] =
                  (is_value ? value_scale : key_scale)[static_cast<size_t>(item)];
          }
        }
      }
      expect(got == expected, name);
    }
  }
}

// Seeded numbers of mean 0 and unit variance, the same in every format up to its rounding; other seeds, keys and values
// differ.
OP_TEST(layer, launch_fill_cache) {
  const int32_t dim = 64;
  const int64_t slots = 50;
  const auto fill = [&](Dtype dtype, uint64_t seed) {
    struct Filled {
      std::vector<uint8_t> bytes;
      std::vector<uint32_t> words;
      bool operator==(const Filled &o) const { return bytes == o.bytes && words == o.words; }
    };
    return run_in_every_order<Filled>(std::string("fill ") + kv_name(dtype), [&] {
      DeviceBuffer<uint8_t> memory(slots *
                                   (kv_bytes(kv_stored(dtype, false), dim) + kv_bytes(kv_stored(dtype, true), dim)));
      DeviceBuffer<uint32_t> scales(2 * slots);
      clear(scales, test_stream());
      const HeadCache cache{memory.data(),
                            memory.data() + slots * kv_bytes(kv_stored(dtype, false), dim),
                            kv_has_scale(dtype) ? scales.data() : nullptr,
                            kv_has_scale(dtype) ? scales.data() + slots : nullptr,
                            slots,
                            0,
                            0,
                            0};
      check(launch_fill_cache(cache, dtype, dim, seed, test_stream().get()), "filling");
      return Filled{download(memory), download(scales)};
    });
  };
  const auto plain = fill(Dtype::f32, 7);
  std::vector<double> exact;
  double sum = 0, square = 0;
  for (int64_t i = 0; i < 2 * slots * dim; i++) {
    exact.push_back(kv_value(Dtype::f32, plain.bytes.data(), 0, i));
    sum += exact.back(), square += exact.back() * exact.back();
  }
  const double count = static_cast<double>(exact.size());
  // 6400 draws: the mean within four of its standard deviations, the variance too.
  expect_within(std::fabs(sum / count), 4 / std::sqrt(count), "fill: mean 0");
  expect_within(std::fabs(square / count - 1), 4 * std::sqrt(2 / count), "fill: variance 1");
  std::set<double> distinct(exact.begin(), exact.end());
  expect(distinct.size() > exact.size() * 95 / 100, "fill: every element has a number of its own");
  expect(!(fill(Dtype::f32, 8) == plain), "fill: other seeds, other numbers");
  for (const Dtype dtype : KV_DTYPES) {
    const auto got = fill(dtype, 7);
    double worst = 0;
    for (int64_t row = 0, at = 0; row < 2 * slots; row++) {
      const Dtype stored = kv_stored(dtype, row >= slots);
      const uint8_t *bytes = got.bytes.data() + at;
      at += kv_bytes(stored, dim);
      worst =
          worse(worst, kv_row_error(stored, bytes, got.words[static_cast<size_t>(row)], exact.data() + row * dim, dim));
    }
    expect_within(worst, 1, std::string("fill ") + kv_name(dtype) + ", in half steps");
  }
}

}  // namespace

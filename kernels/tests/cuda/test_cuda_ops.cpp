// Kernels one by one against the CPU's plain references or fp64 loops, on awkward shapes. Inputs are rounded to bf16 first, so that what is
// measured is the kernel's own rounding: of softmax weights and outputs (2^-9 each), 8e-3 with room for their sum.
#include <array>

#include "cpu/attention.h"
#include "cuda/attention.h"
#include "cuda/decode_attention.h"
#include "cuda/gemm.h"
#include "cuda/hopper.h"
#include "cuda/layer_ops.h"
#include "cuda/matvec.h"
#include "cuda/reductions.h"
#include "cuda_test.h"

using namespace duo;
using namespace duo::test;
using cuda::check;
using cuda::DeviceBuffer;
using cuda::Stream;

namespace {

constexpr double BF16_TOLERANCE = 8e-3;

struct AttentionCase {
  int64_t heads, kv_heads, head_dim, tokens, sink, recent;
  std::vector<int32_t> rows;  // empty: all
};

std::string name_of(const AttentionCase &c) {
  return "H" + std::to_string(c.heads) + " G" + std::to_string(c.kv_heads) + " D" + std::to_string(c.head_dim) + " T" + std::to_string(c.tokens) + " S" +
         std::to_string(c.sink) + " R" + std::to_string(c.recent) + (c.rows.empty() ? "" : " some rows");
}

void test_attention(const AttentionCase &c, bool is_hopper) {
  const std::string name = name_of(c) + (is_hopper ? " hopper" : "");
  const auto forward = is_hopper ? cuda::launch_attention_forward_hopper : cuda::launch_attention_forward_plain;
  const auto backward = is_hopper ? cuda::launch_attention_backward_hopper : cuda::launch_attention_backward_plain;
  const Stream stream;
  Values values(static_cast<uint64_t>(c.tokens + c.head_dim));
  std::vector<int32_t> positions = c.rows;
  for (int32_t i = 0; c.rows.empty() && i < c.tokens; i++) positions.push_back(i);
  const int64_t rows = static_cast<int64_t>(positions.size()), width = c.heads * c.head_dim, kv_width = c.kv_heads * c.head_dim;
  const auto query = round_bf16(values.floats(rows * width, 2.0)), key = round_bf16(values.floats(c.tokens * kv_width, 2.0)),
             value = round_bf16(values.floats(c.tokens * kv_width)), gradient = round_bf16(values.floats(rows * width));
  std::vector<float> gates;
  for (int64_t head = 0; head < c.kv_heads; head++) gates.push_back(head % 3 == 0 ? 0.3f : head % 3 == 1 ? 1.0f : 0.0f);
  const HeadShape shape{c.heads, c.kv_heads, c.head_dim};
  const Window window{c.sink, c.recent};
  const Queries queries{query.data(), positions.data(), rows};
  std::vector<float> full(static_cast<size_t>(rows * width)), streaming(full), mixed(full), d_query(full);
  std::vector<float> d_key(static_cast<size_t>(c.tokens * kv_width)), d_value(d_key);
  std::vector<double> d_gates(static_cast<size_t>(c.kv_heads));
  attend_ref(shape, queries, key.data(), value.data(), window, false, full.data());
  attend_ref(shape, queries, key.data(), value.data(), window, true, streaming.data());
  for (size_t i = 0; i < mixed.size(); i++) {
    const float gate = gates[i / c.head_dim % c.heads / (c.heads / c.kv_heads)];
    mixed[i] = gate * full[i] + (1 - gate) * streaming[i];
  }
  attend_backward_ref(shape, queries, key.data(), value.data(), c.tokens, window, gates.data(), gradient.data(), d_query.data(), d_key.data(), d_value.data(), d_gates.data());

  const auto q = upload(to_bf16(query), stream), k = upload(to_bf16(key), stream), v = upload(to_bf16(value), stream), d = upload(to_bf16(gradient), stream);
  const auto at = upload(positions, stream);
  const auto gate_buffer = upload(gates, stream);
  std::vector<int32_t> heads;
  for (int32_t head = 0; head < c.kv_heads; head++) heads.push_back(head);
  const auto list = upload(heads, stream);
  struct Result {
    std::vector<uint16_t> mixed, full_only, stream_only;
    std::vector<float> full, streaming, d_gates, d_query, d_key, d_value;
    bool operator==(const Result &o) const {
      return mixed == o.mixed && full_only == o.full_only && stream_only == o.stream_only && full == o.full && streaming == o.streaming && d_gates == o.d_gates &&
             d_query == o.d_query && d_key == o.d_key && d_value == o.d_value;
    }
  };
  const auto run = [&] {
    DeviceBuffer<uint16_t> out(rows * width);
    DeviceBuffer<float> full_out(rows * width), stream_out(rows * width), full_lse(rows * c.heads), stream_lse(rows * c.heads), deltas(3 * rows * c.heads);
    DeviceBuffer<float> dg(c.kv_heads), dq(rows * width), dk(c.tokens * kv_width), dv(c.tokens * kv_width);
    cuda::AttentionForward a{};
    a.shape = {static_cast<int32_t>(c.heads), static_cast<int32_t>(c.kv_heads), static_cast<int32_t>(c.head_dim), c.sink, c.recent};
    a.query = q.data(), a.positions = at.data(), a.num_rows = rows;
    a.dtype = Dtype::bf16;
    a.chunk_key = reinterpret_cast<const uint8_t *>(k.data()), a.chunk_value = reinterpret_cast<const uint8_t *>(v.data());
    a.chunk_count = c.tokens;
    a.kv_list = list.data(), a.num_listed = static_cast<int32_t>(c.kv_heads);
    a.gates = gate_buffer.data();
    a.mixed = out.data();
    Result result;
    check(forward(a, cuda::Branches::full, stream.get()), "full");
    result.full_only = download(out, stream);
    check(forward(a, cuda::Branches::stream, stream.get()), "streaming");
    result.stream_only = download(out, stream);
    a.full = full_out.data(), a.stream = stream_out.data(), a.full_lse = full_lse.data(), a.stream_lse = stream_lse.data();
    check(forward(a, cuda::Branches::both, stream.get()), "both");
    result.mixed = download(out, stream), result.full = download(full_out, stream), result.streaming = download(stream_out, stream);
    cuda::AttentionBackward b{};
    b.shape = a.shape;
    b.query = q.data(), b.positions = at.data(), b.num_rows = rows, b.key = k.data(), b.value = v.data(), b.num_keys = c.tokens;
    b.d_mixed = d.data(), b.full = full_out.data(), b.stream = stream_out.data(), b.full_lse = full_lse.data(), b.stream_lse = stream_lse.data();
    b.gates = gate_buffer.data();
    b.full_delta = deltas.data(), b.stream_delta = deltas.data() + rows * c.heads, b.gate_delta = deltas.data() + 2 * rows * c.heads;
    b.d_gates = dg.data(), b.d_query = dq.data(), b.d_key = dk.data(), b.d_value = dv.data();
    check(cuda::launch_gate_gradient(b, stream.get()), "gates");
    check(backward(b, stream.get()), "backward");
    result.d_gates = download(dg, stream), result.d_query = download(dq, stream), result.d_key = download(dk, stream), result.d_value = download(dv, stream);
    return result;
  };
  const Result result = run_in_every_order<Result>(name, run);
  expect_within(relative_error(from_bf16(result.full_only), full), BF16_TOLERANCE, name + " full");
  expect_within(relative_error(from_bf16(result.stream_only), streaming), BF16_TOLERANCE, name + " streaming");
  expect_within(relative_error(result.full, full), BF16_TOLERANCE, name + " full branch");
  expect_within(relative_error(result.streaming, streaming), BF16_TOLERANCE, name + " streaming branch");
  expect_within(relative_error(from_bf16(result.mixed), mixed), BF16_TOLERANCE, name + " mixed");
  expect_within(relative_error(result.d_query, d_query), 2 * BF16_TOLERANCE, name + " dQ");
  expect_within(relative_error(result.d_key, d_key), 2 * BF16_TOLERANCE, name + " dK");
  expect_within(relative_error(result.d_value, d_value), 2 * BF16_TOLERANCE, name + " dV");
  if (c.sink + c.recent >= c.tokens) {
    expect(result.full == result.streaming && std::all_of(result.d_gates.begin(), result.d_gates.end(), [](float x) { return x == 0; }), name + ": S + R >= T is full, bit for bit");
  } else {
    expect_within(relative_error(result.d_gates, d_gates), 2 * BF16_TOLERANCE, name + " gates");
  }
}

void test_products() {
  const Stream stream;
  struct Shape {
    int64_t m, n, k;
    bool deep;
  };
  for (const Shape &s : {Shape{1, 7, 8, false}, Shape{129, 65, 72, false}, Shape{70, 136, 40, true}, Shape{3, 8, 200, true}}) {
    Values values(static_cast<uint64_t>(s.m * 7 + s.k));
    const auto left = round_bf16(values.floats(s.m * s.k)), right = round_bf16(values.floats(s.n * s.k)), before = values.floats(s.m * s.n);
    std::vector<double> expected(static_cast<size_t>(s.m * s.n));
    for (int64_t r = 0; r < s.m; r++) {
      for (int64_t c = 0; c < s.n; c++) {
        for (int64_t i = 0; i < s.k; i++) expected[r * s.n + c] += static_cast<double>(left[r * s.k + i]) * (s.deep ? right[i * s.n + c] : right[c * s.k + i]);
      }
    }
    const auto a = upload(to_bf16(left), stream), b = upload(to_bf16(right), stream);
    const std::string name = "product " + std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k) + (s.deep ? " deep" : "");
    const auto run = [&] {
      auto out = upload(before, stream);
      const cuda::Product product{a.data(), b.data(), out.data(), s.m, s.n, s.k, s.k, s.deep ? s.n : s.k, s.n, s.deep, cuda::Store::add_f32};
      check(cuda::launch_product(product, stream.get()), "a product");
      return download(out, stream);
    };
    auto out = run_in_every_order<std::vector<float>>(name, run);
    for (size_t i = 0; i < out.size(); i++) out[i] -= before[i];
    expect_within(relative_error(out, expected), 1e-5, name);
  }
  expect(cuda::launch_product({nullptr, nullptr, nullptr, 8, 8, 12, 12, 12, 8, false, cuda::Store::f32}, stream.get()) == cudaErrorInvalidValue, "a depth of 12 is refused");
}

void test_vector_products() {
  const Stream stream;
  const cuda::DeviceSize device{4, 227 << 10}, small{3, 99 << 10};
  struct Shape {
    int batch;
    bool int8;
    int64_t depth, outputs;
    cuda::DeviceSize device;
    int stages;
  };
  // 9008: two pieces of the depth, three where a block has less shared memory; 700 outputs: more than one group of rounds.
  std::vector<Shape> shapes{{2, false, 9008, 5, device, 0}, {8, true, 9008, 3, small, 9}, {1, false, 8, 1, device, 2}, {1, true, 16, 700, {1, 99 << 10}, 3}, {4, false, 4096, 9, device, 4}};
  for (const int batch : {1, 3, 8}) {
    for (const bool int8 : {false, true}) shapes.push_back({batch, int8, 336, 37, device, 0});
  }
  for (const auto &[batch, int8, depth, outputs, size, stages] : shapes) {
    {
      Values values(static_cast<uint64_t>(batch));
      const auto weight = round_bf16(values.floats(2 * outputs * depth)), hidden = values.floats(batch * depth), norm = values.floats(depth), bias = values.floats(2 * outputs);
      const auto w = upload(to_bf16(weight), stream);
      DeviceBuffer<int8_t> quantized(2 * outputs * depth);
      DeviceBuffer<float> scale(2 * outputs);
      check(cuda::launch_quantize_rows(w.data(), 2 * outputs, depth, quantized.data(), scale.data(), stream.get()), "quantising");
      const auto raw = download(quantized, stream);
      const auto scales = download(scale, stream);
      const auto h = upload(hidden, stream), n = upload(norm, stream), b = upload(bias, stream);
      const std::string name = "vector product " + std::to_string(outputs) + "x" + std::to_string(depth) + ", batch " + std::to_string(batch) + (int8 ? " int8" : "");
      const auto run = [&, int8 = int8, depth = depth, outputs = outputs, batch = batch, size = size, stages = stages] {
      DeviceBuffer<uint16_t> out(batch * outputs);
      check(cuda::launch_vector_product({int8 ? static_cast<const void *>(quantized.data()) : w.data(), int8 ? scale.data() : nullptr, b.data(), nullptr, h.data(), n.data(), 1e-5f,
                                         depth, outputs, batch, out.data(), cuda::VectorStore::swiglu, size, 1, stages}, stream.get()), "a vector product");
      return download(out, stream);
      };
      const auto out = run_in_every_order<std::vector<uint16_t>>(name, run);
      std::vector<double> expected;
      for (int i = 0; i < batch; i++) {
        double square = 0;
        for (int64_t j = 0; j < depth; j++) square += static_cast<double>(hidden[i * depth + j]) * hidden[i * depth + j];
        const double inverse = 1 / std::sqrt(square / depth + 1e-5);
        std::vector<double> y;
        for (int64_t row = 0; row < 2 * outputs; row++) {
          double sum = bias[row];
          for (int64_t j = 0; j < depth; j++) {
            sum += hidden[i * depth + j] * inverse * norm[j] * (int8 ? static_cast<double>(raw[row * depth + j]) * scales[row] : weight[row * depth + j]);
          }
          y.push_back(sum);
        }
        for (int64_t o = 0; o < outputs; o++) expected.push_back(y[o] / (1 + std::exp(-y[o])) * y[o + outputs]);
      }
      expect_within(relative_error(from_bf16(out), expected), BF16_TOLERANCE, name);
    }
  }
}

// The residual stream, which a product is added to: more outputs a block than threads, a group of rounds that ends early.
void test_added_products() {
  const Stream stream;
  for (const auto &[outputs, depth, batch] : std::vector<std::array<int64_t, 3>>{{700, 64, 1}, {300, 128, 8}, {40, 2048, 3}}) {
    Values values(static_cast<uint64_t>(outputs));
    const auto weight = round_bf16(values.floats(outputs * depth)), x = round_bf16(values.floats(batch * depth)), before = values.floats(batch * outputs, 50.0);
    const auto w = upload(to_bf16(weight), stream), v = upload(to_bf16(x), stream);
    const std::string name = "added product " + std::to_string(outputs) + "x" + std::to_string(depth) + ", batch " + std::to_string(batch);
    const auto run = [&, outputs = outputs, depth = depth, batch = batch] {
      const auto out = upload(before, stream);
      check(cuda::launch_vector_product({w.data(), nullptr, nullptr, v.data(), nullptr, nullptr, 0.0f, depth, outputs, static_cast<int32_t>(batch), out.data(), cuda::VectorStore::add_f32, {1, 227 << 10}},
                                        stream.get()), "a vector product");
      return download(out, stream);
    };
    const auto out = run_in_every_order<std::vector<float>>(name, run);
    std::vector<double> expected, got(out.begin(), out.end());
    for (int64_t i = 0; i < batch * outputs; i++) {
      double sum = before[i];
      for (int64_t j = 0; j < depth; j++) sum += static_cast<double>(weight[i % outputs * depth + j]) * x[i / outputs * depth + j];
      expected.push_back(sum);
    }
    expect_within(relative_error(got, expected), 1e-5, name);
  }
}

// Logits that are NaN or infinite are found by the product that writes them.
void test_bad_logits() {
  const Stream stream;
  const int64_t outputs = 40, depth = 64, batch = 2;
  Values values(1);
  auto weight = round_bf16(values.floats(outputs * depth));
  std::vector<float> x(static_cast<size_t>(batch * depth), 1.0f);
  weight[17 * depth + 3] = weight[30 * depth] = std::numeric_limits<float>::infinity();
  x[depth + 3] = 0.0f;  // 0·∞ in the second vector, ∞ in the first
  const auto w = upload(to_bf16(weight), stream), v = upload(to_bf16(x), stream);
  for (const int32_t before : {cuda::NONE_BAD, 5}) {
    const auto first_bad = upload(std::vector<int32_t>(static_cast<size_t>(batch), before), stream);
    DeviceBuffer<float> out(batch * outputs);
    cuda::VectorProduct product{w.data(), nullptr, nullptr, v.data(), nullptr, nullptr, 0.0f, depth, outputs, batch, out.data(), cuda::VectorStore::f32, {3, 99 << 10}};
    product.first_bad = first_bad.data();
    check(cuda::launch_vector_product(product, stream.get()), "a vector product");
    const auto found = download(first_bad, stream);
    const int32_t expected = std::min(before, 17);
    expect(found[0] == expected && found[1] == expected, "the first logit that is not finite is found");
  }
}

struct DecodeCase {
  Dtype dtype;
  int64_t heads, kv_heads, head_dim;
  std::vector<int32_t> lengths;  // a session each
  int64_t retrieval;             // the first so many KV heads
  cuda::DecodeShape shape;       // blocks at least; zeros: chosen
  bool is_ready = false;         // queries rotated and the step's entries written beforehand
};

// A head vector normed (`norm` [D] or null) and rotated in fp64; cosine, sine [D/2].
std::vector<double> rotate_exactly(const float *vector, int64_t dim, const float *norm, float eps, const float *cosine, const float *sine) {
  double square = 0;
  for (int64_t i = 0; i < dim; i++) square += static_cast<double>(vector[i]) * vector[i];
  const double scale = norm == nullptr ? 1 : 1 / std::sqrt(square / static_cast<double>(dim) + eps);
  std::vector<double> out(static_cast<size_t>(dim));
  for (int64_t i = 0; i < dim / 2; i++) {
    const double first = vector[i] * scale * (norm == nullptr ? 1 : norm[i]), second = vector[i + dim / 2] * scale * (norm == nullptr ? 1 : norm[i + dim / 2]);
    out[i] = first * cosine[i] - second * sine[i];
    out[i + dim / 2] = second * cosine[i] + first * sine[i];
  }
  return out;
}

// Every cache format: what is read back is what CPU arithmetic says, the step's entry is written and nothing else, and decode attends to exactly the
// entries seen.
void test_decode(const DecodeCase &c) {
  const Stream stream;
  const int64_t slots = 700, sink = 5, recent = 41, batch = static_cast<int64_t>(c.lengths.size()), group = c.heads / c.kv_heads, pairs = batch * c.kv_heads;
  Values values(static_cast<uint64_t>(c.lengths.front() + c.head_dim));
  const int64_t row_bytes = cuda::kv_row_bytes(c.dtype, static_cast<int>(c.head_dim));
  DeviceBuffer<uint8_t> memory(2 * pairs * slots * row_bytes);
  DeviceBuffer<uint32_t> scales(2 * pairs * slots);
  std::vector<cuda::HeadCache> caches;
  for (int64_t index = 0; index < pairs; index++) {
    const bool ring = index % c.kv_heads >= c.retrieval;
    caches.push_back({memory.data() + 2 * index * slots * row_bytes, memory.data() + (2 * index + 1) * slots * row_bytes, scales.data() + 2 * index * slots,
                      scales.data() + (2 * index + 1) * slots, ring ? sink + recent : slots, ring});
    check(cuda::launch_fill_cache(caches.back(), c.dtype, static_cast<int32_t>(c.head_dim), static_cast<uint64_t>(index), stream.get()), "filling");
  }
  const auto cache_buffer = upload(caches, stream);
  const auto length_buffer = upload(c.lengths, stream);
  std::vector<cuda::DecodeMember> members;
  for (int64_t m = 0; m < batch; m++) members.push_back({cache_buffer.data() + m * c.kv_heads, length_buffer.data() + m, sink, recent});
  const auto member_buffer = upload(members, stream);
  const int64_t width = (c.heads + 2 * c.kv_heads) * c.head_dim;
  const auto query = round_bf16(values.floats(batch * c.heads * c.head_dim, 2.0)), projected = round_bf16(values.floats(batch * width, 2.0));
  const auto angles = values.floats(batch * c.head_dim / 2, 3.0), query_norm = values.floats(c.head_dim), key_norm = values.floats(c.head_dim);
  std::vector<float> cosines, sines;
  for (const float angle : angles) cosines.push_back(std::cos(angle)), sines.push_back(std::sin(angle));
  const auto q = upload(to_bf16(query), stream), qkv = upload(to_bf16(projected), stream);
  const auto query_norm_buffer = upload(query_norm, stream), key_norm_buffer = upload(key_norm, stream), cosine = upload(cosines, stream), sine = upload(sines, stream);
  const bool has_norm = c.heads % 4 == 0;
  const float eps = 1e-5f;
  const cuda::DecodeProjections projections{qkv.data(), has_norm ? query_norm_buffer.data() : nullptr, has_norm ? key_norm_buffer.data() : nullptr, eps, cosine.data(), sine.data()};
  const cuda::DecodeShape shape = cuda::choose_decode_shape(c.dtype, static_cast<int>(c.head_dim), 4, 227 << 10, c.shape);
  DeviceBuffer<cuda::DecodeHead> plan(pairs + 1);
  const int64_t parts = (shape.blocks + pairs) * group;
  std::string name = "decode kv " + std::to_string(static_cast<int>(c.dtype)) + " H" + std::to_string(c.heads) + " G" + std::to_string(c.kv_heads) + " D" + std::to_string(c.head_dim) +
                     " blocks " + std::to_string(shape.blocks) + " length";
  for (const int32_t length : c.lengths) name += " " + std::to_string(length);
  DeviceBuffer<int32_t> arrived(batch * c.heads);
  cuda::clear(arrived, stream);  // once: a launch leaves zeros for the next
  const auto run = [&] {
    DeviceBuffer<uint16_t> out(batch * c.heads * c.head_dim);
    DeviceBuffer<float> partial(parts * c.head_dim), partial_scale(parts * 2);
    check(cuda::launch_decode_plan(member_buffer.data(), static_cast<int32_t>(batch), 1, static_cast<int32_t>(c.kv_heads), plan.data(), stream.get()), "a plan");
    check(cuda::launch_decode_attention({plan.data(), shape, static_cast<int32_t>(batch), static_cast<int32_t>(c.heads), static_cast<int32_t>(c.kv_heads),
                                         static_cast<int32_t>(c.head_dim), c.dtype, c.is_ready ? q.data() : nullptr, projections, partial.data(), partial_scale.data(), arrived.data(), out.data()},
                                        stream.get()), "decode attention");
    return download(out, stream);
  };
  const auto bytes_before = download(memory, stream);
  const auto words_before = download(scales, stream);
  const auto out = run_in_every_order<std::vector<uint16_t>>(name, run);

  // The plan: every head's tiles once, in order, after what a head costs besides.
  const auto heads = download(plan, stream);
  int64_t place = 0;
  bool is_placed = true;
  for (int64_t index = 0; index < pairs; index++) {
    const int64_t length = c.lengths[static_cast<size_t>(index / c.kv_heads)], entries = std::min<int64_t>(length + 1, caches[index].slots);
    const int64_t fresh = !caches[index].is_ring || length < sink ? length : sink + (length - sink) % recent;
    place += cuda::DECODE_HEAD_TILES;
    is_placed &= heads[index].entries == entries && heads[index].fresh == fresh && heads[index].first_tile == place && heads[index].key == caches[index].key;
    place += (entries + cuda::DECODE_TILE - 1) / cuda::DECODE_TILE;
  }
  expect(is_placed && heads[pairs].first_tile == place + cuda::DECODE_HEAD_TILES, name + ": the plan");

  const auto bytes = download(memory, stream);
  const auto words = download(scales, stream);
  const auto element = [&](int64_t head, bool is_value, int64_t slot, int64_t i) -> double {
    const int64_t at = 2 * head + is_value;
    const uint8_t *row = bytes.data() + (at * slots + slot) * row_bytes;
    const uint32_t word = words[at * slots + slot];
    uint16_t half;
    float single;
    switch (c.dtype) {
      case Dtype::f32: std::memcpy(&single, row + 4 * i, 4); return single;
      case Dtype::bf16: std::memcpy(&half, row + 2 * i, 2); return bf16_to_float(half);
      case Dtype::int8: return static_cast<double>(static_cast<int8_t>(row[i])) * bits_to_float(word);
      case Dtype::fp8: {
        const int exponent = row[i] >> 3 & 15, mantissa = row[i] & 7;
        const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
        return (row[i] & 0x80 ? -magnitude : magnitude) * bits_to_float(word);
      }
      default: return ((row[i / 2] >> (4 * (i % 2)) & 15) - static_cast<double>(f16_to_float(static_cast<uint16_t>(word >> 16)))) * f16_to_float(static_cast<uint16_t>(word));
    }
  };
  const auto cosine_of = [&](int64_t member) { return cosines.data() + member * c.head_dim / 2; };
  const auto sine_of = [&](int64_t member) { return sines.data() + member * c.head_dim / 2; };
  const double step = c.dtype == Dtype::f32 ? 0 : c.dtype == Dtype::bf16 ? 1.0 / 256 : c.dtype == Dtype::int8 ? 1.0 / 254 : c.dtype == Dtype::fp8 ? 1.0 / 16 : 1.0 / 12;
  if (!c.is_ready) {
    std::vector<double> written, wanted;
    std::vector<uint8_t> changed(bytes.size(), 0), changed_words(words.size(), 0);
    for (int64_t index = 0; index < pairs; index++) {
      const int64_t member = index / c.kv_heads, fresh = heads[static_cast<size_t>(index)].fresh;
      const float *key = projected.data() + member * width + (c.heads + index % c.kv_heads) * c.head_dim, *value = key + c.kv_heads * c.head_dim;
      const auto rotated = rotate_exactly(key, c.head_dim, has_norm ? key_norm.data() : nullptr, eps, cosine_of(member), sine_of(member));
      for (const bool is_value : {false, true}) {
        for (int64_t i = 0; i < c.head_dim; i++) written.push_back(element(index, is_value, fresh, i)), wanted.push_back(is_value ? value[i] : rotated[i]);
        const int64_t at = (2 * index + is_value) * slots + fresh;
        std::fill_n(changed.begin() + at * row_bytes, row_bytes, 1), changed_words[at] = 1;
      }
    }
    expect_within(relative_error(written, wanted), step + 1e-6, name + ": the step's entries");
    bool is_kept = true;
    for (size_t i = 0; i < bytes.size(); i++) is_kept &= changed[i] != 0 || bytes[i] == bytes_before[i];
    for (size_t i = 0; i < words.size(); i++) is_kept &= changed_words[i] != 0 || words[i] == words_before[i];
    expect(is_kept, name + ": other entries are as they were");
  } else {
    expect(bytes == bytes_before && words == words_before, name + ": all entries are as they were");
  }
  std::vector<double> expected;
  for (int64_t h = 0; h < batch * c.heads; h++) {
    const int64_t member = h / c.heads;
    const auto made = rotate_exactly(projected.data() + member * width + h % c.heads * c.head_dim, c.head_dim, has_norm ? query_norm.data() : nullptr, eps, cosine_of(member),
                                     sine_of(member));
    const auto query_of = [&](int64_t i) { return c.is_ready ? static_cast<double>(query[h * c.head_dim + i]) : made[static_cast<size_t>(i)]; };
    const int64_t head = h / group, entries = heads[static_cast<size_t>(head)].entries;
    std::vector<double> weight;
    double best = -1e30, sum = 0;
    for (int64_t j = 0; j < entries; j++) {
      double score = 0;
      for (int64_t i = 0; i < c.head_dim; i++) score += query_of(i) * element(head, false, j, i);
      weight.push_back(score / std::sqrt(static_cast<double>(c.head_dim)));
      best = std::max(best, weight.back());
    }
    for (double &w : weight) sum += w = std::exp(w - best);
    for (int64_t i = 0; i < c.head_dim; i++) {
      double value = 0;
      for (int64_t j = 0; j < entries; j++) value += weight[j] / sum * element(head, true, j, i);
      expected.push_back(value);
    }
  }
  expect_within(relative_error(from_bf16(out), expected), BF16_TOLERANCE, name);
  // The format keeps what its bits allow: random values of unit scale, largest about 3.4.
  std::vector<double> stored, wanted;
  DeviceBuffer<uint8_t> exact(2 * slots * 4 * c.head_dim);
  cuda::HeadCache plain{exact.data(), exact.data() + slots * 4 * c.head_dim, nullptr, nullptr, slots, 0};
  check(cuda::launch_fill_cache(plain, Dtype::f32, static_cast<int32_t>(c.head_dim), 0, stream.get()), "filling");
  const auto exact_bytes = download(exact, stream);
  for (int64_t i = 0; i < c.head_dim * 20; i++) {
    if (!c.is_ready && i / c.head_dim == heads[0].fresh) continue;
    float value;
    std::memcpy(&value, exact_bytes.data() + 4 * i, 4);
    wanted.push_back(value);
    stored.push_back(element(0, false, i / c.head_dim, i % c.head_dim));
  }
  expect_within(relative_error(stored, wanted), step, name + " storage");
}

void test_sampling() {
  const Stream stream;
  const int64_t vocab = 300;
  Values values(5);
  const auto logits = values.floats(vocab, 4.0);
  const auto l = upload(logits, stream);
  const auto length = upload(std::vector<int32_t>{17}, stream);
  DeviceBuffer<double> weights(vocab);
  DeviceBuffer<int32_t> token(1);
  std::vector<int32_t> order;
  for (int32_t i = 0; i < vocab; i++) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
  const auto draw = [&](float temperature, int32_t k, float p, uint64_t seed) {
    check(cuda::launch_sample({l.data(), vocab, length.data(), temperature, p, k, seed, weights.data(), token.data()}, stream.get()), "a draw");
    return download(token, stream)[0];
  };
  expect(draw(0, 0, 1, 1) == order[0], "greedy takes the largest");
  for (uint64_t seed = 0; seed < 4; seed++) {
    expect(draw(1, 1, 1, seed) == order[0], "k = 1 is greedy");
    const int32_t drawn = draw(2, 3, 1, seed);
    expect(std::find(order.begin(), order.begin() + 3, drawn) != order.begin() + 3, "k = 3 draws one of three");
    expect(draw(1, 0, 1e-6f, seed) == order[0], "a tiny p is greedy");
  }
}

// `is_slow`: under racecheck, which takes minutes for more: two tiles of each head_dim.
void test_all_attention(bool is_slow) {
  for (const bool is_hopper : {false, true}) {
    if (is_hopper && !cuda::has_hopper()) {
      std::printf("skipped: attention by wgmma needs a Hopper GPU\n");
      continue;
    }
    if (!is_hopper) test_attention({4, 2, 32, 70, 3, 9, {}}, false);
    test_attention({3, 3, 64, 131, 0, 20, {}}, is_hopper);
    test_attention({4, 1, 128, 97, 70, 5, {}}, is_hopper);
    if (is_slow) continue;
    if (!is_hopper) test_attention({2, 2, 32, 1, 0, 1, {}}, false);
    if (!is_hopper) test_attention({6, 3, 32, 200, 10, 30, {0, 5, 66, 130, 199}}, false);
    test_attention({1, 1, 64, 1, 0, 1, {}}, is_hopper);
    test_attention({2, 1, 64, 65, 10, 60, {}}, is_hopper);
    // Tiles of 128: windows that end inside, at and past a tile, a sink of whole tiles, rows far apart.
    test_attention({4, 2, 128, 390, 128, 129, {}}, is_hopper);
    test_attention({2, 2, 64, 513, 0, 100, {}}, is_hopper);
    test_attention({2, 1, 128, 400, 140, 40, {0, 127, 128, 300, 399}}, is_hopper);
  }
}

void test_all_decode() {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::int8, Dtype::fp8, Dtype::int4}) {
    test_decode({dtype, 4, 2, 64, {600}, 1, {}});
    test_decode({dtype, 4, 2, 128, {130, 31}, 1, {2, 2, 3}});
    test_decode({dtype, 20, 2, 32, {65}, 1, {8, 9, 7}});
  }
  // One entry; around a tile's and a piece's end; blocks without work; streaming heads alone; one retrieval head; sessions of unlike lengths.
  test_decode({Dtype::bf16, 3, 3, 32, {0}, 2, {0, 0, 9}});
  for (const int32_t length : {14, 15, 16, 30, 31, 32, 126, 127, 128}) test_decode({Dtype::bf16, 2, 1, 32, {length}, 1, {3, 3, 2}});
  test_decode({Dtype::bf16, 18, 1, 128, {130}, 1, {}});
  test_decode({Dtype::int8, 4, 4, 64, {699}, 0, {4, 3, 5}});
  test_decode({Dtype::bf16, 8, 8, 64, {413}, 1, {4, 3, 40}});
  test_decode({Dtype::int4, 8, 2, 128, {44}, 1, {}});
  // Joins of all shares at once, and of as many as there is room for; of more quads a share than threads.
  test_decode({Dtype::bf16, 8, 1, 128, {690}, 1, {8, 2, 40}});
  test_decode({Dtype::bf16, 8, 1, 128, {690}, 1, {2, 2, 40, 1}});
  test_decode({Dtype::bf16, 10, 1, 128, {690}, 1, {1, 3, 20, 1}});
  test_decode({Dtype::fp8, 10, 5, 64, {3, 650, 46}, 3, {4, 2, 11}});
  test_decode({Dtype::bf16, 40, 40, 32, {90, 2}, 20, {2, 2, 33}});
  test_decode({Dtype::bf16, 8, 2, 128, {130, 31}, 1, {2, 2, 3}, true});
  test_decode({Dtype::int4, 20, 2, 64, {650}, 1, {}, true});
}

}  // namespace

// Usage: test_cuda_ops [products] [attention] [small-attention] [decode] [sampling]   (default all): one part at a time for slow tools, and attention
// on small shapes.
int main(int count, char **values) {
  const std::vector<std::string> parts(values + 1, values + count), known{"products", "attention", "small-attention", "decode", "sampling"};
  for (const std::string &part : parts) expect(std::find(known.begin(), known.end(), part) != known.end(), "a part is products, attention, small-attention, decode or sampling, got " + part);
  const auto wants = [&](const char *part) { return parts.empty() || std::find(parts.begin(), parts.end(), part) != parts.end(); };
  if (wants("products")) {
    test_products();
    test_vector_products();
    test_added_products();
    test_bad_logits();
  }
  if (wants("attention") || wants("small-attention")) test_all_attention(!wants("attention"));
  if (wants("decode")) test_all_decode();
  if (wants("sampling")) test_sampling();
  return finish();
}

// CUDA's operations: each is checked against fp64 on the host, on rows spread over the output, then timed with cold
// caches.
#include <cstring>
#include <functional>
#include <vector>

#include "attention_reference.h"
#include "cuda/branch_gradient.h"
#include "cuda/decode_attention.h"
#include "cuda/device_timer.h"
#include "cuda/layer_ops.h"
#include "cuda/linear_algebra.h"
#include "cuda/matvec.h"
#include "cuda/skinny_product.h"
#include "kv_rows.h"
#include "ops.h"

namespace duo::bench {

void bench_decode_step(int device_index, const std::vector<int64_t> &sizes, int32_t num_repeats, double *seconds,
                       double *relative_error);  // decode_step.cu

namespace {

using namespace duo::cuda;
using test::AttentionProblem;

constexpr int64_t COLD_BYTES = int64_t{256} << 20;  // several times any L2: buffers used in turn are out of it again
constexpr int CHECKED_ROWS = 6;

// Keeps the device busy while the host queues what is timed: what a launch costs the host is no part of a kernel's
// time.
__global__ void hold_kernel() {
#if defined(__CUDA_ARCH__)
  const long long begin = clock64();
  while (clock64() - begin < 60000) {}
#endif
}

struct Bench {
  const std::vector<int64_t> &sizes;
  int32_t repeats;
  double *seconds, *relative_error;
  Stream stream;

  // Random bf16 of unit scale, made on the device by the cache filler.
  DeviceBuffer<bf16> random(int64_t count, uint64_t seed) const {
    const int64_t slots = ceil_divide(count, 128);
    DeviceBuffer<bf16> out(2 * slots * 64);  // "keys" then "values"
    const HeadCache cache{reinterpret_cast<uint8_t *>(out.data()),
                          reinterpret_cast<uint8_t *>(out.data() + slots * 64),
                          nullptr,
                          nullptr,
                          slots,
                          0,
                          0,
                          0};
    check(launch_fill_cache(cache, Dtype::bf16, 64, seed, stream.get()), "making numbers");
    return out;
  }
  std::vector<float> host(const DeviceBuffer<bf16> &buffer, int64_t begin, int64_t count) const {
    std::vector<bf16> raw(static_cast<size_t>(count));
    copy_to_host(raw.data(), buffer.data() + begin, count, stream);
    std::vector<float> out;
    for (const bf16 value : raw) out.push_back(bf16_to_float(value));
    return out;
  }
  void run(const std::function<void(int64_t)> &body) const {
    for (int32_t i = 0; i < repeats; i++) {
      check(launch({dim3(1), 32}, stream.get(), hold_kernel), "holding the device");
      seconds[i] = time_seconds(stream, [&] { body(i + 1); });
    }
  }
  void compare(const std::vector<double> &got, const std::vector<double> &expected) const {
    *relative_error = duo::relative_error(got, expected);
  }
};

void bench_product(Bench &b, int device_index, bool own) {
  const int64_t m = b.sizes[0], n = b.sizes[1], k = b.sizes[2];
  const auto left = b.random(m * k, 1), right = b.random(n * k, 2);
  DeviceBuffer<bf16> out(m * n);
  LinearAlgebra algebra(device_index);
  const Product product{left.data(), right.data(), out.data(), m, n, k, k, k, n, false, Store::half};
  const auto multiply = [&](int64_t) {
    if (own) {
      check(launch_product(product, b.stream.get()), "a product");
    } else {
      algebra.multiply(product, b.stream);
    }
  };
  multiply(0);
  std::vector<double> got, expected;
  const auto w = b.host(right, 0, std::min<int64_t>(n, 64) * k);
  for (int i = 0; i < CHECKED_ROWS; i++) {
    const int64_t row = i * (m - 1) / (CHECKED_ROWS - 1);
    const auto x = b.host(left, row * k, k), y = b.host(out, row * n, std::min<int64_t>(n, 64));
    for (size_t c = 0; c < y.size(); c++) {
      double sum = 0;
      for (int64_t j = 0; j < k; j++) sum += static_cast<double>(x[j]) * static_cast<double>(w[c * k + j]);
      got.push_back(y[c]), expected.push_back(sum);
    }
  }
  b.compare(got, expected);
  b.run(multiply);
}

// Weights of one format, `copies` of them: random codes, scales near 0.01. What reads them in turn finds none in L2.
struct BenchWeights {
  PackedShape shape;
  std::vector<DeviceBuffer<bf16>> codes;  // bytes of any format
  std::vector<DeviceBuffer<uint32_t>> scales;
  DeviceBuffer<float> row_scale;
  std::vector<uint32_t> words;

  BenchWeights(const Bench &b, WeightFormat format, int64_t rows, int64_t columns) : shape{format, rows, columns} {
    const int64_t bytes = has_groups(format)             ? shape.code_bytes()
                          : format == WeightFormat::int8 ? rows * columns
                                                         : 2 * rows * columns;
    uint32_t state = 1;
    const auto draw = [&state] { return state = state * 1664525u + 1013904223u; };
    if (has_groups(format)) {
      // fp16 of 2^-7 … 2^-6 in both halves, minima of either sign.
      for (int64_t i = 0; i < shape.scale_words(); i++)
        words.push_back(0x20002000u | (draw() >> 6 & 0x03ff03ffu) | (draw() & 0x80000000u));
    }
    const std::vector<float> scale(static_cast<size_t>(rows), 0.01f);
    row_scale.resize(rows);
    copy_to_device(row_scale.data(), scale.data(), rows, b.stream);
    for (int64_t i = 0; i < std::min<int64_t>(16, 1 + COLD_BYTES / bytes); i++) {
      codes.push_back(b.random(ceil_divide(bytes, 2), static_cast<uint64_t>(i)));
      scales.emplace_back(static_cast<int64_t>(words.size()));
      if (!words.empty())
        copy_to_device(scales.back().data(), words.data(), static_cast<int64_t>(words.size()), b.stream);
    }
    b.stream.wait();
  }
  void set(VectorProduct &product, int64_t turn) const {
    const auto copy = static_cast<size_t>(turn) % codes.size();
    product.weight = codes[copy].data(), product.scales = scales[copy].data(), product.row_scale = row_scale.data();
    product.format = shape.format;
  }
  // Row `row` of the first copy.
  std::vector<double> row(const Bench &b, int64_t row) const {
    std::vector<double> out(static_cast<size_t>(shape.columns));
    if (shape.format == WeightFormat::bf16) {
      const auto values = b.host(codes[0], row * shape.columns, shape.columns);
      std::copy(values.begin(), values.end(), out.begin());
      return out;
    }
    const int64_t row_bytes = has_groups(shape.format) ? shape.row_bytes() : shape.columns;
    std::vector<uint8_t> raw(static_cast<size_t>(row_bytes));
    copy_to_host(raw.data(), reinterpret_cast<const uint8_t *>(codes[0].data()) + row * row_bytes, row_bytes, b.stream);
    if (shape.format == WeightFormat::int8) {
      for (size_t i = 0; i < out.size(); i++) out[i] = 0.01f * static_cast<double>(static_cast<int8_t>(raw[i]));
    } else {
      // A block of 8 rows by itself, of which only this one is looked at.
      const int64_t block = row / SCALE_ROWS, in_block = row % SCALE_ROWS;
      std::vector<uint8_t> rows(static_cast<size_t>(SCALE_ROWS * row_bytes));
      std::copy(raw.begin(), raw.end(), rows.begin() + in_block * row_bytes);
      unpack_row({shape.format, SCALE_ROWS, shape.columns}, rows.data(),
                 words.data() + block * SCALE_ROWS * shape.row_words(), in_block, out.data());
    }
    return out;
  }
};

void bench_vector_product(Bench &b, const DeviceSize &device, bool is_skinny) {
  const int64_t outputs = b.sizes[0], depth = b.sizes[1], batch = b.sizes[2];
  const BenchWeights weights(b, static_cast<WeightFormat>(b.sizes[3]), outputs, depth);
  const auto x = b.random(batch * depth, 99);
  DeviceBuffer<float> out(batch * outputs), partial;
  VectorProduct product{};
  weights.set(product, 0);
  product.x = x.data();
  product.depth = depth, product.outputs = outputs, product.batch = static_cast<int32_t>(batch);
  product.out = out.data();
  product.store = VectorStore::f32;
  product.device = device;
  product.stages = static_cast<int32_t>(b.sizes[4]);
  product.blocks_a_multiprocessor = is_skinny ? 1 : static_cast<int32_t>(std::max<int64_t>(1, b.sizes[5]));
  if (is_skinny) partial.resize(skinny_partial_floats(product));
  const auto multiply = [&](int64_t turn) {
    weights.set(product, turn);
    check(is_skinny ? launch_skinny_product(product, partial.data(), b.stream.get())
                    : launch_vector_product(product, b.stream.get()),
          "a product of few vectors");
  };
  multiply(0);
  std::vector<float> y(static_cast<size_t>(batch * outputs));
  copy_to_host(y.data(), out.data(), batch * outputs, b.stream);
  const auto input = b.host(x, 0, batch * depth);
  std::vector<double> got, expected;
  for (int64_t row = 0; row < outputs; row += outputs / CHECKED_ROWS + 1) {
    const auto w = weights.row(b, row);
    for (int64_t i = 0; i < batch; i++) {
      double sum = 0;
      for (int64_t j = 0; j < depth; j++)
        sum += static_cast<double>(input[static_cast<size_t>(i * depth + j)]) * w[static_cast<size_t>(j)];
      got.push_back(y[static_cast<size_t>(i * outputs + row)]), expected.push_back(sum);
    }
  }
  b.compare(got, expected);
  b.run(multiply);
}

// Rows of a head's cache on the host, as the numbers they stand for.
std::vector<float> host_rows(const Bench &b, const uint8_t *from, const uint32_t *scales, int64_t rows, int64_t dim,
                             Dtype dtype) {
  const int64_t row_bytes = test::kv_bytes(dtype, dim);
  std::vector<uint8_t> raw(static_cast<size_t>(rows * row_bytes));
  std::vector<uint32_t> words(static_cast<size_t>(rows));
  copy_to_host(raw.data(), from, static_cast<int64_t>(raw.size()), b.stream);
  if (scales != nullptr) copy_to_host(words.data(), scales, rows, b.stream);
  std::vector<float> out;
  for (int64_t i = 0; i < rows * dim; i++)
    out.push_back(static_cast<float>(
        test::kv_value(dtype, raw.data() + i / dim * row_bytes, words[static_cast<size_t>(i / dim)], i % dim)));
  return out;
}

// One query of one head, at the last of `keys`.
AttentionProblem one_row(int64_t dim, int64_t keys, int64_t sink, int64_t recent, std::vector<float> query,
                         std::vector<float> key, std::vector<float> value) {
  AttentionProblem p{};
  p.heads = p.kv_heads = 1, p.dim = dim, p.tokens = keys, p.sink = sink, p.recent = recent;
  p.positions = {static_cast<int32_t>(keys - 1)};
  p.query = std::move(query), p.key = std::move(key), p.value = std::move(value);
  return p;
}

// Windows of the streaming heads that follow `retrieval` retrieval heads (window 0): `recent`, or on a ladder tokens/2,
// tokens/4 … down to 1.
std::vector<int64_t> list_windows(int64_t kv_heads, int64_t retrieval, int64_t tokens, int64_t recent, bool is_ladder) {
  std::vector<int64_t> windows;
  for (int64_t head = 0; head < kv_heads; head++) {
    const int64_t rung =
        std::max<int64_t>(1, tokens >> std::max<int64_t>(0, std::min<int64_t>(head - retrieval + 1, 62)));
    windows.push_back(head < retrieval ? 0 : is_ladder ? rung : recent);
  }
  return windows;
}

void bench_decode(Bench &b, const DeviceSize &device) {
  const int64_t heads = b.sizes[0], kv_heads = b.sizes[1], dim = b.sizes[2], tokens = b.sizes[3],
                retrieval = b.sizes[4], sink = b.sizes[5], recent = b.sizes[6];
  const auto dtype = static_cast<Dtype>(b.sizes[7]);
  if (kv_heads < 1 || heads % kv_heads != 0 || tokens < 1 || retrieval > kv_heads || recent < 1)
    fail(DUO_STATUS_ARGUMENT,
         "Expected H a multiple of G, 1 or more tokens, at most G retrieval heads, R of at least 1");
  const int64_t key_row = kv_key_bytes(dtype, static_cast<int>(dim)), group = heads / kv_heads;
  const auto windows = list_windows(kv_heads, retrieval, tokens, recent, b.sizes[11] != 0);
  const auto slots_of = [&](int64_t head) {
    const int64_t window = windows[static_cast<size_t>(head)];
    return window == 0 ? tokens : std::min(tokens, sink + window);
  };
  int64_t entries = 0;
  for (int64_t head = 0; head < kv_heads; head++) entries += slots_of(head);
  const int64_t bytes = kv_entry_bytes(dtype, static_cast<int>(dim)) * entries;
  const int64_t copies = std::min<int64_t>(64, 1 + COLD_BYTES / bytes);
  const DecodeShape shape = choose_decode_shape(dtype, static_cast<int>(dim), static_cast<int>(heads / kv_heads),
                                                device.multiprocessors, device.shared_bytes,
                                                {static_cast<int32_t>(b.sizes[8]), static_cast<int32_t>(b.sizes[9]),
                                                 static_cast<int32_t>(b.sizes[10]) * device.multiprocessors});
  std::vector<DeviceBuffer<uint8_t>> memory;
  std::vector<DeviceBuffer<HeadCache>> tables;
  std::vector<DeviceBuffer<DecodeHead>> plans;
  std::vector<HeadCache> first_caches;
  const int32_t length = static_cast<int32_t>(tokens - 1);
  for (int64_t copy = 0; copy < copies; copy++) {
    std::vector<HeadCache> caches;
    for (int64_t head = 0; head < kv_heads; head++) {
      const int64_t slots = slots_of(head), part = (slots * key_row + 255) / 256 * 256;
      memory.emplace_back(2 * part + 8 * slots + 16);
      uint8_t *at = memory.back().data();
      auto *scale = reinterpret_cast<uint32_t *>(at + 2 * part);
      const bool has_scale = kv_scale_bytes(dtype) > 0;
      caches.push_back({at, at + part, has_scale ? scale : nullptr, has_scale ? scale + slots : nullptr, slots,
                        head >= retrieval, sink, windows[static_cast<size_t>(head)]});
      check(launch_fill_cache(caches.back(), dtype, static_cast<int32_t>(dim),
                              static_cast<uint64_t>(copy * kv_heads + head), b.stream.get()),
            "filling a cache");
    }
    if (copy == 0) first_caches = caches;
    tables.emplace_back(kv_heads);
    copy_to_device(tables.back().data(), caches.data(), kv_heads, b.stream);
    const DecodeMember member{tables.back().data(), nullptr, nullptr, 1.0f, length};
    DeviceBuffer<DecodeMember> member_buffer(1);
    copy_to_device(member_buffer.data(), &member, 1, b.stream);
    plans.emplace_back(kv_heads + 1);
    check(launch_decode_plan(member_buffer.data(), 1, 1, static_cast<int32_t>(kv_heads), plans.back().data(),
                             b.stream.get()),
          "sharing out a step");
    b.stream.wait();
  }
  const auto query = b.random(heads * dim, 77);
  const int64_t parts = (shape.blocks + kv_heads) * group;
  DeviceBuffer<float> partial(parts * dim), partial_scale(parts * 2);
  DeviceBuffer<bf16> out(heads * dim);
  DeviceBuffer<int32_t> arrived(heads);
  clear(arrived, b.stream);
  const auto attend = [&](int64_t turn) {
    DecodeAttention a{};
    a.plan = plans[static_cast<size_t>(turn % copies)].data(), a.shape = shape, a.batch = 1;
    a.heads = static_cast<int32_t>(heads), a.kv_heads = static_cast<int32_t>(kv_heads),
    a.head_dim = static_cast<int32_t>(dim), a.dtype = dtype;
    a.query = query.data(), a.partial = partial.data(), a.partial_scale = partial_scale.data(),
    a.arrived = arrived.data(), a.out = out.data();
    check(launch_decode_attention(a, b.stream.get()), "decode attention");
  };
  attend(0);
  std::vector<double> got, expected;
  for (const int64_t head : {int64_t{0}, kv_heads / 2, kv_heads - 1}) {
    const HeadCache &cache = first_caches[static_cast<size_t>(head)];
    const auto key = host_rows(b, cache.key, cache.key_scale, cache.slots, dim, key_dtype(dtype)),
               value = host_rows(b, cache.value, cache.value_scale, cache.slots, dim, value_dtype(dtype));
    const auto q = b.host(query, head * group * dim, dim), y = b.host(out, head * group * dim, dim);
    for (const double x : test::attend_exactly(one_row(dim, cache.slots, 0, 1, q, key, value), false).out)
      expected.push_back(x);
    for (const float x : y) got.push_back(x);
  }
  b.compare(got, expected);
  b.run(attend);
}

void bench_attention(Bench &b, bool backward) {
  const int64_t tokens = b.sizes[0], heads = b.sizes[1], kv_heads = b.sizes[2], dim = b.sizes[3], sink = b.sizes[4],
                recent = b.sizes[5], kind = b.sizes[6];
  if (tokens < 1 || kv_heads < 1 || heads % kv_heads != 0 || recent < 1 || kind > 2)
    fail(DUO_STATUS_ARGUMENT, "Expected tokens, H a multiple of G, R of at least 1, a kind of 0 to 2");
  const int64_t width = heads * dim, kv_width = kv_heads * dim, group = heads / kv_heads;
  const auto query = b.random(tokens * width, 1), key = b.random(tokens * kv_width, 2),
             value = b.random(tokens * kv_width, 3), gradient = b.random(backward ? tokens * width : 1, 4);
  DeviceBuffer<int32_t> positions(tokens), list(kv_heads);
  check(launch_count_up(0, tokens, positions.data(), b.stream.get()), "numbering");
  check(launch_count_up(0, kv_heads, list.data(), b.stream.get()), "numbering");
  const float gate = kind == 0 ? 1.0f : kind == 1 ? 0.0f : 0.5f;
  const std::vector<float> gate_values(static_cast<size_t>(kv_heads), gate);
  const auto window_values = list_windows(kv_heads, 0, tokens, recent, b.sizes[7] != 0);
  DeviceBuffer<int64_t> windows(kv_heads);
  copy_to_device(windows.data(), window_values.data(), kv_heads, b.stream);
  DeviceBuffer<float> gates(kv_heads);
  copy_to_device(gates.data(), gate_values.data(), kv_heads, b.stream);
  DeviceBuffer<bf16> mixed(tokens * width);
  DeviceBuffer<float> full, streaming, full_lse, stream_lse, deltas, d_gates, d_query, d_key, d_value;
  DeviceBuffer<bf16> difference;
  DeviceBuffer<double> partial;
  AttentionForward a{};
  a.shape = {static_cast<int32_t>(heads), static_cast<int32_t>(kv_heads), static_cast<int32_t>(dim), sink,
             windows.data()};
  a.query = query.data(), a.positions = positions.data(), a.num_rows = a.chunk_count = tokens;
  a.dtype = Dtype::bf16;
  a.chunk_key = reinterpret_cast<const uint8_t *>(key.data()),
  a.chunk_value = reinterpret_cast<const uint8_t *>(value.data());
  a.kv_list = list.data(), a.num_listed = static_cast<int32_t>(kv_heads), a.gates = gates.data(),
  a.mixed = mixed.data();
  AttentionBackward g{};
  if (backward) {
    for (auto *buffer : {&full, &streaming, &d_query}) buffer->resize(tokens * width);
    for (auto *buffer : {&full_lse, &stream_lse}) buffer->resize(tokens * heads);
    for (auto *buffer : {&d_key, &d_value}) buffer->resize(tokens * kv_width);
    deltas.resize(3 * tokens * heads), d_gates.resize(kv_heads), difference.resize(tokens * width),
        partial.resize(kv_heads * GATE_SLICES);
    a.full = full.data(), a.stream = streaming.data(), a.full_lse = full_lse.data(), a.stream_lse = stream_lse.data();
    g.shape = a.shape, g.query = query.data(), g.positions = positions.data(), g.num_rows = g.num_keys = tokens;
    g.key = key.data(), g.value = value.data(), g.d_mixed = gradient.data();
    g.full_lse = full_lse.data(), g.stream_lse = stream_lse.data(), g.gates = gates.data();
    g.full_delta = deltas.data(), g.stream_delta = deltas.data() + tokens * heads,
    g.gate_delta = deltas.data() + 2 * tokens * heads;
    g.d_gates = d_gates.data(), g.d_query = d_query.data(), g.d_key = d_key.data(), g.d_value = d_value.data();
  }
  const Branches branches = backward || kind == 2 ? Branches::both : kind == 0 ? Branches::full : Branches::stream;
  const auto forward = [&](int64_t) { check(launch_attention_forward(a, branches, b.stream.get()), "attention"); };
  const auto back = [&](int64_t) {
    check(launch_branch_deltas(g, mixed.data(), difference.data(), partial.data(), b.stream.get()),
          "the gate gradient");
    check(launch_attention_backward(g, b.stream.get()), "attention backward");
  };
  forward(0);
  if (backward) {
    // The forward pass leaves the difference; a backward is the deltas and the three gradients.
    check(launch_branch_difference(full.data(), streaming.data(), tokens * width, difference.data(), b.stream.get()),
          "subtracting branches");
    back(0);
  }
  std::vector<double> got, expected;
  for (int i = 0; i < CHECKED_ROWS; i++) {
    // One query row of one head against all its keys; of the backward, dQ, which holds P, dP and both deltas.
    const int64_t row = i * (tokens - 1) / (CHECKED_ROWS - 1), head = i % heads, kv = head / group,
                  at = row * width + head * dim;
    const auto all_keys = b.host(key, 0, (row + 1) * kv_width), all_values = b.host(value, 0, (row + 1) * kv_width),
               q = b.host(query, at, dim);
    std::vector<float> k, v;
    for (int64_t j = 0; j <= row; j++) {
      k.insert(k.end(), all_keys.begin() + j * kv_width + kv * dim, all_keys.begin() + j * kv_width + (kv + 1) * dim);
      v.insert(v.end(), all_values.begin() + j * kv_width + kv * dim,
               all_values.begin() + j * kv_width + (kv + 1) * dim);
    }
    const AttentionProblem p = one_row(dim, row + 1, sink, window_values[static_cast<size_t>(kv)], q, k, v);
    if (!backward) {
      const auto x = test::attend_exactly(p, false).out, y = test::attend_exactly(p, true).out;
      for (int64_t d = 0; d < dim; d++)
        expected.push_back(static_cast<double>(gate) * x[d] + (1.0 - static_cast<double>(gate)) * y[d]);
      for (const float z : b.host(mixed, at, dim)) got.push_back(z);
      continue;
    }
    const auto dq = test::attend_backward_exactly(p, {gate}, false, b.host(gradient, at, dim)).query;
    std::vector<float> own(static_cast<size_t>(dim));
    copy_to_host(own.data(), d_query.data() + at, dim, b.stream);
    for (int64_t d = 0; d < dim; d++) got.push_back(own[d]), expected.push_back(dq[d]);
  }
  b.compare(got, expected);
  b.run(backward ? std::function<void(int64_t)>(back) : std::function<void(int64_t)>(forward));
}

}  // namespace

void run_cuda_op(const OpenOptions &options, const std::string &op, const std::vector<int64_t> &sizes,
                 int32_t num_repeats, double *seconds, double *relative_error) {
  check(cudaSetDevice(options.device_index), "selecting the device");
  const DeviceSize device = size_of_device(options.device_index);
  Bench bench{sizes, num_repeats, seconds, relative_error, {}};
  if (op == "vector_product" || op == "skinny_product")
    return bench_vector_product(bench, device, op == "skinny_product");
  if (op == "decode_attention") return bench_decode(bench, device);
  if (op == "decode_step") return bench_decode_step(options.device_index, sizes, num_repeats, seconds, relative_error);
  if (op == "attention_forward" || op == "attention_backward")
    return bench_attention(bench, op == "attention_backward");
  bench_product(bench, options.device_index, op == "matmul_bf16_own");
}

}  // namespace duo::bench

// The op bench on the GPU: each op is checked against fp64 loops on the host, on rows spread over the output, then timed with cold caches.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "core/backend.h"
#include "cuda/branch_gradient.h"
#include "cuda/decode_attention.h"
#include "cuda/layer_ops.h"
#include "cuda/linear_algebra.h"
#include "cuda/matvec.h"

namespace duo {
namespace cuda {

double time_seconds(const Stream &stream, const std::function<void()> &body);  // devices.cu
void bench_decode_step(int device_index, const std::vector<int64_t> &sizes, int32_t num_repeats, Task &task, double *seconds, double *relative_error);  // bench_step.cu

namespace {

constexpr int64_t COLD_BYTES = int64_t{256} << 20;  // several times any L2: buffers used in turn are out of it again
constexpr int CHECKED_ROWS = 6;

// Keeps the device busy while the host queues what is timed: what a launch costs the host is no part of a kernel's time.
__global__ void hold_kernel() {
#if defined(__CUDA_ARCH__)
  const long long begin = clock64();
  while (clock64() - begin < 60000) {
  }
#endif
}

struct Bench {
  const std::vector<int64_t> &sizes;
  int32_t repeats;
  Task &task;
  double *seconds, *relative_error;
  Stream stream;

  // Random bf16 of unit scale, made on the device by the cache filler.
  DeviceBuffer<bf16> random(int64_t count, uint64_t seed) const {
    const int64_t slots = ceil_divide(count, 128);
    DeviceBuffer<bf16> out(2 * slots * 64);  // "keys" then "values"
    const HeadCache cache{reinterpret_cast<uint8_t *>(out.data()), reinterpret_cast<uint8_t *>(out.data() + slots * 64), nullptr, nullptr, slots, 0};
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
  int64_t size_or_zero(size_t index) const { return index < sizes.size() ? sizes[index] : 0; }
  void run(const std::function<void(int64_t)> &body) const {
    for (int32_t i = 0; i < repeats; i++) {
      task.check_abort();
      check(launch({dim3(1), 32}, stream.get(), hold_kernel), "holding the device");
      seconds[i] = time_seconds(stream, [&] { body(i + 1); });
    }
  }
  void compare(const std::vector<double> &got, const std::vector<double> &expected) const {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < got.size(); i++) {
      const double difference = std::fabs(got[i] - expected[i]);
      if (!(difference <= worst)) worst = difference;
      largest = std::max(largest, std::fabs(expected[i]));
    }
    *relative_error = largest > 0 ? worst / largest : worst;
  }
  // `optional` more may follow: how a kernel is cut, 0 for its own choice.
  void require_sizes(size_t count, size_t optional = 0) const {
    if (sizes.size() < count || sizes.size() > count + optional) fail(DUO_STATUS_SHAPE, "Expected %zu sizes for this op, got %zu", count, sizes.size());
    for (const int64_t size : sizes) {
      if (size < 0 || size > int64_t{1} << 32) fail(DUO_STATUS_ARGUMENT, "Expected sizes of 0 to 2^32, got `%lld`", static_cast<long long>(size));
    }
  }
};

void bench_product(Bench &b, bool own) {
  b.require_sizes(3);
  const int64_t m = b.sizes[0], n = b.sizes[1], k = b.sizes[2];
  const auto left = b.random(m * k, 1), right = b.random(n * k, 2);
  DeviceBuffer<bf16> out(m * n);
  LinearAlgebra algebra;
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

void bench_vector_product(Bench &b, const DeviceSize &device) {
  b.require_sizes(3, 2);
  const int64_t outputs = b.sizes[0], depth = b.sizes[1], batch = b.sizes[2], copies = std::min<int64_t>(16, 1 + COLD_BYTES / (outputs * depth * 2));
  std::vector<DeviceBuffer<bf16>> weights;
  for (int64_t i = 0; i < copies; i++) weights.push_back(b.random(outputs * depth, static_cast<uint64_t>(i)));
  const auto x = b.random(batch * depth, 99);
  DeviceBuffer<float> out(batch * outputs);
  const auto multiply = [&](int64_t turn) {
    VectorProduct product{};
    product.weight = weights[static_cast<size_t>(turn % copies)].data();
    product.x = x.data();
    product.depth = depth, product.outputs = outputs, product.batch = static_cast<int32_t>(batch);
    product.out = out.data();
    product.store = VectorStore::f32;
    product.device = device;
    product.stages = static_cast<int32_t>(b.size_or_zero(3));
    product.blocks_a_multiprocessor = static_cast<int32_t>(std::max<int64_t>(1, b.size_or_zero(4)));
    check(launch_vector_product(product, b.stream.get()), "a vector product");
  };
  multiply(0);
  std::vector<float> y(static_cast<size_t>(batch * outputs));
  copy_to_host(y.data(), out.data(), batch * outputs, b.stream);
  const auto input = b.host(x, 0, batch * depth);
  std::vector<double> got, expected;
  for (int64_t row = 0; row < outputs; row += outputs / CHECKED_ROWS + 1) {
    const auto w = b.host(weights[0], row * depth, depth);
    for (int64_t i = 0; i < batch; i++) {
      double sum = 0;
      for (int64_t j = 0; j < depth; j++) sum += static_cast<double>(input[i * depth + j]) * static_cast<double>(w[j]);
      got.push_back(y[i * outputs + row]), expected.push_back(sum);
    }
  }
  b.compare(got, expected);
  b.run(multiply);
}

// softmax(q·kᵀ/√D)·v over keys for which `sees` holds; key, value [n, stride], rows of D.
std::vector<double> attend_plain(const float *query, const std::vector<float> &key, const std::vector<float> &value, int64_t n, int64_t dim,
                                 const std::function<bool(int64_t)> &sees) {
  std::vector<double> weight(static_cast<size_t>(n), 0.0), out(static_cast<size_t>(dim), 0.0);
  double best = -1e300, sum = 0;
  for (int64_t j = 0; j < n; j++) {
    for (int64_t i = 0; i < dim; i++) weight[j] += static_cast<double>(query[i]) * static_cast<double>(key[j * dim + i]);
    weight[j] /= std::sqrt(static_cast<double>(dim));
    if (sees(j)) best = std::max(best, weight[j]);
  }
  for (int64_t j = 0; j < n; j++) sum += weight[j] = sees(j) ? std::exp(weight[j] - best) : 0.0;
  for (int64_t j = 0; j < n; j++) {
    for (int64_t i = 0; i < dim; i++) out[i] += weight[j] / sum * static_cast<double>(value[j * dim + i]);
  }
  return out;
}

// Rows of a head's cache on the host, as the numbers they stand for.
std::vector<float> host_rows(const Bench &b, const uint8_t *from, const uint32_t *scales, int64_t rows, int64_t dim, Dtype dtype) {
  const int64_t row_bytes = kv_row_bytes(dtype, static_cast<int>(dim));
  std::vector<uint8_t> raw(static_cast<size_t>(rows * row_bytes));
  std::vector<uint32_t> words(static_cast<size_t>(scales == nullptr ? 0 : rows));
  copy_to_host(raw.data(), from, static_cast<int64_t>(raw.size()), b.stream);
  copy_to_host(words.data(), scales, static_cast<int64_t>(words.size()), b.stream);
  std::vector<float> out(static_cast<size_t>(rows * dim));
  for (int64_t i = 0; i < rows * dim; i++) {
    const uint8_t *row = raw.data() + i / dim * row_bytes;
    const int64_t at = i % dim;
    const uint32_t word = scales == nullptr ? 0 : words[static_cast<size_t>(i / dim)];
    if (dtype == Dtype::f32) {
      std::memcpy(&out[i], row + 4 * at, 4);
    } else if (dtype == Dtype::bf16) {
      bf16 half;
      std::memcpy(&half, row + 2 * at, 2);
      out[i] = bf16_to_float(half);
    } else if (dtype == Dtype::int8) {
      out[i] = static_cast<float>(static_cast<int8_t>(row[at])) * bits_to_float(word);
    } else if (dtype == Dtype::fp8) {
      const int exponent = row[at] >> 3 & 15, mantissa = row[at] & 7;
      const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9) : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
      out[i] = (row[at] & 0x80 ? -magnitude : magnitude) * bits_to_float(word);
    } else {
      const float zero = f16_to_float(static_cast<uint16_t>(word >> 16));
      out[i] = (static_cast<float>(row[at / 2] >> (4 * (at % 2)) & 15) - zero) * f16_to_float(static_cast<uint16_t>(word));
    }
  }
  return out;
}

void bench_decode(Bench &b, const DeviceSize &device) {
  b.require_sizes(8, 3);
  const int64_t heads = b.sizes[0], kv_heads = b.sizes[1], dim = b.sizes[2], tokens = b.sizes[3], retrieval = b.sizes[4], sink = b.sizes[5], recent = b.sizes[6];
  const auto dtype = static_cast<Dtype>(b.sizes[7]);
  if (kv_heads < 1 || heads % kv_heads != 0 || tokens < 1 || retrieval > kv_heads || recent < 1) fail(DUO_STATUS_ARGUMENT, "Expected H a multiple of G, 1 or more tokens, at most G retrieval heads, R of at least 1");
  const int64_t row = kv_row_bytes(dtype, static_cast<int>(dim)), group = heads / kv_heads, ring = std::min(tokens, sink + recent);
  const int64_t bytes = 2 * (row + kv_scale_bytes(dtype)) * (retrieval * tokens + (kv_heads - retrieval) * ring);
  const int64_t copies = std::min<int64_t>(64, 1 + COLD_BYTES / bytes);
  const DecodeShape shape = choose_decode_shape(dtype, static_cast<int>(dim), device.multiprocessors, device.shared_bytes,
                                                {static_cast<int32_t>(b.size_or_zero(8)), static_cast<int32_t>(b.size_or_zero(9)),
                                                 static_cast<int32_t>(b.size_or_zero(10)) * device.multiprocessors});
  std::vector<DeviceBuffer<uint8_t>> memory;
  std::vector<DeviceBuffer<HeadCache>> tables;
  std::vector<DeviceBuffer<DecodeHead>> plans;
  std::vector<HeadCache> first_caches;
  const int32_t length = static_cast<int32_t>(tokens - 1);
  DeviceBuffer<int32_t> length_buffer(1);
  copy_to_device(length_buffer.data(), &length, 1, b.stream);
  for (int64_t copy = 0; copy < copies; copy++) {
    std::vector<HeadCache> caches;
    for (int64_t head = 0; head < kv_heads; head++) {
      const int64_t slots = head < retrieval ? tokens : ring, part = (slots * row + 255) / 256 * 256;
      memory.emplace_back(2 * part + 8 * slots + 16);
      uint8_t *at = memory.back().data();
      auto *scale = reinterpret_cast<uint32_t *>(at + 2 * part);
      const bool has_scale = kv_scale_bytes(dtype) > 0;
      caches.push_back({at, at + part, has_scale ? scale : nullptr, has_scale ? scale + slots : nullptr, slots, head >= retrieval});
      check(launch_fill_cache(caches.back(), dtype, static_cast<int32_t>(dim), static_cast<uint64_t>(copy * kv_heads + head), b.stream.get()), "filling a cache");
    }
    if (copy == 0) first_caches = caches;
    tables.emplace_back(kv_heads);
    copy_to_device(tables.back().data(), caches.data(), kv_heads, b.stream);
    const DecodeMember member{tables.back().data(), length_buffer.data(), sink, recent};
    DeviceBuffer<DecodeMember> member_buffer(1);
    copy_to_device(member_buffer.data(), &member, 1, b.stream);
    plans.emplace_back(kv_heads + 1);
    check(launch_decode_plan(member_buffer.data(), 1, 1, static_cast<int32_t>(kv_heads), plans.back().data(), b.stream.get()), "sharing out a step");
    b.stream.wait();
  }
  const auto query = b.random(heads * dim, 77);
  const int64_t parts = (shape.blocks + kv_heads) * group;
  DeviceBuffer<float> partial(parts * dim), partial_scale(parts * 2);
  DeviceBuffer<bf16> out(heads * dim);
  DeviceBuffer<int32_t> arrived(heads);
  clear(arrived, b.stream);
  const auto attend = [&](int64_t turn) {
    check(launch_decode_attention({plans[static_cast<size_t>(turn % copies)].data(), shape, 1, static_cast<int32_t>(heads), static_cast<int32_t>(kv_heads),
                                   static_cast<int32_t>(dim), dtype, query.data(), {}, partial.data(), partial_scale.data(), arrived.data(), out.data()}, b.stream.get()), "decode attention");
  };
  attend(0);
  std::vector<double> got, expected;
  for (const int64_t head : {int64_t{0}, kv_heads - 1}) {
    const HeadCache &cache = first_caches[static_cast<size_t>(head)];
    const auto key = host_rows(b, cache.key, cache.key_scale, cache.slots, dim, dtype), value = host_rows(b, cache.value, cache.value_scale, cache.slots, dim, dtype);
    const auto q = b.host(query, head * group * dim, dim), y = b.host(out, head * group * dim, dim);
    for (const double x : attend_plain(q.data(), key, value, cache.slots, dim, [](int64_t) { return true; })) expected.push_back(x);
    for (const float x : y) got.push_back(x);
  }
  b.compare(got, expected);
  b.run(attend);
}

void bench_attention(Bench &b, bool backward) {
  b.require_sizes(7);
  const int64_t tokens = b.sizes[0], heads = b.sizes[1], kv_heads = b.sizes[2], dim = b.sizes[3], sink = b.sizes[4], recent = b.sizes[5], kind = b.sizes[6];
  if (tokens < 1 || kv_heads < 1 || heads % kv_heads != 0 || recent < 1 || kind > 2) fail(DUO_STATUS_ARGUMENT, "Expected tokens, H a multiple of G, R of at least 1, a kind of 0 to 2");
  const int64_t width = heads * dim, kv_width = kv_heads * dim, group = heads / kv_heads;
  const auto query = b.random(tokens * width, 1), key = b.random(tokens * kv_width, 2), value = b.random(tokens * kv_width, 3), gradient = b.random(backward ? tokens * width : 1, 4);
  DeviceBuffer<int32_t> positions(tokens), list(kv_heads);
  check(launch_count_up(0, tokens, positions.data(), b.stream.get()), "numbering");
  check(launch_count_up(0, kv_heads, list.data(), b.stream.get()), "numbering");
  const float gate = kind == 0 ? 1.0f : kind == 1 ? 0.0f : 0.5f;
  const std::vector<float> gate_values(static_cast<size_t>(kv_heads), gate);
  DeviceBuffer<float> gates(kv_heads);
  copy_to_device(gates.data(), gate_values.data(), kv_heads, b.stream);
  DeviceBuffer<bf16> mixed(tokens * width);
  DeviceBuffer<float> full, streaming, full_lse, stream_lse, deltas, d_gates, d_query, d_key, d_value;
  DeviceBuffer<bf16> difference;
  DeviceBuffer<double> partial;
  AttentionForward a{};
  a.shape = {static_cast<int32_t>(heads), static_cast<int32_t>(kv_heads), static_cast<int32_t>(dim), sink, recent};
  a.query = query.data(), a.positions = positions.data(), a.num_rows = a.chunk_count = tokens;
  a.dtype = Dtype::bf16;
  a.chunk_key = reinterpret_cast<const uint8_t *>(key.data()), a.chunk_value = reinterpret_cast<const uint8_t *>(value.data());
  a.kv_list = list.data(), a.num_listed = static_cast<int32_t>(kv_heads), a.gates = gates.data(), a.mixed = mixed.data();
  AttentionBackward g{};
  if (backward) {
    for (auto *buffer : {&full, &streaming, &d_query}) buffer->resize(tokens * width);
    for (auto *buffer : {&full_lse, &stream_lse}) buffer->resize(tokens * heads);
    for (auto *buffer : {&d_key, &d_value}) buffer->resize(tokens * kv_width);
    deltas.resize(3 * tokens * heads), d_gates.resize(kv_heads), difference.resize(tokens * width), partial.resize(kv_heads * GATE_SLICES);
    a.full = full.data(), a.stream = streaming.data(), a.full_lse = full_lse.data(), a.stream_lse = stream_lse.data();
    g.shape = a.shape, g.query = query.data(), g.positions = positions.data(), g.num_rows = g.num_keys = tokens;
    g.key = key.data(), g.value = value.data(), g.d_mixed = gradient.data();
    g.full_lse = full_lse.data(), g.stream_lse = stream_lse.data(), g.gates = gates.data();
    g.full_delta = deltas.data(), g.stream_delta = deltas.data() + tokens * heads, g.gate_delta = deltas.data() + 2 * tokens * heads;
    g.d_gates = d_gates.data(), g.d_query = d_query.data(), g.d_key = d_key.data(), g.d_value = d_value.data();
  }
  const Branches branches = backward || kind == 2 ? Branches::both : kind == 0 ? Branches::full : Branches::stream;
  const auto forward = [&](int64_t) { check(launch_attention_forward(a, branches, b.stream.get()), "attention"); };
  const auto back = [&](int64_t) {
    check(launch_branch_deltas(g, mixed.data(), difference.data(), partial.data(), b.stream.get()), "the gate gradient");
    check(launch_attention_backward(g, b.stream.get()), "attention backward");
  };
  forward(0);
  if (backward) {
    // The forward pass leaves the difference; a backward is the deltas and the three gradients.
    check(launch_branch_difference(full.data(), streaming.data(), tokens * width, difference.data(), b.stream.get()), "subtracting branches");
    back(0);
  }
  std::vector<double> got, expected;
  for (int i = 0; i < CHECKED_ROWS; i++) {
    // One query row of one head against all its keys; of the backward, dQ, which holds P, dP and both deltas.
    const int64_t row = i * (tokens - 1) / (CHECKED_ROWS - 1), head = i % heads, kv = head / group, at = row * width + head * dim;
    const auto all_keys = b.host(key, 0, (row + 1) * kv_width), all_values = b.host(value, 0, (row + 1) * kv_width), q = b.host(query, at, dim);
    std::vector<float> k, v;
    for (int64_t j = 0; j <= row; j++) {
      k.insert(k.end(), all_keys.begin() + j * kv_width + kv * dim, all_keys.begin() + j * kv_width + (kv + 1) * dim);
      v.insert(v.end(), all_values.begin() + j * kv_width + kv * dim, all_values.begin() + j * kv_width + (kv + 1) * dim);
    }
    const auto sees = [&](int64_t j) { return j < sink || row - j < recent; };
    if (!backward) {
      const auto x = attend_plain(q.data(), k, v, row + 1, dim, [](int64_t) { return true; }), y = attend_plain(q.data(), k, v, row + 1, dim, sees);
      for (int64_t d = 0; d < dim; d++) expected.push_back(static_cast<double>(gate) * x[d] + (1.0 - static_cast<double>(gate)) * y[d]);
      for (const float z : b.host(mixed, at, dim)) got.push_back(z);
      continue;
    }
    const auto dy = b.host(gradient, at, dim);
    std::vector<double> dq(static_cast<size_t>(dim), 0.0);
    for (const bool is_stream : {false, true}) {
      const double factor = is_stream ? 1.0 - static_cast<double>(gate) : static_cast<double>(gate);
      std::vector<double> weight(static_cast<size_t>(row + 1)), dp(weight);
      double best = -1e300, sum = 0, delta = 0;
      for (int64_t j = 0; j <= row; j++) {
        for (int64_t d = 0; d < dim; d++) {
          weight[j] += static_cast<double>(q[d]) * static_cast<double>(k[j * dim + d]) / std::sqrt(static_cast<double>(dim));
          dp[j] += static_cast<double>(dy[d]) * static_cast<double>(v[j * dim + d]);
        }
        if (is_stream && !sees(j)) weight[j] = -1e300;
        best = std::max(best, weight[j]);
      }
      for (double &w : weight) sum += w = std::exp(w - best);
      for (int64_t j = 0; j <= row; j++) delta += weight[j] / sum * dp[j];
      for (int64_t j = 0; j <= row; j++) {
        for (int64_t d = 0; d < dim; d++) dq[d] += factor * weight[j] / sum * (dp[j] - delta) / std::sqrt(static_cast<double>(dim)) * static_cast<double>(k[j * dim + d]);
      }
    }
    std::vector<float> own(static_cast<size_t>(dim));
    copy_to_host(own.data(), d_query.data() + at, dim, b.stream);
    for (int64_t d = 0; d < dim; d++) got.push_back(own[d]), expected.push_back(dq[d]);
  }
  b.compare(got, expected);
  b.run(backward ? std::function<void(int64_t)>(back) : std::function<void(int64_t)>(forward));
}

}  // namespace
}  // namespace cuda

bool bench_cuda_op(const OpenOptions &options, const std::string &op, const std::vector<int64_t> &sizes, int32_t num_repeats, Task &task,
                   double *seconds, double *relative_error) {
  using namespace cuda;
  check(cudaSetDevice(options.device_index), "selecting the device");
  const DeviceSize device = size_of_device(options.device_index);
  Bench bench{sizes, num_repeats, task, seconds, relative_error, {}};
  if (op == "matmul_bf16" || op == "matmul_bf16_own") {
    bench_product(bench, op == "matmul_bf16_own");
  } else if (op == "vector_product") {
    bench_vector_product(bench, device);
  } else if (op == "decode_attention") {
    bench_decode(bench, device);
  } else if (op == "decode_step") {
    bench_decode_step(options.device_index, sizes, num_repeats, task, seconds, relative_error);
  } else if (op == "attention_forward" || op == "attention_backward") {
    bench_attention(bench, op == "attention_backward");
  } else {
    return false;
  }
  return true;
}

}  // namespace duo

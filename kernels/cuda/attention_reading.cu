// One block per position and query head: each thread walks every 256th key with a running maximum, so that no row of
// scores is kept; the threads' sums meet at the block's maximum. Means: one block per head, threads share its pairs of
// coordinates and divide the tokens.
#include "cuda/attention_reading.h"

#include <algorithm>
#include <numeric>

#include "cuda/layer_ops.h"
#include "cuda/sample_pass.h"

namespace duo::cuda {
namespace {

constexpr int THREADS = 256;
constexpr int MAX_HEAD_DIM = 512;

struct Top {
  float score;
  int32_t key;
};
__device__ __forceinline__ Top higher(Top a, Top b) {
  return b.score > a.score || (b.score == a.score && b.key < a.key) ? b : a;
}

// shared: query [D] fp32, then Top [8], then sums [32] fp64
__global__ void __launch_bounds__(THREADS)
    read_attention_kernel(const LayerReading r, float *masses, int32_t *top_keys) {
  const int64_t index = blockIdx.x / r.heads, head = blockIdx.x % r.heads;
  const int64_t position = r.positions[index], kv_head = head / (r.heads / r.kv_heads);
  float *query = reinterpret_cast<float *>(shared_memory());
  Top *tops = reinterpret_cast<Top *>(query + MAX_HEAD_DIM);
  double *sums = reinterpret_cast<double *>(tops + THREADS / 32);
  const uint16_t *from = r.query + (position * r.heads + head) * r.head_dim;
  // Scores in powers of two: e^x = 2^(x·log2 e).
  const float scale = LOG2_E / sqrtf(static_cast<float>(r.head_dim));
  for (int i = threadIdx.x; i < r.head_dim; i += THREADS) query[i] = scale * widen_half(from[i]);
  __syncthreads();
  const int64_t begin = r.key_ranges[2 * index], end = r.key_ranges[2 * index + 1];
  Top own{minus_infinity(), 0x7fffffff};
  double all = 0.0, chosen = 0.0;
  for (int64_t key = threadIdx.x; key <= position; key += THREADS) {
    const uint32_t *pairs = reinterpret_cast<const uint32_t *>(r.key + (key * r.kv_heads + kv_head) * r.head_dim);
    float score = 0.0f;
#pragma unroll 8
    for (int i = 0; i < r.head_dim / 2; i++) {
      score += query[2 * i] * widen_low_as<Half::f16>(pairs[i]);
      score += query[2 * i + 1] * widen_high_as<Half::f16>(pairs[i]);
    }
    if (score > own.score) {
      const double shrink = static_cast<double>(exp2_of(own.score - score));
      all *= shrink, chosen *= shrink;
      own = {score, static_cast<int32_t>(key)};
    }
    const double weight = static_cast<double>(exp2_of(score - own.score));
    all += weight;
    if (key >= begin && key < end) chosen += weight;
  }
  Top top = own;
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    top = higher(top, {__shfl_xor_sync(ALL_LANES, top.score, lanes), __shfl_xor_sync(ALL_LANES, top.key, lanes)});
  }
  if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = top;
  __syncthreads();
  top = tops[0];
  for (int w = 1; w < THREADS / 32; w++) top = higher(top, tops[w]);
  // A thread without keys has a maximum of −infinity and sums of 0.
  const double shrink = static_cast<double>(exp2_of(own.score - top.score));
  all = sum_block(all * shrink, sums);
  chosen = sum_block(chosen * shrink, sums);
  if (threadIdx.x == 0) {
    masses[blockIdx.x] = static_cast<float>(chosen / all);
    top_keys[blockIdx.x] = top.key;
  }
}

// shared: sums [THREADS, 2] fp64. A thread has one pair of coordinates, i and i + D/2, of every `slices`th token.
__global__ void __launch_bounds__(THREADS) mean_heads_kernel(const LayerReading r, float *means) {
  const int head = blockIdx.x, half = r.head_dim / 2, slices = THREADS / half;
  const bool is_query = head < r.heads;
  const int64_t stride = static_cast<int64_t>(is_query ? r.heads : r.kv_heads) * r.head_dim;
  const uint16_t *vectors = is_query ? r.query + static_cast<int64_t>(head) * r.head_dim
                                     : r.key + static_cast<int64_t>(head - r.heads) * r.head_dim;
  double *sums = reinterpret_cast<double *>(shared_memory());
  const int i = threadIdx.x % half, slice = threadIdx.x / half;
  double low = 0.0, high = 0.0;
  if (slice < slices) {
    for (int64_t token = slice; token < r.num_tokens; token += slices) {
      const float c = r.cosine[token * half + i], s = r.sine[token * half + i];
      const float x = widen_half(vectors[token * stride + i]), y = widen_half(vectors[token * stride + half + i]);
      const float size = c * c + s * s;  // a factor of the rotary tables, as yarn has one, is taken out
      low += static_cast<double>((x * c + y * s) / size);
      high += static_cast<double>((y * c - x * s) / size);
    }
  }
  sums[2 * threadIdx.x] = low;
  sums[2 * threadIdx.x + 1] = high;
  __syncthreads();
  if (slice != 0) return;
  for (int other = 1; other < slices; other++) {
    low += sums[2 * (other * half + i)];
    high += sums[2 * (other * half + i) + 1];
  }
  means[static_cast<int64_t>(head) * r.head_dim + i] = static_cast<float>(low / static_cast<double>(r.num_tokens));
  means[static_cast<int64_t>(head) * r.head_dim + half + i] =
      static_cast<float>(high / static_cast<double>(r.num_tokens));
}

}  // namespace

cudaError_t launch_read_attention(const LayerReading &reading, float *masses, int32_t *top_keys, cudaStream_t stream) {
  constexpr size_t SHARED = MAX_HEAD_DIM * sizeof(float) + THREADS / 32 * sizeof(Top) + 32 * sizeof(double);
  return launch({dim3(static_cast<unsigned>(reading.num_positions * reading.heads)), THREADS, SHARED}, stream,
                read_attention_kernel, reading, masses, top_keys);
}

cudaError_t launch_mean_heads(const LayerReading &reading, float *means, cudaStream_t stream) {
  return launch({dim3(static_cast<unsigned>(reading.heads + reading.kv_heads)), THREADS, 2 * THREADS * sizeof(double)},
                stream, mean_heads_kernel, reading, means);
}

void CudaModel::attention(const Passage &passage, const AttentionReading &reading, Task &task) {
  select_device();
  const LayerTurn turn(layers_, task);
  require_f16(task);
  const int64_t layers = config_.layers, heads = config_.heads, query_width = config_.query_width(),
                kv_width = config_.kv_width();
  const int64_t num_read = reading.masses == nullptr ? 0 : passage.num_positions * heads,
                num_mean = reading.mean_queries == nullptr ? 0 : query_width + kv_width;
  // Every row of every layer is looked at, the last layer's too.
  std::vector<int32_t> rows(static_cast<size_t>(count_needed_tokens(passage)));
  std::iota(rows.begin(), rows.end(), 0);
  const Passage all{passage.tokens, passage.num_tokens, rows.data(), static_cast<int64_t>(rows.size())};
  DeviceBuffer<int32_t> positions(passage.num_positions), ranges(2 * passage.num_positions),
      top_keys(std::max<int64_t>(1, layers * num_read));
  DeviceBuffer<float> masses(std::max<int64_t>(1, layers * num_read)), means(std::max<int64_t>(1, layers * num_mean));
  MlpScales scales(layers);
  for (bool fits = false; !fits;) {
    task.set_total(layers);
    SamplePass pass(*this, all, {0, nullptr}, PassRole::forward, 0, task, {Half::f16, scales.data()});
    copy_to_device(positions.data(), passage.positions, passage.num_positions, pass.stream());
    if (num_read > 0) copy_to_device(ranges.data(), reading.key_ranges, 2 * passage.num_positions, pass.stream());
    layers_.expect({1, 0});
    pass.set_gates(nullptr);
    pass.embed(pass.memory().residual);
    for (int64_t layer = 0; layer < layers; layer++) {
      pass.attend_layer(layer, pass.memory().residual, pass.all());
      const LayerReading at{pass.memory().query,
                            pass.memory().key,
                            pass.memory().cosine,
                            pass.memory().sine,
                            positions.data(),
                            ranges.data(),
                            pass.num_tokens(),
                            passage.num_positions,
                            static_cast<int32_t>(heads),
                            static_cast<int32_t>(config_.kv_heads),
                            static_cast<int32_t>(config_.head_dim)};
      if (num_read > 0)
        check(launch_read_attention(at, masses.data() + layer * num_read, top_keys.data() + layer * num_read,
                                    pass.stream().get()),
              "reading attention");
      if (num_mean > 0)
        check(launch_mean_heads(at, means.data() + layer * num_mean, pass.stream().get()), "mean queries and keys");
      if (layer < layers - 1) pass.finish_layer(layer, pass.memory().residual, pass.num_tokens());
      pass.pace();
      task.add_done();
    }
    fits = scales.fit(pass.read_peaks());
    if (!fits) continue;
    std::vector<float> all_masses(static_cast<size_t>(layers * num_read)),
        all_means(static_cast<size_t>(layers * num_mean));
    std::vector<int32_t> all_tops(all_masses.size());
    if (num_read > 0) {
      copy_to_host(all_masses.data(), masses.data(), layers * num_read, pass.stream());
      copy_to_host(all_tops.data(), top_keys.data(), layers * num_read, pass.stream());
    }
    if (num_mean > 0) copy_to_host(all_means.data(), means.data(), layers * num_mean, pass.stream());
    // The device wrote layer by layer, duo.h has positions first.
    for (int64_t layer = 0; layer < layers; layer++) {
      for (int64_t i = 0; i < num_read; i++) {
        const int64_t to = (i / heads * layers + layer) * heads + i % heads;
        reading.masses[to] = all_masses[static_cast<size_t>(layer * num_read + i)];
        reading.top_keys[to] = all_tops[static_cast<size_t>(layer * num_read + i)];
      }
      if (num_mean == 0) continue;
      const auto from = all_means.begin() + layer * num_mean;
      std::copy(from, from + query_width, reading.mean_queries + layer * query_width);
      std::copy(from + query_width, from + num_mean, reading.mean_keys + layer * kv_width);
    }
  }
}

}  // namespace duo::cuda

// Kernels of the KL metric. Sums over a vocabulary are fp64 and in a fixed order. Products with the maps make a map's
// rows as they go, from the head's f16 rows, so that no position's [K, C] is held in memory.
#include "cuda/kl_features.h"

#include "core/kl_metric.h"
#include "cuda/reductions.h"

namespace duo::cuda {
namespace {

constexpr int THREADS = 256;
constexpr int NUM_STEPS = sizeof(KL_STEPS) / sizeof(KlStep);
static_assert(MAX_KL_TOKENS <= THREADS && DUO_KL_TOKENS <= MAX_KL_TOKENS, "a thread writes one token");

struct KlSteps {
  int count;
  double share[NUM_STEPS], weight[NUM_STEPS];
};

__device__ __forceinline__ double max_block(double value, double *scratch) {
  for (int lanes = 16; lanes > 0; lanes /= 2) value = fmax(value, __shfl_xor_sync(ALL_LANES, value, lanes));
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  value = scratch[0];
  for (int i = 1; i < THREADS / 32; i++) value = fmax(value, scratch[i]);
  __syncthreads();
  return value;
}

// Logits on the straight way between two rows.
struct Way {
  const float *from, *to;
  int64_t vocab;
  __device__ double change(int64_t i) const { return static_cast<double>(to[i]) - static_cast<double>(from[i]); }
  __device__ double logit(int64_t i, double share) const { return static_cast<double>(from[i]) + share * change(i); }
  // Natural logarithm of Σ exp(logit), in every thread.
  __device__ double log_sum(double share, double *scratch) const {
    double best = -1.7976931348623157e308, sum = 0.0;
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS) best = fmax(best, logit(i, share));
    best = max_block(best, scratch);
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS) sum += exp(logit(i, share) - best);
    return best + log(sum_block(sum, scratch));
  }
};

__global__ void __launch_bounds__(THREADS)
    kl_distribution_kernel(const float *from, const float *to, int64_t vocab, const KlSteps steps, float *probabilities,
                           double *scale) {
  double *scratch = reinterpret_cast<double *>(shared_memory());
  const int64_t row = static_cast<int64_t>(blockIdx.x) * vocab;
  const Way way{from + row, to + row, vocab};
  double log_sums[NUM_STEPS];
#pragma unroll
  for (int s = 0; s < NUM_STEPS; s++) log_sums[s] = s < steps.count ? way.log_sum(steps.share[s], scratch) : 0.0;
  const auto mean_of = [&](int64_t i) {
    double sum = 0.0;
#pragma unroll
    for (int s = 0; s < NUM_STEPS; s++) {
      if (s < steps.count) sum += steps.weight[s] * exp(way.logit(i, steps.share[s]) - log_sums[s]);
    }
    return sum;
  };
  double factor = 1.0;
  if (steps.count > 1) {
    const double log_from = way.log_sum(0.0, scratch), log_to = way.log_sum(1.0, scratch);
    double divergence = 0.0, first = 0.0, second = 0.0;
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS) {
      divergence += exp(way.logit(i, 0.0) - log_from) * (log_to - log_from - way.change(i));
      first += mean_of(i) * way.change(i);
    }
    divergence = sum_block(divergence, scratch), first = sum_block(first, scratch);
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS) {
      const double change = way.change(i) - first;
      second += mean_of(i) * change * change;
    }
    second = sum_block(second, scratch);
    if (divergence > KL_MIN_DIVERGENCE && second > 0.0) factor = 2.0 * divergence / second;
  }
  if (threadIdx.x == 0) scale[blockIdx.x] = factor;
  // In place: an element is read by the thread that writes it, and by no other.
  for (int64_t i = threadIdx.x; i < vocab; i += THREADS) probabilities[row + i] = static_cast<float>(mean_of(i));
}

// Order of tokens, larger first: by probability, which is not negative, then by lower id. No two are equal.
__device__ __forceinline__ uint64_t token_key(const float *probabilities, int64_t id) {
#ifdef DUO_EMULATION
  const uint32_t bits = float_to_bits(probabilities[id]);
#else
  const uint32_t bits = __float_as_uint(probabilities[id]);
#endif
  return static_cast<uint64_t>(bits) << 32 | ~static_cast<uint32_t>(id);
}

struct TokenShared {
  double scratch[THREADS / 32];
  uint64_t keys[THREADS];  // of the likeliest tokens, in any order that does not depend on that of the threads
  int found[THREADS];      // by each thread
};

__global__ void __launch_bounds__(THREADS)
    kl_tokens_kernel(float *probabilities, int64_t vocab, int count, int32_t *tokens, float *shares) {
  TokenShared &shared = *reinterpret_cast<TokenShared *>(shared_memory());
  float *row = probabilities + static_cast<int64_t>(blockIdx.x) * vocab;
  // The least of the wanted keys, by binary search; any key between it and the next one will do.
  uint64_t low = 0, high = ~0ull;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2 + 1;
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS) sum += token_key(row, i) >= middle ? 1.0 : 0.0;
    const int64_t above = static_cast<int64_t>(sum_block(sum, shared.scratch));
    if (above >= count) low = middle;
    if (above <= count) high = above == count ? middle : middle - 1;
  }
  int found = 0;
  double others = 0.0;
  for (int64_t i = threadIdx.x; i < vocab; i += THREADS) {
    if (token_key(row, i) >= low) {
      found++;
    } else {
      others += static_cast<double>(row[i]);
    }
  }
  shared.found[threadIdx.x] = found;
  others = sum_block(others, shared.scratch);  // its barrier separates what threads found from the reads of it
  int at = 0;
  for (unsigned i = 0; i < threadIdx.x; i++) at += shared.found[i];
  for (int64_t i = threadIdx.x; i < vocab; i += THREADS) {
    if (token_key(row, i) >= low) shared.keys[at++] = token_key(row, i);
  }
  __syncthreads();  // all keys are there, and no thread reads the row any more
  if (static_cast<int>(threadIdx.x) < count) {
    const uint64_t key = shared.keys[threadIdx.x];
    int rank = 0;
    for (int i = 0; i < count; i++) rank += shared.keys[i] > key;
    const auto id = static_cast<int32_t>(~static_cast<uint32_t>(key));
    tokens[static_cast<int64_t>(blockIdx.x) * count + rank] = id;
    shares[static_cast<int64_t>(blockIdx.x) * (count + 1) + rank] = row[id];
    row[id] = 0.0f;
  }
  if (threadIdx.x == 0) shares[static_cast<int64_t>(blockIdx.x) * (count + 1) + count] = static_cast<float>(others);
}

__global__ void split_kernel(const float *from, int64_t rows, int64_t width, int64_t even, int64_t stride, float factor,
                             uint16_t *high, uint16_t *low) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
  if (i >= rows * stride) return;
  const int64_t at = i % stride, column = at < even ? at : width - stride + at;
  const float value = at < even || column >= even ? factor * from[i / stride * width + column] : 0.0f;
  high[i] = narrow_half(value);
  low[i] = narrow_half((value - widen_half(high[i])) * SPLIT_LOW);
}

__global__ void kl_means_kernel(const KlMaps maps) {
  const int64_t column = static_cast<int64_t>(blockIdx.y) * THREADS + threadIdx.x, position = blockIdx.x;
  if (column >= maps.width) return;
  const int64_t count = maps.features - 1, at = position * maps.width + column;
  const float *shares = maps.shares + position * maps.features;
  const double others = static_cast<double>(maps.rest[at]), share = static_cast<double>(shares[count]);
  double mean = others;
  for (int64_t i = 0; i < count; i++) {
    const float weight =
        maps.unit *
        widen_half(maps.head[static_cast<int64_t>(maps.tokens[position * count + i]) * maps.width + column]);
    mean += static_cast<double>(shares[i]) * static_cast<double>(weight);
  }
  maps.mean[at] = static_cast<float>(mean);
  maps.rest[at] = share < KL_MIN_REST ? 0.0f : static_cast<float>(others / share - mean);
}

// Products with maps, a block for a position, TILE of its changes or vectors and TILE columns of the result: 4 × 4 sums
// per thread. Shared memory: DEPTH of both sides, each row padded by one so that a column's are in different banks.
constexpr int TILE = 64, DEPTH = 32, EACH = 4, SIDE = TILE / EACH;
static_assert(SIDE * SIDE == THREADS);
struct ProductShared {
  float left[TILE][DEPTH + 1], right[TILE][DEPTH + 1];
};

__device__ __forceinline__ float coefficient(const KlMaps &maps, int64_t position, int64_t feature) {
  return sqrtf(0.5f * maps.shares[position * maps.features + feature] * static_cast<float>(maps.scale[position]));
}
__device__ __forceinline__ float map_element(const KlMaps &maps, int64_t position, int64_t feature, int64_t column) {
  const int64_t count = maps.features - 1, at = position * maps.width + column;
  if (feature == count) return maps.rest[at];
  const auto token = static_cast<int64_t>(maps.tokens[position * count + feature]);
  return maps.unit * widen_half(maps.head[token * maps.width + column]) - maps.mean[at];
}

// BACK: left are vectors [count, P, K] and out [count, P, C]; else changes [count, P, C] and features [count, P, K].
template <bool BACK>
__global__ void __launch_bounds__(THREADS)
    kl_product_kernel(const KlMaps maps, const float *left, int64_t positions, int64_t count, float *out) {
  ProductShared &shared = *reinterpret_cast<ProductShared *>(shared_memory());
  const int64_t depth = BACK ? maps.features : maps.width, columns = BACK ? maps.width : maps.features,
                position = blockIdx.x, first_column = static_cast<int64_t>(blockIdx.y) * TILE,
                first_row = static_cast<int64_t>(blockIdx.z) * TILE;
  const int own_row = threadIdx.x / SIDE, own_column = threadIdx.x % SIDE;
  float sum[EACH][EACH] = {};
  for (int64_t begin = 0; begin < depth; begin += DEPTH) {
    for (int i = static_cast<int>(threadIdx.x); i < TILE * DEPTH; i += THREADS) {
      const int64_t row = first_row + i / DEPTH, at = begin + i % DEPTH;
      shared.left[i / DEPTH][i % DEPTH] =
          row < count && at < depth ? left[(row * positions + position) * depth + at] : 0.0f;
    }
    // Neighbouring threads read neighbouring columns of the head.
    for (int i = static_cast<int>(threadIdx.x); i < TILE * DEPTH; i += THREADS) {
      const int column = BACK ? i % TILE : i / DEPTH, step = BACK ? i / TILE : i % DEPTH;
      const int64_t feature = BACK ? begin + step : first_column + column,
                    of_hidden = BACK ? first_column + column : begin + step;
      const bool is_inside = feature < maps.features && of_hidden < maps.width;
      const float value = is_inside ? map_element(maps, position, feature, of_hidden) : 0.0f;
      shared.right[column][step] = BACK && is_inside ? coefficient(maps, position, feature) * value : value;
    }
    __syncthreads();  // both sides are whole
    for (int step = 0; step < DEPTH; step++) {
      float x[EACH], y[EACH];
#pragma unroll
      for (int i = 0; i < EACH; i++) {
        x[i] = shared.left[own_row + i * SIDE][step];
        y[i] = shared.right[own_column + i * SIDE][step];
      }
#pragma unroll
      for (int i = 0; i < EACH; i++) {
#pragma unroll
        for (int j = 0; j < EACH; j++) sum[i][j] += x[i] * y[j];
      }
    }
    __syncthreads();  // every thread is done with them
  }
#pragma unroll
  for (int i = 0; i < EACH; i++) {
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      const int64_t row = first_row + own_row + i * SIDE, column = first_column + own_column + j * SIDE;
      if (row >= count || column >= columns) continue;
      out[(row * positions + position) * columns + column] =
          BACK ? sum[i][j] : coefficient(maps, position, column) * sum[i][j];
    }
  }
}

template <bool BACK>
cudaError_t launch_kl_product(const KlMaps &maps, const float *left, int64_t positions, int64_t count, float *out,
                              cudaStream_t stream) {
  const int64_t columns = BACK ? maps.width : maps.features;
  const dim3 blocks(static_cast<unsigned>(positions), static_cast<unsigned>(ceil_divide(columns, TILE)),
                    static_cast<unsigned>(ceil_divide(count, TILE)));
  return launch({blocks, THREADS, sizeof(ProductShared)}, stream, kl_product_kernel<BACK>, maps, left, positions, count,
                out);
}

}  // namespace

cudaError_t launch_kl_distributions(const float *from, const float *to, int64_t positions, int64_t vocab,
                                    float *probabilities, double *scale, cudaStream_t stream) {
  KlSteps steps{to == nullptr ? 1 : NUM_STEPS, {}, {}};
  for (int i = 0; i < steps.count; i++) {
    steps.share[i] = to == nullptr ? 0.0 : KL_STEPS[i].share;
    steps.weight[i] = to == nullptr ? 1.0 : KL_STEPS[i].weight;
  }
  return launch({dim3(static_cast<unsigned>(positions)), THREADS, THREADS / 32 * sizeof(double)}, stream,
                kl_distribution_kernel, from, to == nullptr ? from : to, vocab, steps, probabilities, scale);
}
cudaError_t launch_kl_tokens(float *probabilities, int64_t positions, int64_t vocab, int64_t count, int32_t *tokens,
                             float *shares, cudaStream_t stream) {
  if (count < 1 || count > MAX_KL_TOKENS || count > vocab) return cudaErrorInvalidValue;
  return launch({dim3(static_cast<unsigned>(positions)), THREADS, sizeof(TokenShared)}, stream, kl_tokens_kernel,
                probabilities, vocab, static_cast<int>(count), tokens, shares);
}
cudaError_t launch_split_f16(const float *from, int64_t rows, int64_t width, float factor, uint16_t *high,
                             uint16_t *low, cudaStream_t stream) {
  const LogitColumns columns(width);
  return launch({dim3(static_cast<unsigned>(ceil_divide(rows * columns.stride, THREADS))), THREADS}, stream,
                split_kernel, from, rows, width, columns.even, columns.stride, factor, high, low);
}
cudaError_t launch_kl_means(const KlMaps &maps, int64_t positions, cudaStream_t stream) {
  const dim3 blocks(static_cast<unsigned>(positions), static_cast<unsigned>(ceil_divide(maps.width, THREADS)));
  return launch({blocks, THREADS}, stream, kl_means_kernel, maps);
}
cudaError_t launch_kl_project(const KlMaps &maps, const float *changes, int64_t positions, int64_t count,
                              float *features, cudaStream_t stream) {
  return launch_kl_product<false>(maps, changes, positions, count, features, stream);
}
cudaError_t launch_kl_pull_back(const KlMaps &maps, const float *vectors, int64_t positions, int64_t count, float *out,
                                cudaStream_t stream) {
  return launch_kl_product<true>(maps, vectors, positions, count, out, stream);
}

}  // namespace duo::cuda

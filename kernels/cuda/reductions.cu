// One block per row, or for the loss a fixed number of blocks whose partial sums one block adds; nothing depends on the
// order blocks run in.
#include "cuda/reductions.h"

namespace duo::cuda {
namespace {

constexpr int THREADS = 256, MAX_SAMPLE_THREADS = 1024;

__global__ void loss_kernel(float *student, const float *teacher, int64_t count, double *partial) {
  double *scratch = reinterpret_cast<double *>(shared_memory());
  double sum = 0.0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count;
       i += static_cast<int64_t>(LOSS_BLOCKS) * THREADS) {
    const double difference = static_cast<double>(student[i]) - static_cast<double>(teacher[i]);
    sum += difference * difference;
    student[i] = static_cast<float>(2.0 * difference / static_cast<double>(count));
  }
  sum = sum_block(sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
__global__ void loss_sum_kernel(const double *partial, int64_t count, double *loss) {
  double *scratch = reinterpret_cast<double *>(shared_memory());
  const double sum = sum_block(partial[threadIdx.x], scratch);
  if (threadIdx.x == 0) *loss = sum / static_cast<double>(count);
}
static_assert(LOSS_BLOCKS == THREADS, "loss_sum_kernel adds one partial sum per thread");

__global__ void subtract_kernel(const float *a, const float *b, int64_t count, float *difference) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) difference[i] = a[i] - b[i];
}

struct Best {
  float value;
  int32_t index;
};
__device__ __forceinline__ Best better(Best a, Best b) {
  return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

// The largest of a row and its lowest index, in every thread. scratch: 32 Best in shared memory.
__device__ __forceinline__ Best find_best(const float *row, int64_t vocab, Best *scratch) {
  Best best{minus_infinity(), 0x7fffffff};
  for (int64_t i = threadIdx.x; i < vocab; i += blockDim.x) best = better(best, {row[i], static_cast<int32_t>(i)});
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    best = better(best, {__shfl_xor_sync(ALL_LANES, best.value, lanes), __shfl_xor_sync(ALL_LANES, best.index, lanes)});
  }
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = best;
  __syncthreads();
  best = scratch[0];
  for (unsigned w = 1; w < blockDim.x / 32; w++) best = better(best, scratch[w]);
  __syncthreads();
  return best;
}

__global__ void score_rows_kernel(const float *logits, const int32_t *targets, int64_t vocab, float *log_probs,
                                  int32_t *predictions) {
  const float *row = logits + static_cast<int64_t>(blockIdx.x) * vocab;
  const Best best = find_best(row, vocab, reinterpret_cast<Best *>(shared_memory()));
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < vocab; i += blockDim.x)
    sum += exp(static_cast<double>(row[i]) - static_cast<double>(best.value));
  sum = sum_block(sum, reinterpret_cast<double *>(shared_memory()));
  if (threadIdx.x == 0) {
    log_probs[blockIdx.x] =
        static_cast<float>(static_cast<double>(row[targets[blockIdx.x]]) - static_cast<double>(best.value) - log(sum));
    predictions[blockIdx.x] = best.index;
  }
}

// Natural logarithm of Σ exp(row − best), in every thread.
__device__ __forceinline__ double sum_exponentials(const float *row, int64_t vocab, double best, double *scratch) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < vocab; i += blockDim.x) sum += exp(static_cast<double>(row[i]) - best);
  return log(sum_block(sum, scratch));
}

__global__ void compare_rows_kernel(const float *teacher, const float *student, int64_t vocab, int64_t even,
                                    int64_t stride, float scale, bf16 *gradient, double *divergences) {
  double *scratch = reinterpret_cast<double *>(shared_memory());
  const int64_t first = static_cast<int64_t>(blockIdx.x) * vocab;
  const float *expected = teacher + first, *found = student + first;
  bf16 *slopes = gradient + static_cast<int64_t>(blockIdx.x) * stride;
  const double best_expected = static_cast<double>(find_best(expected, vocab, reinterpret_cast<Best *>(scratch)).value);
  const double best_found = static_cast<double>(find_best(found, vocab, reinterpret_cast<Best *>(scratch)).value);
  const double log_expected = sum_exponentials(expected, vocab, best_expected, scratch),
               log_found = sum_exponentials(found, vocab, best_found, scratch);
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < vocab; i += blockDim.x) {
    const double log_p = static_cast<double>(expected[i]) - best_expected - log_expected,
                 log_q = static_cast<double>(found[i]) - best_found - log_found;
    const double p = exp(log_p);
    sum += p * (log_p - log_q);
    slopes[i < even ? i : even + 8 - vocab + i] = narrow(scale * static_cast<float>(exp(log_q) - p));
  }
  if (threadIdx.x < stride - vocab) slopes[even + threadIdx.x] = narrow(0.0f);
  sum = sum_block(sum, scratch);
  if (threadIdx.x == 0) divergences[blockIdx.x] = sum;
}

__global__ void check_finite_kernel(const float *logits, int64_t vocab, int32_t *first_bad) {
  int32_t *scratch = reinterpret_cast<int32_t *>(shared_memory());
  const float *row = logits + static_cast<int64_t>(blockIdx.x) * vocab;
  int32_t bad = NONE_BAD;
#pragma unroll 8
  for (int64_t i = threadIdx.x; i < vocab; i += blockDim.x) {
    if (!is_finite(row[i]) && i < bad) bad = static_cast<int32_t>(i);
  }
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const int32_t other = __shfl_xor_sync(ALL_LANES, bad, lanes);
    bad = other < bad ? other : bad;
  }
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = bad;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned w = 0; w < blockDim.x / 32; w++) bad = scratch[w] < bad ? scratch[w] : bad;
    first_bad[blockIdx.x] = bad == NONE_BAD ? -1 : bad;
  }
}

__device__ __forceinline__ uint64_t mix_bits(uint64_t x) {  // splitmix64's output function
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Place of a token in the order of the draw, larger first: by logit, then by lower id; without a cut by id alone.
__device__ __forceinline__ uint64_t draw_key(const float *logits, int64_t id, bool by_logit) {
  const uint32_t low = ~static_cast<uint32_t>(id);
  if (!by_logit) return low;
#ifdef DUO_EMULATION
  const uint32_t bits = float_to_bits(logits[id] + 0.0f);
#else
  const uint32_t bits = __float_as_uint(logits[id] + 0.0f);  // −0 equals 0
#endif
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | low;
}

// Shortest run of the order from its start whose weight reaches `bound` (>= it, or > it where `strict`): the key of its
// last token. Weights of keys below `floor` count as 0. `counts`: every weight is 1. Binary search over keys; each
// probe is one sum in a fixed order.
__device__ __forceinline__ uint64_t find_prefix(const SampleDraw &d, bool by_logit, uint64_t floor, bool counts,
                                                double bound, bool strict, double *scratch) {
  uint64_t low = 0, high = by_logit ? ~0ull : 0xffffffffull;  // the largest key whose run reaches the bound
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2 + 1;
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < d.vocab; i += blockDim.x) {
      const uint64_t key = draw_key(d.logits, i, by_logit);
      if (key >= middle && key >= floor) sum += counts ? 1.0 : d.weights[i];
    }
    sum = sum_block(sum, scratch);
    if (strict ? sum > bound : sum >= bound) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

__device__ __forceinline__ double sum_weights(const SampleDraw &d, bool by_logit, uint64_t floor, double *scratch) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < d.vocab; i += blockDim.x) {
    if (draw_key(d.logits, i, by_logit) >= floor) sum += d.weights[i];
  }
  return sum_block(sum, scratch);
}

__global__ void __launch_bounds__(MAX_SAMPLE_THREADS) sample_kernel(const SampleDraw d) {
  double *scratch = reinterpret_cast<double *>(shared_memory());
  const Best best = find_best(d.logits, d.vocab, reinterpret_cast<Best *>(scratch));
  if (d.temperature == 0.0f) {
    if (threadIdx.x == 0) *d.token = best.index;
    return;
  }
  for (int64_t i = threadIdx.x; i < d.vocab; i += blockDim.x) {
    d.weights[i] =
        exp((static_cast<double>(d.logits[i]) - static_cast<double>(best.value)) / static_cast<double>(d.temperature));
  }
  const bool cuts_count = d.top_k > 0 && d.top_k < d.vocab, by_logit = cuts_count || d.top_p < 1.0f;
  uint64_t floor = 0;
  if (cuts_count) floor = find_prefix(d, by_logit, 0, true, static_cast<double>(d.top_k), false, scratch);
  double total = sum_weights(d, by_logit, floor, scratch);
  if (d.top_p < 1.0f) {
    const uint64_t cut = find_prefix(d, by_logit, floor, false, static_cast<double>(d.top_p) * total, false, scratch);
    floor = cut > floor ? cut : floor;
    total = sum_weights(d, by_logit, floor, scratch);
  }
  const double uniform =
      static_cast<double>(mix_bits(mix_bits(d.seed) ^ static_cast<uint64_t>(static_cast<int64_t>(*d.length))) >> 11) *
      0x1p-53;
  const uint64_t found = find_prefix(d, by_logit, floor, false, uniform * total, true, scratch);
  if (threadIdx.x == 0) {
    // The key's low half is the id. A bound that rounding put out of reach leaves key 0: the last token of the order
    // then.
    const uint64_t key = found > floor ? found : floor;
    const int64_t id = static_cast<int64_t>(~static_cast<uint32_t>(key));
    *d.token = id < d.vocab ? static_cast<int32_t>(id) : best.index;
  }
}

__global__ void set_value_kernel(int32_t *to, int32_t value) {
  if (threadIdx.x == 0) *to = value;
}

}  // namespace

cudaError_t launch_distill_loss(float *student, const float *teacher, int64_t count, double *partial, double *loss,
                                cudaStream_t stream) {
  const cudaError_t error =
      launch({dim3(LOSS_BLOCKS), THREADS, 32 * sizeof(double)}, stream, loss_kernel, student, teacher, count, partial);
  if (error != cudaSuccess) return error;
  return launch({dim3(1), THREADS, 32 * sizeof(double)}, stream, loss_sum_kernel, partial, count, loss);
}
cudaError_t launch_subtract(const float *a, const float *b, int64_t count, float *difference, cudaStream_t stream) {
  return launch({dim3(static_cast<unsigned>(ceil_divide(count, THREADS))), THREADS}, stream, subtract_kernel, a, b,
                count, difference);
}
cudaError_t launch_score_rows(const float *logits, const int32_t *targets, int64_t rows, int64_t vocab,
                              float *log_probs, int32_t *predictions, cudaStream_t stream) {
  return launch({dim3(static_cast<unsigned>(rows)), THREADS, 32 * sizeof(double)}, stream, score_rows_kernel, logits,
                targets, vocab, log_probs, predictions);
}
cudaError_t launch_compare_rows(const float *teacher, const float *student, int64_t rows, int64_t vocab, float scale,
                                bf16 *gradient, double *divergences, cudaStream_t stream) {
  const LogitColumns columns(vocab);
  return launch({dim3(static_cast<unsigned>(rows)), THREADS, 32 * sizeof(double)}, stream, compare_rows_kernel, teacher,
                student, vocab, columns.even, columns.stride, scale, gradient, divergences);
}
cudaError_t launch_check_finite(const float *logits, int64_t rows, int64_t vocab, int32_t *first_bad,
                                cudaStream_t stream) {
  // One block per row, as large as possible: it runs alone at the end of a decode step.
  return launch({dim3(static_cast<unsigned>(rows)), 1024, 32 * sizeof(int32_t)}, stream, check_finite_kernel, logits,
                vocab, first_bad);
}
cudaError_t launch_sample(const SampleDraw &draw, cudaStream_t stream) {
  const int64_t threads = ceil_divide(draw.vocab, 32) * 32;
  return launch(
      {dim3(1), static_cast<int>(threads < MAX_SAMPLE_THREADS ? threads : MAX_SAMPLE_THREADS), 32 * sizeof(double)},
      stream, sample_kernel, draw);
}
cudaError_t launch_set_value(int32_t *to, int32_t value, cudaStream_t stream) {
  return launch({dim3(1), 32}, stream, set_value_kernel, to, value);
}

}  // namespace duo::cuda

// The operations that end a pass: the distillation loss, scores of next tokens, the choice of a token. Sums in a fixed
// order, in fp64 where they are long.
#pragma once
#include "cuda/device.h"

namespace duo::cuda {

constexpr int LOSS_BLOCKS = 256;

// loss [1] fp64 = mean of (student − teacher)² over count elements; student becomes its gradient 2·(student −
// teacher)/count.
//   partial [LOSS_BLOCKS] fp64, scratch
cudaError_t launch_distill_loss(float *student, const float *teacher, int64_t count, double *partial, double *loss,
                                cudaStream_t stream);

// Products need a depth that is a multiple of 8. Gradients of logits [rows, V] have rows of V elements if V is one;
// otherwise rows of `even` + 8, where the last 8 belong to tokens V−8 … V−1 and are zero for tokens that are among the
// first `even`.
struct LogitColumns {
  int64_t even, stride;
  explicit LogitColumns(int64_t vocab) : even(vocab / 8 * 8), stride(even == vocab ? vocab : even + 8) {}
};

// For each row of logits [rows, V]: divergences [rows] fp64 = KL(teacher ‖ student); gradient [rows, stride] bf16, laid
// out as LogitColumns says = scale·(student's probability − teacher's).
cudaError_t launch_compare_rows(const float *teacher, const float *student, int64_t rows, int64_t vocab, float scale,
                                bf16 *gradient, double *divergences, cudaStream_t stream);

// difference [count] = a − b, which may be written in place.
cudaError_t launch_subtract(const float *a, const float *b, int64_t count, float *difference, cudaStream_t stream);

// For each row of logits [rows, V]: the natural-log probability of its target, and the lowest id of the largest.
cudaError_t launch_score_rows(const float *logits, const int32_t *targets, int64_t rows, int64_t vocab,
                              float *log_probs, int32_t *predictions, cudaStream_t stream);

constexpr int32_t NONE_BAD = 0x7fffffff;  // greater than any index: what a lowest one is taken from
// first_bad [rows] = lowest index of a logit that is NaN or infinite, or −1.
cudaError_t launch_check_finite(const float *logits, int64_t rows, int64_t vocab, int32_t *first_bad,
                                cudaStream_t stream);

// The draw of cpu/sampling.h: a function of seed, *length and the logits.   weights [V] fp64, scratch; token [1]
//   written
struct SampleDraw {
  const float *logits;
  int64_t vocab;
  const int32_t *length;
  float temperature, top_p;
  int32_t top_k;
  uint64_t seed;
  double *weights;
  int32_t *token;
};
cudaError_t launch_sample(const SampleDraw &draw, cudaStream_t stream);

cudaError_t launch_set_value(int32_t *to, int32_t value, cudaStream_t stream);

}  // namespace duo::cuda

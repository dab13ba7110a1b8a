// What the KL metric (core/kl_metric.h) is made of on the device: distributions, their likeliest tokens, the mean rows
// of the output head under them, and products with the map of each position. P positions, V tokens, C columns, K
// features: one of each of T = K − 1 tokens, then that of all others together.
#pragma once
#include "cuda/device.h"

namespace duo::cuda {

// For each row of logits from [P, V] towards those of `to` [P, V]: probabilities [P, V] = the mean distribution on the
// way, scale [P] fp64 = what its quadratic form is multiplied by to give the divergence of the whole way. to null:
// softmax(from), and 1. probabilities may be `from`.
cudaError_t launch_kl_distributions(const float *from, const float *to, int64_t positions, int64_t vocab,
                                    float *probabilities, double *scale, cudaStream_t stream);

constexpr int64_t MAX_KL_TOKENS = 256;
// The count <= MAX_KL_TOKENS likeliest tokens of each row, likeliest first, of equal ones the lower ids: tokens [P, T],
// shares [P, K] = their probabilities and that of all others, probabilities [P, V] = 0 at these tokens.
cudaError_t launch_kl_tokens(float *probabilities, int64_t positions, int64_t vocab, int64_t count, int32_t *tokens,
                             float *shares, cudaStream_t stream);

// factor · from [rows, width] in two f16 parts, high + low / SPLIT_LOW, which together hold 22 bits. Both [rows,
// stride] as LogitColumns(width) says (cuda/reductions.h). factor · |from| < 65504.
constexpr float SPLIT_LOW = 2048.0f;
cudaError_t launch_split_f16(const float *from, int64_t rows, int64_t width, float factor, uint16_t *high,
                             uint16_t *low, cudaStream_t stream);

// The maps of P positions [K, C]: feature k of a change δ [C] is √(shares[k]·scale/2)·⟨row_k − mean, δ⟩, row_k that of
// token k in the head [V, C], which is unit · f16.
struct KlMaps {
  const uint16_t *head;
  float unit;
  int64_t width, features;
  const int32_t *tokens;  // [P, T]
  const float *shares;    // [P, K]
  const double *scale;    // [P]
  float *mean;            // [P, C]: Σ p_v w_v over all tokens
  float *rest;            // [P, C]: the mean row of the others less `mean`, 0 where they have no feature
  // From position `first` on.
  KlMaps from(int64_t first) const {
    return {head,
            unit,
            width,
            features,
            tokens + first * (features - 1),
            shares + first * features,
            scale + first,
            mean + first * width,
            rest + first * width};
  }
};
// rest [P, C] holds Σ p_v w_v over the others; it and mean are written.
cudaError_t launch_kl_means(const KlMaps &maps, int64_t positions, cudaStream_t stream);

// features [count, P, K] of changes [count, P, C], fp32 sums in index order.
cudaError_t launch_kl_project(const KlMaps &maps, const float *changes, int64_t positions, int64_t count,
                              float *features, cudaStream_t stream);
// out [count, P, C] = the transpose of the maps times vectors [count, P, K], fp32 sums in index order.
cudaError_t launch_kl_pull_back(const KlMaps &maps, const float *vectors, int64_t positions, int64_t count, float *out,
                                cudaStream_t stream);

}  // namespace duo::cuda

// The KL divergence between next-token distributions as a Euclidean distance of features: for a small change of the
// hidden states KL(p ‖ p') = ½ Σ p_v (δz_v − Σ p δz)² + …, where δz = W δ are the changes of the logits. Each of the
// most likely tokens gives one feature and all others together one more, so that features are linear in δ and inner
// products of them take the place of those of hidden states. Where the model is sure of a token that curvature is next
// to nothing, however much a large change destroys. With an anchor, hidden states that large changes lead to, p gives
// way to its mean on the way there (weights 2(1 − t), those of the integral that KL is of its curvature), and the whole
// is scaled so that the anchor's own divergence is exact.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/linear.h"
#include "cpu/scratch.h"

namespace duo {

// Features of a position: one of each of the likeliest tokens, and of the others together.
inline int64_t count_kl_features(int64_t vocab) { return std::min<int64_t>(DUO_KL_TOKENS, vocab) + 1; }

class KlMetric {
 public:
  // reference [num_positions, C]: hidden states after the final norm, whose next-token distributions are p. They may be
  // freed afterwards, the head not. anchor: the same of what changes lead to, or null. Memory: two of [64, V] and
  // [num_positions, C + DUO_KL_TOKENS] floats. Costs the logits of both and one product of the same size.
  KlMetric(const CpuContext &context, const Linear &lm_head, const float *reference, const float *anchor,
           int64_t num_positions);

  // features [count, P, K] of changes [count, P, C]: squared lengths are KL divergences in nats.
  void project(const float *changes, int64_t count, float *features) const;
  // out [count, P, C]: the vectors over hidden states whose inner products with changes are those of vectors [count, P,
  // K] with the changes' features.
  void pull_back(const float *vectors, int64_t count, float *out) const;

 private:
  void choose_tokens(int64_t position, const float *probabilities);
  Linear map_of(int64_t position, ScratchBuffer &rows) const;

  const CpuContext &context_;
  const Linear &lm_head_;
  int64_t num_positions_, num_tokens_;  // num_tokens_: with features of their own
  std::vector<int32_t> tokens_;         // [P, tokens]
  std::vector<float> probabilities_;    // [P, tokens]
  std::vector<double> rest_;            // [P]: probability of all other tokens
  std::vector<double> scale_;           // [P]: of squared lengths, 1 without an anchor
  ScratchBuffer mean_;                  // [P, C]: Σ p_v w_v over all tokens
};

}  // namespace duo

// The KL divergence between next-token distributions as a Euclidean distance of features: for a small change of the
// hidden states KL(p ‖ p') = ½ Σ p_v (δz_v − Σ p δz)² + …, where δz = W δ are the changes of the logits. Each of the
// most likely tokens gives one feature and all others together one more, so that features are linear in δ and inner
// products of features replace those of hidden states. Where the model is certain of a token that curvature is nearly
// zero, however much a large change destroys. With an anchor (the hidden states that large changes lead to) p is
// replaced by its mean on the way there, with weights 2(1 − t), because KL is the integral of its curvature with these
// weights; the whole is scaled so that the anchor's own divergence is exact.
#pragma once
#include <algorithm>
#include <cstdint>

#include "duo.h"

namespace duo {

// Features of a position: one for each of the likeliest tokens, and one for all others together.
inline int64_t count_kl_features(int64_t vocab) { return std::min<int64_t>(DUO_KL_TOKENS, vocab) + 1; }

// Below this total probability the others have no feature: their mean row would be divided by nearly zero.
constexpr double KL_MIN_REST = 1e-6;
// An anchor whose divergence is no larger than rounding does not scale anything.
constexpr double KL_MIN_DIVERGENCE = 1e-9;
// Shares of the way to the anchor, and their weights: the Gauss–Jacobi rule of the weight 2(1 − t), exact for
// curvatures that are polynomials of degree 5.
struct KlStep {
  double share, weight;
};
constexpr KlStep KL_STEPS[] = {
    {0.0885879595127, 0.4018638274779}, {0.4094668644407, 0.4584822127192}, {0.7876594617608, 0.1396539598029}};

// Of P positions, each with a map of its own; made by DuoModel::use_kl_metric from reference [P, C], hidden states
// after the final norm whose next-token distributions are p, and an anchor [P, C] or null. All in host memory.
class KlMetric {
 public:
  virtual ~KlMetric() = default;
  // features [count, P, K] of changes [count, P, C]: squared lengths are KL divergences in nats.
  virtual void project(const float *changes, int64_t count, float *features) const = 0;
  // out [count, P, C]: the vectors over hidden states whose inner products with changes are those of vectors [count, P,
  // K] with the changes' features.
  virtual void pull_back(const float *vectors, int64_t count, float *out) const = 0;
};

}  // namespace duo

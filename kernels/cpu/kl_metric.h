// The KL metric (core/kl_metric.h) in fp32 on the CPU, from the weights as stored.
#pragma once
#include <cstdint>
#include <vector>

#include "core/kl_metric.h"
#include "cpu/linear.h"
#include "cpu/scratch.h"

namespace duo {

class CpuKlMetric final : public KlMetric {
 public:
  // The arrays may be freed afterwards, the head not. Memory: two of [64, V] and [num_positions, C + DUO_KL_TOKENS]
  // floats. Costs the logits of both and one product of the same size.
  CpuKlMetric(const CpuContext &context, const Linear &lm_head, const float *reference, const float *anchor,
              int64_t num_positions);
  void project(const float *changes, int64_t count, float *features) const override;
  void pull_back(const float *vectors, int64_t count, float *out) const override;

 private:
  void choose_tokens(int64_t position, const float *probabilities);
  Linear map_of(int64_t position, ScratchBuffer &rows) const;
  void multiply_maps(const float *from, int64_t count, bool is_transposed, float *to) const;

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

// Rotary embedding frequencies and tables as Hugging Face transformers computes them, in fp32.
#pragma once
#include <cstdint>
#include <vector>

#include "core/config.h"

namespace duo {

struct RopeFrequencies {
  std::vector<float> inverse;  // [D/2]
  float attention_scale;       // factor on cos and sin
};

// `max_tokens`: the declared maximum of the session or sample, from which dynamic scaling takes its base; never below
// max_positions' effect.
RopeFrequencies compute_rope_frequencies(const ModelConfig &config, int64_t max_tokens);

// cos, sin [count, D/2] of positions start … start+count−1: the angle is the fp32 product position·inverse, as Hugging
// Face computes it; its cosine is taken in fp64 and rounded. Rotation is "rotate half": element i pairs with i + D/2.
void fill_rope_tables(const RopeFrequencies &frequencies, int64_t start, int64_t count, float *cos, float *sin);

}  // namespace duo

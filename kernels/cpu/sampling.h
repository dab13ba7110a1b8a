// Drawing a token from logits: greedy, temperature, top-k, top-p. src/runtime/sampling.ts states the same definition
// for engines without it.
#pragma once
#include <cstdint>

#include "core/backend.h"

namespace duo {

// Uniform in [0, 1) from 53 bits that depend on seed and length alone.
double draw_uniform(uint64_t seed, int64_t length);

// Candidates are the top_k highest logits (0 = all; ties: the lower id first), of which top_p < 1 keeps the shortest
// prefix whose probability reaches top_p. They stand by logit, highest first, when top_k or top_p cuts, else by id.
// Weights are exp((logit − max)/temperature) in fp64; the token drawn is the first whose running sum exceeds
// draw_uniform(seed, length) times the whole.
int32_t sample_token(const float *logits, int64_t vocab, const Sampling &sampling, int64_t length);

}  // namespace duo

// The sessions of a decode step as a table in device memory, so that a captured step serves any set of sessions: its
// beginning writes the table and the tokens, what is made from the table alone, and its end, which hands out what the
// step found.
#pragma once
#include "cuda/kv_formats.h"
#include "cuda/reductions.h"

namespace duo::cuda {

struct DecodeMember {
  const HeadCache *caches;  // [L, G]
  const float *inverse;     // [D/2] rotary frequencies: sessions may differ in their base (dynamic scaling)
  float *logits;            // [V] written at the end of a step
  float rope_scale;
  int32_t length;  // tokens before this one
};

constexpr int MAX_STEP_SESSIONS = 64;

// The beginning of a step: members_to[i] = members[i], tokens_to[i] = tokens[i]. All of it in one launch, by value (2.3
// of 4 KB).
struct StepInputs {
  DecodeMember *members_to;
  int32_t *tokens_to;
  int32_t count;
  int32_t has_tokens;  // 0: they lie in tokens_to already
  DecodeMember members[MAX_STEP_SESSIONS];
  int32_t tokens[MAX_STEP_SESSIONS];
};
cudaError_t launch_begin_step(const StepInputs &inputs, cudaStream_t stream);

// Cosines and sines [count, D/2] of each member's length, as launch_rope_tables.
cudaError_t launch_step_rope(const DecodeMember *members, int32_t count, int32_t half, float *cosine, float *sine,
                             cudaStream_t stream);

// The end of a step: each member's logits from row i of logits [count, V]; reported[i] = first_bad[i], or −1 where that
//   is NONE_BAD, which it is again
// afterwards.   reported [count] may be pinned host memory
struct StepResults {
  const DecodeMember *members;
  int32_t count;
  const float *logits;
  int64_t vocab;
  int32_t *first_bad, *reported;
};
cudaError_t launch_end_step(const StepResults &results, cudaStream_t stream);

}  // namespace duo::cuda

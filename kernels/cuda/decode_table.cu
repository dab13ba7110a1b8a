// One thread per member, angle or logit.
#include "cuda/decode_table.h"

#include "cuda/layer_ops.h"

namespace duo::cuda {
namespace {

constexpr int THREADS = 256;

__global__ void begin_step_kernel(const StepInputs inputs) {
  const int i = threadIdx.x;
  if (i >= inputs.count) return;
  inputs.members_to[i] = inputs.members[i];
  if (inputs.has_tokens) inputs.tokens_to[i] = inputs.tokens[i];
}

__global__ void step_rope_kernel(const DecodeMember *members, int32_t count, int32_t half, float *cosine, float *sine) {
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= count * half) return;
  const DecodeMember &member = members[i / half];
  make_rope_pair(member.length, member.inverse[i % half], member.rope_scale, cosine + i, sine + i);
}

// Block (x, member).
__global__ void end_step_kernel(const StepResults r) {
  const int member = blockIdx.y;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
  if (i < r.vocab) r.members[member].logits[i] = r.logits[member * r.vocab + i];
  if (i > 0) return;
  r.reported[member] = r.first_bad[member] == NONE_BAD ? -1 : r.first_bad[member];
  r.first_bad[member] = NONE_BAD;
}

unsigned blocks_of(int64_t items) { return static_cast<unsigned>(ceil_divide(items, THREADS)); }

}  // namespace

cudaError_t launch_begin_step(const StepInputs &inputs, cudaStream_t stream) {
  return launch({dim3(1), MAX_STEP_SESSIONS}, stream, begin_step_kernel, inputs);
}

cudaError_t launch_step_rope(const DecodeMember *members, int32_t count, int32_t half, float *cosine, float *sine,
                             cudaStream_t stream) {
  return launch({dim3(blocks_of(int64_t{count} * half)), THREADS}, stream, step_rope_kernel, members, count, half,
                cosine, sine);
}

cudaError_t launch_end_step(const StepResults &results, cudaStream_t stream) {
  return launch({dim3(blocks_of(results.vocab), static_cast<unsigned>(results.count)), THREADS}, stream,
                end_step_kernel, results);
}

}  // namespace duo::cuda

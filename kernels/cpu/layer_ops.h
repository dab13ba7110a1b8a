// The small operations of a transformer layer and their input gradients: RMSNorm, rotary embedding, SwiGLU, embedding
// lookup. All rows independent, all tensors row-major fp32 without gaps unless a stride is given.
#pragma once
#include <cstdint>

#include "core/weight_map.h"
#include "cpu/linear.h"

namespace duo {

// out [rows, width] = x / sqrt(mean(x²) + eps) · weight [width]. `out` may be x. Sums of squares in fp64.
void rms_norm(const CpuContext &context, const float *x, const float *weight, int64_t rows, int64_t width, float eps,
              float *out);
// dx [rows, width] (+)= gradient of rms_norm at x for dy.
void rms_norm_backward(const CpuContext &context, const float *x, const float *weight, const float *dy, int64_t rows,
                       int64_t width, float eps, float *dx, bool accumulate);

// x [rows, heads, D] in place; row r turns by cos, sin [rows, D/2]. `inverse`: turn back (the gradient).
void apply_rope(const CpuContext &context, float *x, int64_t rows, int64_t heads, int64_t head_dim, const float *cos,
                const float *sin, bool inverse);

// x [rows, heads, D] in place: each head vector's orthonormal Walsh–Hadamard transform (CacheOps::hadamard), its own
// inverse.
void apply_hadamard(const CpuContext &context, float *x, int64_t rows, int64_t heads, int64_t head_dim);

// gate [rows, width] = silu(gate) · up.
void swiglu(const CpuContext &context, float *gate, const float *up, int64_t rows, int64_t width);
// From gate, up and d = gradient of silu(gate)·up: gate becomes its gradient, up becomes its gradient.
void swiglu_backward(const CpuContext &context, float *gate, float *up, const float *d, int64_t rows, int64_t width);

// out [count, C] = rows `tokens` of the embedding [V, C].
void embed_tokens(const CpuContext &context, const Tensor &embedding, const int32_t *tokens, int64_t count, float *out);

}  // namespace duo

// Row-wise operations of a layer. x, residual streams and gradients are fp32, inputs of products bf16; sums are fp32 in
// a fixed order. T rows, C columns; all pointers device memory; every function launches one kernel on `stream`.
#pragma once
#include "cuda/kv_formats.h"

namespace duo::cuda {

// Where a function takes `half`, the 16-bit floats that it reads and writes are of that kind.
// x [T, C] fp32 = unit · rows of table [V, C].
cudaError_t launch_embed(const int32_t *tokens, const bf16 *table, int64_t rows, int64_t width, float *x,
                         cudaStream_t stream, Half half = Half::bf16, float unit = 1.0f);
// C is a multiple of 8 in everything below, and rows lie together.
// out [T, C] = x·rsqrt(mean x² + eps)·weight, bf16 or fp32.
cudaError_t launch_rms_norm(const float *x, const float *weight, int64_t rows, int64_t width, float eps, bf16 *out,
                            cudaStream_t stream, Half half = Half::bf16);
cudaError_t launch_rms_norm_f32(const float *x, const float *weight, int64_t rows, int64_t width, float eps, float *out,
                                cudaStream_t stream);
// kept [T, C] = x rounded to bf16, out the norm of that; then, bit for bit the same, out of kept.
cudaError_t launch_rms_norm_kept(const float *x, const float *weight, int64_t rows, int64_t width, float eps,
                                 bf16 *kept, bf16 *out, cudaStream_t stream);
cudaError_t launch_rms_norm_of_kept(const bf16 *kept, const float *weight, int64_t rows, int64_t width, float eps,
                                    bf16 *out, cudaStream_t stream);
// dx [T, C] = gradient through the norm, or += it; narrowed [T, C]: the sum rounded to bf16, or null.
cudaError_t launch_rms_norm_backward(const float *x, const float *weight, const float *dy, int64_t rows, int64_t width,
                                     float eps, float *dx, cudaStream_t stream);
cudaError_t launch_rms_norm_backward_add(const float *x, const float *weight, const bf16 *dy, int64_t rows,
                                         int64_t width, float eps, float *dx, bf16 *narrowed, cudaStream_t stream);
cudaError_t launch_rms_norm_backward_add_kept(const bf16 *kept, const float *weight, const bf16 *dy, int64_t rows,
                                              int64_t width, float eps, float *dx, cudaStream_t stream);

// Where the rope kernel takes a run of tokens' projections from and leaves them.
struct RopeWrite {
  const bf16 *query_in;  // [query_rows, H·D], rows query_stride apart
  int64_t query_stride;
  const bf16 *key_in, *value_in;  // [rows, G·D], rows key_stride apart
  int64_t key_stride;
  const int32_t *query_positions, *positions;  // [query_rows], [rows] absolute
  int64_t table_start;                         // position of the tables' first row
  int64_t query_rows, rows;
  int32_t heads, kv_heads, head_dim;
  const float *query_norm, *key_norm;  // [D] or null
  float eps;
  const float *cosine, *sine;    // [positions, D/2]
  bf16 *query_out;               // [query_rows, H, D]
  Dtype dtype;                   // of the cache; f16: everything 16-bit here is f16, else bf16
  bool rotates_kv;               // queries, keys and values go through hadamard.h's transform before they are rounded
  float *peak;                   // f16: rises to what lies beyond its range; or null
  uint8_t *key_out, *value_out;  // [rows, G] rows of kv_key_bytes, kv_value_bytes
  uint32_t *key_scale, *value_scale;  // [rows, G] or null
};
// Cosine and sine of a position's angle: the fp32 product position·inverse, its cosine taken in fp64 and scaled, as
// core/rope.h does.
__device__ __forceinline__ void make_rope_pair(int64_t position, float inverse, float scale, float *cosine,
                                               float *sine) {
  const double angle = static_cast<double>(static_cast<float>(position) * inverse);
  *cosine = static_cast<float>(cos(angle)) * scale;
  *sine = static_cast<float>(sin(angle)) * scale;
}
// Cosines and sines [rows, D/2] of positions start + row.
cudaError_t launch_rope_tables(const float *inverse, float scale, int64_t start, int64_t rows, int32_t half,
                               float *cosine, float *sine, cudaStream_t stream);
// Q/K norm, rotation ("rotate half"), cache format. One warp per head vector.
cudaError_t launch_rope_write(const RopeWrite &rope, cudaStream_t stream);

// Rows of a chunk in cache format into the caches; rows that the ring would overwrite again are left out.
struct CacheCopy {
  const uint8_t *key, *value;  // [rows, G] rows of kv_key_bytes, kv_value_bytes
  const uint32_t *key_scale, *value_scale;
  const HeadCache *caches;  // [G]
  int64_t rows, start;
  int32_t kv_heads, head_dim;
  Dtype dtype;
};
cudaError_t launch_cache_copy(const CacheCopy &copy, cudaStream_t stream);

// Back through rotation and Q/K norm: dy [rows, heads, D] fp32 → out bf16, rows out_stride apart. raw: before the norm,
// rows raw_stride apart.
struct RopeBackward {
  const float *dy;
  const int32_t *positions;  // [rows]
  int64_t rows;
  int32_t heads, head_dim;
  const float *cosine, *sine;  // of positions from 0; null: no rotation (values)
  const float *norm;           // [D] or null
  const bf16 *raw;
  int64_t raw_stride;
  float eps;
  bf16 *out;
  int64_t out_stride;
  bool scatters;  // row i goes to out row positions[i]
};
cudaError_t launch_rope_backward(const RopeBackward &rope, cudaStream_t stream);

// out [T, I] bf16 = silu(gate)·up, gate and up the halves of gate_up [T, 2I].
cudaError_t launch_swiglu(const bf16 *gate_up, int64_t rows, int64_t width, bf16 *out, cudaStream_t stream);
// The same of f16, times `factor`; *peak (device, or null) rises to the greatest |silu(gate)·up|.
cudaError_t launch_swiglu_f16(const uint16_t *gate_up, int64_t rows, int64_t width, float factor, float *peak,
                              uint16_t *out, cudaStream_t stream);
// d_gate_up [T, 2I] = the gradient of gate_up [T, 2I], from d_hidden [T, I]; it may be written in place of gate_up.
cudaError_t launch_swiglu_backward(const bf16 *gate_up, const bf16 *d_hidden, int64_t rows, int64_t width,
                                   bf16 *d_gate_up, cudaStream_t stream);

// to [rows, C] = from [index[row], C], or from [row, C] where index is null; and back, to[index[row]] = from[row]; the
// indices are distinct.
cudaError_t launch_gather_rows(const float *from, const int32_t *index, int64_t rows, int64_t width, float *to,
                               cudaStream_t stream);
cudaError_t launch_gather_rows_bf16(const bf16 *from, const int32_t *index, int64_t rows, int64_t width, bf16 *to,
                                    cudaStream_t stream);
cudaError_t launch_gather_rows_widened(const bf16 *from, const int32_t *index, int64_t rows, int64_t width, float *to,
                                       cudaStream_t stream);
cudaError_t launch_scatter_rows(const float *from, const int32_t *index, int64_t rows, int64_t width, float *to,
                                cudaStream_t stream);
cudaError_t launch_narrow(const float *from, int64_t count, bf16 *to, cudaStream_t stream, Half half = Half::bf16);
// to[row] = start + row.
cudaError_t launch_count_up(int64_t start, int64_t rows, int32_t *to, cudaStream_t stream);
// mixed [rows, H, D] = gate·full + (1 − gate)·stream.
cudaError_t launch_mix(const float *full, const float *stream, const float *gates, int64_t rows, int32_t heads,
                       int32_t kv_heads, int32_t head_dim, bf16 *mixed, cudaStream_t stream_, Half half = Half::bf16);
// Weights [rows, columns] to int8 and one scale per row, and back.
cudaError_t launch_quantize_rows(const bf16 *from, int64_t rows, int64_t columns, int8_t *to, float *scale,
                                 cudaStream_t stream);
// Every key and value of a cache becomes a seeded random number of unit scale.
cudaError_t launch_fill_cache(HeadCache cache, Dtype dtype, int32_t head_dim, uint64_t seed, cudaStream_t stream);
// y [T, N] += bias [N].
cudaError_t launch_add_bias(bf16 *y, const float *bias, int64_t rows, int64_t width, cudaStream_t stream,
                            Half half = Half::bf16);
cudaError_t launch_add_bias_f32(float *y, const float *bias, int64_t rows, int64_t width, cudaStream_t stream);

}  // namespace duo::cuda

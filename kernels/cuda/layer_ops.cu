// Row-wise operations: one block per row for norms, one warp per head vector for rope, one thread for a few elements of the
// rest.
#include "cuda/layer_ops.h"

#include "cuda/hadamard.h"
#include "cuda/head_vector.h"
#include "cuda/instances.h"
#include "cuda/kv_encode.h"

namespace duo::cuda {
namespace {

constexpr int THREADS = 256;
constexpr size_t NORM_SHARED = 32 * sizeof(float);

Grid element_grid(int64_t count) { return {dim3(static_cast<unsigned>(ceil_divide(count, THREADS))), THREADS}; }
__device__ __forceinline__ int64_t element_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

template <Half HALF>
__global__ void embed_kernel(const int32_t *tokens, const uint16_t *table, float unit, int64_t rows, int64_t width,
                             float *x) {
  const int64_t i = element_index();
  if (i < rows * width)
    x[i] = unit * widen_as<HALF>(table[static_cast<int64_t>(tokens[i / width]) * width + i % width]);
}

// Four neighbours of a row, 16 bytes of fp32 or 8 of bf16; rows are whole pieces of eight.
__device__ __forceinline__ float4 load_four(const float *from) { return *reinterpret_cast<const float4 *>(from); }
__device__ __forceinline__ float4 load_four(const bf16 *from) {
  const uint2 v = *reinterpret_cast<const uint2 *>(from);
  return make_float4(widen_low(v.x), widen_high(v.x), widen_low(v.y), widen_high(v.y));
}
__device__ __forceinline__ void store_four(float *to, float4 v) { *reinterpret_cast<float4 *>(to) = v; }
__device__ __forceinline__ void store_four(bf16 *to, float4 v) {
  *reinterpret_cast<uint2 *>(to) = make_uint2(pack_bf16(v.x, v.y), pack_bf16(v.z, v.w));
}
template <Half HALF>
__device__ __forceinline__ void store_four_as(uint16_t *to, float4 v) {
  *reinterpret_cast<uint2 *>(to) = make_uint2(pack_as<HALF>(v.x, v.y), pack_as<HALF>(v.z, v.w));
}
template <Half HALF>
__device__ __forceinline__ void store_four_as(float *to, float4 v) {
  store_four(to, v);
}
__device__ __forceinline__ float dot_four(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
__device__ __forceinline__ float4 round_four(float4 v) {
  const uint32_t low = pack_bf16(v.x, v.y), high = pack_bf16(v.z, v.w);
  return make_float4(widen_low(low), widen_high(low), widen_low(high), widen_high(high));
}

// The row is read twice, the second time out of L1. KEEPS: the norm is of the row as rounded to bf16, which is written
// to `kept`.
template <typename In, typename Out, bool KEEPS, Half HALF = Half::bf16>
__global__ void rms_norm_kernel(const In *x, const float *weight, int64_t width, float eps, Out *out, bf16 *kept) {
  float *scratch = reinterpret_cast<float *>(shared_memory());
  const int64_t at = static_cast<int64_t>(blockIdx.x) * width;
  const auto value = [&](int64_t i) {
    const float4 v = load_four(x + at + i);
    return KEEPS ? round_four(v) : v;
  };
  float sum = 0.0f;
  for (int64_t i = threadIdx.x * 4; i < width; i += blockDim.x * 4) {
    const float4 v = value(i);
    sum += dot_four(v, v);
  }
  const float scale = 1.0f / sqrtf(sum_block(sum, scratch) / static_cast<float>(width) + eps);
  for (int64_t i = threadIdx.x * 4; i < width; i += blockDim.x * 4) {
    const float4 v = value(i), w = load_four(weight + i);
    if constexpr (KEEPS) store_four(kept + at + i, v);
    store_four_as<HALF>(out + at + i,
                        make_float4(v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w));
  }
}

// dx = w∘dy·s − x·⟨w∘dy, x⟩·s³/C with s the inverse root mean square. `narrowed`: dx rounded, or null.
template <typename X, typename Dy>
__global__ void rms_norm_backward_kernel(const X *x, const float *weight, const Dy *dy, int64_t width, float eps,
                                         float *dx, bool accumulate, bf16 *narrowed) {
  float *scratch = reinterpret_cast<float *>(shared_memory());
  const int64_t at = static_cast<int64_t>(blockIdx.x) * width;
  const auto weighted = [&](int64_t i) {
    const float4 d = load_four(dy + at + i), w = load_four(weight + i);
    return make_float4(d.x * w.x, d.y * w.y, d.z * w.z, d.w * w.w);
  };
  float square = 0.0f, projection = 0.0f;
  for (int64_t i = threadIdx.x * 4; i < width; i += blockDim.x * 4) {
    const float4 v = load_four(x + at + i);
    square += dot_four(v, v);
    projection += dot_four(weighted(i), v);
  }
  const float scale = 1.0f / sqrtf(sum_block(square, scratch) / static_cast<float>(width) + eps);
  const float back = sum_block(projection, scratch) * scale * scale * scale / static_cast<float>(width);
  for (int64_t i = threadIdx.x * 4; i < width; i += blockDim.x * 4) {
    const float4 v = load_four(x + at + i), d = weighted(i);
    float4 sum = make_float4(d.x * scale - v.x * back, d.y * scale - v.y * back, d.z * scale - v.z * back,
                             d.w * scale - v.w * back);
    if (accumulate) {
      const float4 before = load_four(dx + at + i);
      sum = make_float4(sum.x + before.x, sum.y + before.y, sum.z + before.z, sum.w + before.w);
    }
    store_four(dx + at + i, sum);
    if (narrowed != nullptr) store_four(narrowed + at + i, sum);
  }
}

// An infinite key would be a score of −infinity, a key that nobody sees: what leaves f16's range is recorded.
template <Half HALF>
__device__ __forceinline__ void record_range(const HeadVector &v, float *peak) {
  if (HALF != Half::f16 || peak == nullptr) return;
  float largest = 0.0f;
  for (int p = 0; p < HeadVector::PAIRS; p++) {
    for (const float x : {v.first[p], v.second[p]})
      largest = fabsf(x) <= F16_MAX ? largest : fmaxf(fabsf(x), 2.0f * F16_MAX);
  }
  if (largest > 0.0f) raise_peak(peak, largest);
}

template <int D, Half HALF>
__global__ void rope_write_kernel(const RopeWrite r) {
  float *staging = reinterpret_cast<float *>(shared_memory()) + threadIdx.x / 32 * D;  // one head vector per warp
  const int64_t item = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  const int64_t queries = r.query_rows * r.heads, keys = r.rows * r.kv_heads;
  constexpr int64_t half = D / 2;
  if (item < queries) {
    const int64_t row = item / r.heads, head = item % r.heads;
    const int64_t table = r.query_positions[row] - r.table_start;
    HeadVector v = load_vector<HALF>(r.query_in + row * r.query_stride + head * D, D);
    if (r.query_norm != nullptr) normalize_vector(v, r.query_norm, D, r.eps);
    rotate_vector(v, r.cosine + table * half, r.sine + table * half, D, 1.0f);
    if (r.rotates_kv) transform_vector<D>(v);
    record_range<HALF>(v, r.peak);
    store_vector<HALF>(v, r.query_out + item * D, D);
    return;
  }
  const bool is_value = item >= queries + keys;
  const int64_t index = item - queries - (is_value ? keys : 0);
  if (index >= keys) return;
  const int64_t row = index / r.kv_heads, head = index % r.kv_heads;
  const int64_t table = r.positions[row] - r.table_start;
  HeadVector v = load_vector<HALF>((is_value ? r.value_in : r.key_in) + row * r.key_stride + head * D, D);
  if (!is_value) {
    if (r.key_norm != nullptr) normalize_vector(v, r.key_norm, D, r.eps);
    rotate_vector(v, r.cosine + table * half, r.sine + table * half, D, 1.0f);
  }
  if (r.rotates_kv) transform_vector<D>(v);
  record_range<HALF>(v, r.peak);
  spread_vector(v, staging, D);
  __syncwarp();
  uint8_t *to = is_value ? r.value_out : r.key_out;
  uint32_t *scale = is_value ? r.value_scale : r.key_scale;
  const Dtype stored = is_value ? value_dtype(r.dtype) : key_dtype(r.dtype);
  encode_vector(stored, staging, D, to + index * kv_row_bytes(stored, D), scale == nullptr ? nullptr : scale + index);
}

// One thread per 4 bytes of a row (rows are whole words for D >= 8), threads beyond them the scale.
__global__ void cache_copy_kernel(const CacheCopy c) {
  const int key_words = kv_key_bytes(c.dtype, c.head_dim) / 4, scales = kv_scale_bytes(c.dtype) / 4,
            width = kv_entry_bytes(c.dtype, c.head_dim) / 4;
  const int64_t i = element_index(), row = i / width / c.kv_heads, head = i / width % c.kv_heads,
                position = c.start + row;
  if (row >= c.rows) return;
  const HeadCache &cache = c.caches[head];
  // A ring keeps the last R tokens: an earlier one of this chunk that shares their slot must not race with them.
  if (cache.is_ring && position >= cache.sink && position < c.start + c.rows - cache.recent) return;
  const bool is_value = i % width >= key_words + scales;
  const int word = static_cast<int>(i % width) - (is_value ? key_words + scales : 0),
            words = is_value ? width - 2 * scales - key_words : key_words;
  const int64_t from = row * c.kv_heads + head;
  const CacheRows to = find_rows(cache, cache_slot(cache, position), c.dtype, c.head_dim);
  if (word < words) {
    reinterpret_cast<uint32_t *>(is_value ? to.value : to.key)[word] =
        reinterpret_cast<const uint32_t *>(is_value ? c.value : c.key)[from * words + word];
  } else {
    *(is_value ? to.value_scale : to.key_scale) = (is_value ? c.value_scale : c.key_scale)[from];
  }
}

__global__ void rope_backward_kernel(const RopeBackward r) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (item >= r.rows * r.heads) return;
  const int64_t row = item / r.heads, head = item % r.heads, half = r.head_dim / 2;
  HeadVector v;
  for (int p = 0; p < HeadVector::PAIRS; p++) {
    const int i = threadIdx.x % 32 + 32 * p;
    v.first[p] = i < half ? r.dy[item * r.head_dim + i] : 0.0f;
    v.second[p] = i < half ? r.dy[item * r.head_dim + i + half] : 0.0f;
  }
  if (r.cosine != nullptr) {
    const int64_t position = r.positions[row];
    rotate_vector(v, r.cosine + position * half, r.sine + position * half, r.head_dim, -1.0f);
  }
  if (r.norm != nullptr) {
    const HeadVector x = load_vector(r.raw + row * r.raw_stride + head * r.head_dim, r.head_dim);
    float square = 0.0f, projection = 0.0f;
    for (int p = 0; p < HeadVector::PAIRS; p++) {
      const int i = threadIdx.x % 32 + 32 * p;
      if (i >= half) continue;
      v.first[p] *= r.norm[i];
      v.second[p] *= r.norm[i + half];
      square += x.first[p] * x.first[p] + x.second[p] * x.second[p];
      projection += v.first[p] * x.first[p] + v.second[p] * x.second[p];
    }
    const float scale = 1.0f / sqrtf(sum_warp(square) / static_cast<float>(r.head_dim) + r.eps);
    const float back = sum_warp(projection) * scale * scale * scale / static_cast<float>(r.head_dim);
    for (int p = 0; p < HeadVector::PAIRS; p++) {
      v.first[p] = v.first[p] * scale - x.first[p] * back;
      v.second[p] = v.second[p] * scale - x.second[p] * back;
    }
  }
  store_vector(v,
               r.out + (r.scatters ? static_cast<int64_t>(r.positions[row]) : row) * r.out_stride + head * r.head_dim,
               r.head_dim);
}

// One thread per eight neighbours; blocks along x cover a row, along y the rows, in strides where there are more than a
// grid holds. `peak`, where it is given, rises to the greatest |silu(gate)·up|, before the factor.
template <Half HALF>
__global__ void swiglu_kernel(const uint16_t *gate_up, int64_t rows, int64_t width, float factor, float *peak,
                              uint16_t *out) {
  const int64_t i = element_index() * 8;
  float largest = 0.0f;
  if (i >= width) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const bf16 *from = gate_up + row * 2 * width + i;
    const uint4 gates = *reinterpret_cast<const uint4 *>(from), ups = *reinterpret_cast<const uint4 *>(from + width);
    const uint32_t g[4] = {gates.x, gates.y, gates.z, gates.w}, u[4] = {ups.x, ups.y, ups.z, ups.w};
    uint32_t y[4];
#pragma unroll
    for (int p = 0; p < 4; p++) {
      const float first = widen_low_as<HALF>(g[p]), second = widen_high_as<HALF>(g[p]);
      const float low = first / (1.0f + expf(-first)) * widen_low_as<HALF>(u[p]),
                  high = second / (1.0f + expf(-second)) * widen_high_as<HALF>(u[p]);
      if constexpr (HALF == Half::f16) largest = fmaxf(largest, fmaxf(fabsf(low), fabsf(high)));
      y[p] = pack_as<HALF>(factor * low, factor * high);
    }
    *reinterpret_cast<uint4 *>(out + row * width + i) = make_uint4(y[0], y[1], y[2], y[3]);
  }
  if (HALF == Half::f16 && peak != nullptr) raise_peak(peak, largest);
}

__global__ void swiglu_backward_kernel(const bf16 *gate_up, const bf16 *d_hidden, int64_t rows, int64_t width,
                                       bf16 *d_gate_up) {
  const int64_t i = element_index() * 8;
  if (i >= width) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const bf16 *at = gate_up + row * 2 * width + i;
    const uint4 gates = *reinterpret_cast<const uint4 *>(at), ups = *reinterpret_cast<const uint4 *>(at + width);
    const uint4 gradients = *reinterpret_cast<const uint4 *>(d_hidden + row * width + i);
    const uint32_t g[4] = {gates.x, gates.y, gates.z, gates.w}, u[4] = {ups.x, ups.y, ups.z, ups.w},
                   d[4] = {gradients.x, gradients.y, gradients.z, gradients.w};
    uint32_t to_gate[4], to_up[4];
#pragma unroll
    for (int p = 0; p < 4; p++) {
      const float first = widen_low(g[p]), second = widen_high(g[p]), first_d = widen_low(d[p]),
                  second_d = widen_high(d[p]);
      const float first_sigmoid = 1.0f / (1.0f + expf(-first)), second_sigmoid = 1.0f / (1.0f + expf(-second));
      to_gate[p] = pack_bf16(first_d * widen_low(u[p]) * first_sigmoid * (1.0f + first * (1.0f - first_sigmoid)),
                             second_d * widen_high(u[p]) * second_sigmoid * (1.0f + second * (1.0f - second_sigmoid)));
      to_up[p] = pack_bf16(first_d * first * first_sigmoid, second_d * second * second_sigmoid);
    }
    bf16 *to = d_gate_up + row * 2 * width + i;
    *reinterpret_cast<uint4 *>(to) = make_uint4(to_gate[0], to_gate[1], to_gate[2], to_gate[3]);
    *reinterpret_cast<uint4 *>(to + width) = make_uint4(to_up[0], to_up[1], to_up[2], to_up[3]);
  }
}

__global__ void rope_tables_kernel(const float *inverse, float scale, int64_t start, int64_t rows, int32_t half,
                                   float *cosine, float *sine) {
  const int64_t i = element_index();
  if (i < rows * half) make_rope_pair(start + i / half, inverse[i % half], scale, cosine + i, sine + i);
}

__global__ void count_up_kernel(int64_t start, int64_t rows, int32_t *to) {
  const int64_t i = element_index();
  if (i < rows) to[i] = static_cast<int32_t>(start + i);
}

template <Half HALF>
__global__ void mix_kernel(const float *full, const float *stream, const float *gates, int64_t rows, int32_t heads,
                           int32_t kv_heads, int32_t head_dim, uint16_t *mixed) {
  const int64_t i = element_index();
  if (i >= rows * heads * head_dim) return;
  const float gate = gates[i / head_dim % heads / (heads / kv_heads)];
  mixed[i] = narrow_as<HALF>(gate == 1.0f   ? full[i]
                             : gate == 0.0f ? stream[i]
                                            : gate * full[i] + (1.0f - gate) * stream[i]);
}

// One block per row.
__global__ void quantize_rows_kernel(const bf16 *from, int64_t columns, int8_t *to, float *scale) {
  float *scratch = reinterpret_cast<float *>(shared_memory());
  const int64_t at = static_cast<int64_t>(blockIdx.x) * columns;
  float largest = 0.0f;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) largest = fmaxf(largest, fabsf(widen(from[at + i])));
  largest = max_warp(largest);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = largest;
  __syncthreads();
  for (unsigned w = 0; w < blockDim.x / 32; w++) largest = fmaxf(largest, scratch[w]);
  const float step = largest * (1.0f / 127.0f), inverse = step > 0.0f ? 1.0f / step : 0.0f;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x)
    to[at + i] = static_cast<int8_t>(fminf(127.0f, fmaxf(-127.0f, rintf(widen(from[at + i]) * inverse))));
  if (threadIdx.x == 0) scale[blockIdx.x] = step;
}

__device__ __forceinline__ float random_unit(uint64_t seed, uint64_t index) {
  uint64_t bits = seed + index * 0x9e3779b97f4a7c15ull;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9ull;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebull;
  bits ^= bits >> 31;
  const int64_t sum = static_cast<int64_t>(bits & 0xffff) + static_cast<int64_t>(bits >> 16 & 0xffff) +
                      static_cast<int64_t>(bits >> 32 & 0xffff) + static_cast<int64_t>(bits >> 48);
  return static_cast<float>(sum - 131070) * (1.7320508f / 65536.0f);
}

// One warp per slot.
__global__ void fill_cache_kernel(const HeadCache cache, Dtype dtype, int32_t head_dim, uint64_t seed) {
  float *vector = reinterpret_cast<float *>(shared_memory()) + threadIdx.x / 32 * head_dim;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32, slot = item / 2;
  if (slot >= cache.slots) return;
  for (int i = threadIdx.x % 32; i < head_dim; i += 32)
    vector[i] = random_unit(seed, static_cast<uint64_t>(item * head_dim + i));
  __syncwarp();
  const CacheRows to = find_rows(cache, slot, dtype, head_dim);
  encode_vector(item % 2 ? value_dtype(dtype) : key_dtype(dtype), vector, head_dim, item % 2 ? to.value : to.key,
                item % 2 ? to.value_scale : to.key_scale);
}

// One block per row.
template <typename From, typename To>
__global__ void gather_rows_kernel(const From *from, const int32_t *index, int64_t width, To *to) {
  const int64_t source = index == nullptr ? static_cast<int64_t>(blockIdx.x) : static_cast<int64_t>(index[blockIdx.x]);
  for (int64_t i = threadIdx.x * 4; i < width; i += blockDim.x * 4)
    store_four(to + blockIdx.x * width + i, load_four(from + source * width + i));
}
__global__ void scatter_rows_kernel(const float *from, const int32_t *index, int64_t width, float *to) {
  for (int64_t i = threadIdx.x * 4; i < width; i += blockDim.x * 4)
    store_four(to + index[blockIdx.x] * width + i, load_four(from + blockIdx.x * width + i));
}
template <Half HALF>
__global__ void narrow_kernel(const float *from, int64_t count, uint16_t *to) {
  const int64_t i = element_index() * 4;
  if (i < count) store_four_as<HALF>(to + i, load_four(from + i));
}
template <Half HALF>
__global__ void add_bias_kernel(uint16_t *y, const float *bias, int64_t rows, int64_t width) {
  const int64_t i = element_index();
  if (i < rows * width) y[i] = narrow_as<HALF>(widen_as<HALF>(y[i]) + bias[i % width]);
}
__global__ void add_bias_f32_kernel(float *y, const float *bias, int64_t rows, int64_t width) {
  const int64_t i = element_index();
  if (i < rows * width) y[i] += bias[i % width];
}

Grid piece_grid(int64_t rows, int64_t width) {
  return {
      dim3(static_cast<unsigned>(ceil_divide(width / 8, THREADS)), static_cast<unsigned>(rows < 65535 ? rows : 65535)),
      THREADS};
}
Grid row_grid(int64_t rows) { return {dim3(static_cast<unsigned>(rows)), THREADS, NORM_SHARED}; }

}  // namespace

cudaError_t launch_embed(const int32_t *tokens, const bf16 *table, int64_t rows, int64_t width, float *x,
                         cudaStream_t stream, Half half, float unit) {
  return launch(element_grid(rows * width), stream,
                half == Half::f16 ? embed_kernel<Half::f16> : embed_kernel<Half::bf16>, tokens, table, unit, rows,
                width, x);
}
cudaError_t launch_rms_norm(const float *x, const float *weight, int64_t rows, int64_t width, float eps, bf16 *out,
                            cudaStream_t stream, Half half) {
  if (half == Half::f16) {
    return launch(row_grid(rows), stream, rms_norm_kernel<float, bf16, false, Half::f16>, x, weight, width, eps, out,
                  static_cast<bf16 *>(nullptr));
  }
  return launch(row_grid(rows), stream, rms_norm_kernel<float, bf16, false>, x, weight, width, eps, out,
                static_cast<bf16 *>(nullptr));
}
cudaError_t launch_rms_norm_kept(const float *x, const float *weight, int64_t rows, int64_t width, float eps,
                                 bf16 *kept, bf16 *out, cudaStream_t stream) {
  return launch(row_grid(rows), stream, rms_norm_kernel<float, bf16, true>, x, weight, width, eps, out, kept);
}
cudaError_t launch_rms_norm_of_kept(const bf16 *kept, const float *weight, int64_t rows, int64_t width, float eps,
                                    bf16 *out, cudaStream_t stream) {
  return launch(row_grid(rows), stream, rms_norm_kernel<bf16, bf16, false>, kept, weight, width, eps, out,
                static_cast<bf16 *>(nullptr));
}
cudaError_t launch_rms_norm_f32(const float *x, const float *weight, int64_t rows, int64_t width, float eps, float *out,
                                cudaStream_t stream) {
  return launch(row_grid(rows), stream, rms_norm_kernel<float, float, false>, x, weight, width, eps, out,
                static_cast<bf16 *>(nullptr));
}
cudaError_t launch_rms_norm_backward(const float *x, const float *weight, const float *dy, int64_t rows, int64_t width,
                                     float eps, float *dx, cudaStream_t stream) {
  return launch(row_grid(rows), stream, rms_norm_backward_kernel<float, float>, x, weight, dy, width, eps, dx, false,
                static_cast<bf16 *>(nullptr));
}
cudaError_t launch_rms_norm_backward_add(const float *x, const float *weight, const bf16 *dy, int64_t rows,
                                         int64_t width, float eps, float *dx, bf16 *narrowed, cudaStream_t stream) {
  return launch(row_grid(rows), stream, rms_norm_backward_kernel<float, bf16>, x, weight, dy, width, eps, dx, true,
                narrowed);
}
cudaError_t launch_rms_norm_backward_add_kept(const bf16 *kept, const float *weight, const bf16 *dy, int64_t rows,
                                              int64_t width, float eps, float *dx, cudaStream_t stream) {
  return launch(row_grid(rows), stream, rms_norm_backward_kernel<bf16, bf16>, kept, weight, dy, width, eps, dx, true,
                static_cast<bf16 *>(nullptr));
}
cudaError_t launch_rope_tables(const float *inverse, float scale, int64_t start, int64_t rows, int32_t half,
                               float *cosine, float *sine, cudaStream_t stream) {
  return launch(element_grid(rows * half), stream, rope_tables_kernel, inverse, scale, start, rows, half, cosine, sine);
}
cudaError_t launch_count_up(int64_t start, int64_t rows, int32_t *to, cudaStream_t stream) {
  return launch(element_grid(rows), stream, count_up_kernel, start, rows, to);
}
cudaError_t launch_mix(const float *full, const float *stream, const float *gates, int64_t rows, int32_t heads,
                       int32_t kv_heads, int32_t head_dim, bf16 *mixed, cudaStream_t stream_, Half half) {
  return launch(element_grid(rows * heads * head_dim), stream_,
                half == Half::f16 ? mix_kernel<Half::f16> : mix_kernel<Half::bf16>, full, stream, gates, rows, heads,
                kv_heads, head_dim, mixed);
}
cudaError_t launch_quantize_rows(const bf16 *from, int64_t rows, int64_t columns, int8_t *to, float *scale,
                                 cudaStream_t stream) {
  return launch(row_grid(rows), stream, quantize_rows_kernel, from, columns, to, scale);
}
cudaError_t launch_fill_cache(HeadCache cache, Dtype dtype, int32_t head_dim, uint64_t seed, cudaStream_t stream) {
  constexpr int WARPS = 4;
  return launch(
      {dim3(static_cast<unsigned>(ceil_divide(2 * cache.slots, WARPS))), WARPS * 32, WARPS * head_dim * sizeof(float)},
      stream, fill_cache_kernel, cache, dtype, head_dim, seed);
}
cudaError_t launch_rope_write(const RopeWrite &rope, cudaStream_t stream) {
  constexpr int WARPS = 4;
  const int64_t items = rope.query_rows * rope.heads + 2 * rope.rows * rope.kv_heads;
  const Grid grid{dim3(static_cast<unsigned>(ceil_divide(items, WARPS))), WARPS * 32,
                  WARPS * rope.head_dim * sizeof(float)};
  return HeadDims::choose(rope.head_dim, [&](auto dim) {
    return ForwardHalves::choose(rope.dtype == Dtype::f16 ? Half::f16 : Half::bf16, [&](auto half) {
      return launch(grid, stream, rope_write_kernel<decltype(dim)::value, decltype(half)::value>, rope);
    });
  });
}
cudaError_t launch_cache_copy(const CacheCopy &copy, cudaStream_t stream) {
  const int64_t width = kv_entry_bytes(copy.dtype, copy.head_dim) / 4;
  return launch(element_grid(copy.rows * copy.kv_heads * width), stream, cache_copy_kernel, copy);
}
cudaError_t launch_rope_backward(const RopeBackward &rope, cudaStream_t stream) {
  return launch({dim3(static_cast<unsigned>(ceil_divide(rope.rows * rope.heads, 4))), 128}, stream,
                rope_backward_kernel, rope);
}
cudaError_t launch_swiglu(const bf16 *gate_up, int64_t rows, int64_t width, bf16 *out, cudaStream_t stream) {
  return launch(piece_grid(rows, width), stream, swiglu_kernel<Half::bf16>, gate_up, rows, width, 1.0f,
                static_cast<float *>(nullptr), out);
}
cudaError_t launch_swiglu_f16(const uint16_t *gate_up, int64_t rows, int64_t width, float factor, float *peak,
                              uint16_t *out, cudaStream_t stream) {
  return launch(piece_grid(rows, width), stream, swiglu_kernel<Half::f16>, gate_up, rows, width, factor, peak, out);
}
cudaError_t launch_swiglu_backward(const bf16 *gate_up, const bf16 *d_hidden, int64_t rows, int64_t width,
                                   bf16 *d_gate_up, cudaStream_t stream) {
  return launch(piece_grid(rows, width), stream, swiglu_backward_kernel, gate_up, d_hidden, rows, width, d_gate_up);
}
cudaError_t launch_gather_rows(const float *from, const int32_t *index, int64_t rows, int64_t width, float *to,
                               cudaStream_t stream) {
  return launch(row_grid(rows), stream, gather_rows_kernel<float, float>, from, index, width, to);
}
cudaError_t launch_gather_rows_bf16(const bf16 *from, const int32_t *index, int64_t rows, int64_t width, bf16 *to,
                                    cudaStream_t stream) {
  return launch(row_grid(rows), stream, gather_rows_kernel<bf16, bf16>, from, index, width, to);
}
cudaError_t launch_gather_rows_widened(const bf16 *from, const int32_t *index, int64_t rows, int64_t width, float *to,
                                       cudaStream_t stream) {
  return launch(row_grid(rows), stream, gather_rows_kernel<bf16, float>, from, index, width, to);
}
cudaError_t launch_scatter_rows(const float *from, const int32_t *index, int64_t rows, int64_t width, float *to,
                                cudaStream_t stream) {
  return launch(row_grid(rows), stream, scatter_rows_kernel, from, index, width, to);
}
cudaError_t launch_narrow(const float *from, int64_t count, bf16 *to, cudaStream_t stream, Half half) {
  return launch(element_grid(ceil_divide(count, 4)), stream,
                half == Half::f16 ? narrow_kernel<Half::f16> : narrow_kernel<Half::bf16>, from, count, to);
}
cudaError_t launch_add_bias(bf16 *y, const float *bias, int64_t rows, int64_t width, cudaStream_t stream, Half half) {
  return launch(element_grid(rows * width), stream,
                half == Half::f16 ? add_bias_kernel<Half::f16> : add_bias_kernel<Half::bf16>, y, bias, rows, width);
}
cudaError_t launch_add_bias_f32(float *y, const float *bias, int64_t rows, int64_t width, cudaStream_t stream) {
  return launch(element_grid(rows * width), stream, add_bias_f32_kernel, y, bias, rows, width);
}

}  // namespace duo::cuda

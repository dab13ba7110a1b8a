// Quantising: a warp takes a group of 32 elements, a lane each. Widening and embedding: a thread takes four elements
// that lie side by side, in one word of 8 bits or half a word of 4.
#include "cuda/packed_weights.h"

namespace duo::cuda {
namespace {

constexpr int THREADS = 256, GROUP = 32, LANE_ELEMENTS = 4;
constexpr int SHRINKS = 10;            // ranges tried around the middle of a group's values,
constexpr float SHRINK_STEP = 0.025f;  // each narrower by this share: outliers are clipped where the rest gains more

__device__ __forceinline__ float min_warp(float value) { return -max_warp(-value); }
__device__ __forceinline__ float round_f16(float value) { return widen_half(narrow_half(value)); }

struct Fit {
  float scale, minimum, error;
  int code;
};
// The lane's code under a scale and a minimum as fp16 holds them, and the squared error of the warp's 32.
__device__ __forceinline__ Fit try_fit(float x, float scale, float minimum) {
  Fit fit{round_f16(scale), round_f16(minimum), 0.0f, 0};
  const float place = fit.scale != 0.0f ? rintf((x - fit.minimum) / fit.scale) : 0.0f;
  fit.code = static_cast<int>(fminf(15.0f, fmaxf(0.0f, place)));
  const float difference = x - (fit.scale * static_cast<float>(fit.code) + fit.minimum);
  fit.error = sum_warp(difference * difference);
  return fit;
}

__global__ void __launch_bounds__(THREADS)
    quantize_groups_kernel(const bf16 *from, const PackedMatrix m, uint8_t *codes, uint32_t *scales, int32_t *bad) {
  constexpr int64_t WORDS = GroupLayout<WeightFormat::int4>::WORDS;
  const int64_t row_words = m.chunks * WORDS,
                item = static_cast<int64_t>(blockIdx.x) * (THREADS / 32) + threadIdx.x / 32;
  const int64_t row = item / row_words, group = item % row_words;
  const int lane = threadIdx.x % 32;
  if (row >= ceil_divide(m.rows, SCALE_ROWS) * SCALE_ROWS) return;
  const bool is_inside = row < m.rows && group * GROUP < m.columns;
  const float x = is_inside ? widen(from[row * m.columns + group * GROUP + lane]) : 0.0f;
  const float low = min_warp(x), high = max_warp(x), middle = 0.5f * low + 0.5f * high, half = 0.5f * high - 0.5f * low;
  Fit best = try_fit(x, half * (2.0f / 15.0f), low);
  for (int i = 1; i < SHRINKS; i++) {
    const float shrunk = half * (1.0f - SHRINK_STEP * static_cast<float>(i));
    const Fit fit = try_fit(x, shrunk * (2.0f / 15.0f), middle - shrunk);
    if (fit.error < best.error) best = fit;
  }
  // The least squares line through the codes that were found.
  const float code = static_cast<float>(best.code), mean_code = sum_warp(code) / 32.0f, mean = sum_warp(x) / 32.0f;
  const float spread = sum_warp((code - mean_code) * (code - mean_code));
  if (spread > 0.0f) {
    const float slope = sum_warp((code - mean_code) * (x - mean)) / spread;
    const Fit fit = try_fit(x, slope, mean - slope * mean_code);
    if (fit.error < best.error) best = fit;
  }
  uint32_t word = static_cast<uint32_t>(best.code) << (4 * (lane % 8 / 2 + 4 * (lane % 2)));
  for (int lanes = 4; lanes > 0; lanes /= 2) word |= __shfl_xor_sync(ALL_LANES, word, lanes);
  const int64_t superblock = group / 4;
  if (row < m.rows && superblock * SUPERBLOCK_BYTES < m.row_bytes && lane % 8 == 0) {
    *reinterpret_cast<uint32_t *>(codes + row * m.row_bytes + superblock * SUPERBLOCK_BYTES + lane / 8 * 16 +
                                  group % 4 * 4) = word;
  }
  if (lane == 0) {
    scales[((row / SCALE_ROWS * m.chunks + group / WORDS) * SCALE_ROWS + row % SCALE_ROWS) * WORDS + group % WORDS] =
        is_inside
            ? static_cast<uint32_t>(narrow_half(best.scale)) | static_cast<uint32_t>(narrow_half(best.minimum)) << 16
            : 0u;
    if (!is_finite(best.scale) || !is_finite(best.minimum)) *bad = 1;
  }
}

// Elements element … element + 3 of a row, a multiple of 4.
template <WeightFormat FORMAT>
__device__ __forceinline__ float4 read_four(const PackedMatrix &m, int64_t row, int64_t element) {
  if constexpr (FORMAT == WeightFormat::int8) {
    const auto four = *reinterpret_cast<const uint32_t *>(m.codes + row * m.columns + element);
    const float scale = m.row_scale[row];
    const auto code = [&](int i) { return scale * static_cast<float>(static_cast<int8_t>(four >> (8 * i) & 0xffu)); };
    return make_float4(code(0), code(1), code(2), code(3));
  } else {
    using Layout = GroupLayout<FORMAT>;
    constexpr int64_t SIZE = Layout::ELEMENTS, WORDS = Layout::WORDS;
    const int64_t at = element % SIZE, place = element / Layout::WORD_ELEMENTS;
    const uint8_t *superblock = m.codes + row * m.row_bytes + element / SIZE * SUPERBLOCK_BYTES;
    const uint32_t pair =
        m.scales[((row / SCALE_ROWS * m.chunks + place / WORDS) * SCALE_ROWS + row % SCALE_ROWS) * WORDS +
                 place % WORDS];
    const bool is_second = FORMAT == WeightFormat::scaled8 && element % 32 >= 16;
    const float scale = widen_half(static_cast<uint16_t>(is_second ? pair >> 16 : pair & 0xffffu));
    const float minimum = FORMAT == WeightFormat::scaled8 ? 0.0f : widen_half(static_cast<uint16_t>(pair >> 16));
    float code[4];
    if constexpr (FORMAT == WeightFormat::int4) {
      const uint32_t word = *reinterpret_cast<const uint32_t *>(superblock + at % 32 / 8 * 16 + at / 32 * 4);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int in_word = static_cast<int>(at % 8) + i;
        code[i] = static_cast<float>(word >> (4 * (in_word / 2 + 4 * (in_word % 2))) & 15u);
      }
    } else {
      const uint32_t word = *reinterpret_cast<const uint32_t *>(superblock + at % 16 / 4 * 16 + at / 16 * 4);
#pragma unroll
      for (int i = 0; i < 4; i++)
        code[i] = static_cast<float>(static_cast<int8_t>(word >> (8 * (i % 2 * 2 + i / 2)) & 0xffu));
    }
    return make_float4(scale * code[0] + minimum, scale * code[1] + minimum, scale * code[2] + minimum,
                       scale * code[3] + minimum);
  }
}

template <WeightFormat FORMAT, Widened KIND>
__global__ void __launch_bounds__(THREADS)
    widen_rows_kernel(const PackedMatrix m, int64_t first, int64_t count, void *to) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) * LANE_ELEMENTS;
  if (i >= count * m.columns) return;
  const float4 v = read_four<FORMAT>(m, first + i / m.columns, i % m.columns);
  if constexpr (KIND == Widened::f32) {
    *reinterpret_cast<float4 *>(static_cast<float *>(to) + i) = v;
  } else {
    constexpr Half HALF = KIND == Widened::f16 ? Half::f16 : Half::bf16;
    *reinterpret_cast<uint2 *>(static_cast<uint16_t *>(to) + i) =
        make_uint2(pack_as<HALF>(v.x, v.y), pack_as<HALF>(v.z, v.w));
  }
}

template <WeightFormat FORMAT>
__global__ void __launch_bounds__(THREADS)
    embed_packed_kernel(const int32_t *tokens, const PackedMatrix m, int64_t count, float *x) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) * LANE_ELEMENTS;
  if (i >= count * m.columns) return;
  *reinterpret_cast<float4 *>(x + i) = read_four<FORMAT>(m, tokens[i / m.columns], i % m.columns);
}

Grid grid_of(int64_t elements) {
  return {dim3(static_cast<unsigned>(ceil_divide(elements, LANE_ELEMENTS * THREADS))), THREADS};
}

template <Widened KIND>
cudaError_t widen_to(const PackedMatrix &m, int64_t first, int64_t count, void *to, cudaStream_t stream) {
  const Grid grid = grid_of(count * m.columns);
  switch (m.format) {
    case WeightFormat::int8:
      return launch(grid, stream, widen_rows_kernel<WeightFormat::int8, KIND>, m, first, count, to);
    case WeightFormat::int4:
      return launch(grid, stream, widen_rows_kernel<WeightFormat::int4, KIND>, m, first, count, to);
    case WeightFormat::scaled8:
      return launch(grid, stream, widen_rows_kernel<WeightFormat::scaled8, KIND>, m, first, count, to);
    case WeightFormat::affine8:
      return launch(grid, stream, widen_rows_kernel<WeightFormat::affine8, KIND>, m, first, count, to);
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace

cudaError_t launch_quantize_groups(const bf16 *from, const PackedShape &shape, uint8_t *codes, uint32_t *scales,
                                   int32_t *bad, cudaStream_t stream) {
  if (shape.format != WeightFormat::int4 || shape.columns % GROUP != 0) return cudaErrorInvalidValue;
  const int64_t items = ceil_divide(shape.rows, SCALE_ROWS) * SCALE_ROWS * shape.row_words();
  return launch({dim3(static_cast<unsigned>(ceil_divide(items, THREADS / 32))), THREADS}, stream,
                quantize_groups_kernel, from, PackedMatrix::of(shape, codes, scales), codes, scales, bad);
}
cudaError_t launch_widen_rows(const PackedMatrix &m, int64_t first, int64_t count, Widened kind, void *to,
                              cudaStream_t stream) {
  if (m.columns % LANE_ELEMENTS != 0) return cudaErrorInvalidValue;
  switch (kind) {
    case Widened::bf16: return widen_to<Widened::bf16>(m, first, count, to, stream);
    case Widened::f16: return widen_to<Widened::f16>(m, first, count, to, stream);
    default: return widen_to<Widened::f32>(m, first, count, to, stream);
  }
}
cudaError_t launch_embed_packed(const int32_t *tokens, const PackedMatrix &m, int64_t count, float *x,
                                cudaStream_t stream) {
  if (m.columns % LANE_ELEMENTS != 0) return cudaErrorInvalidValue;
  const Grid grid = grid_of(count * m.columns);
  switch (m.format) {
    case WeightFormat::int8: return launch(grid, stream, embed_packed_kernel<WeightFormat::int8>, tokens, m, count, x);
    case WeightFormat::int4: return launch(grid, stream, embed_packed_kernel<WeightFormat::int4>, tokens, m, count, x);
    case WeightFormat::scaled8:
      return launch(grid, stream, embed_packed_kernel<WeightFormat::scaled8>, tokens, m, count, x);
    case WeightFormat::affine8:
      return launch(grid, stream, embed_packed_kernel<WeightFormat::affine8>, tokens, m, count, x);
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace duo::cuda

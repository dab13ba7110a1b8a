// BlockOps over the Vector of one instruction set. Included once by each blocks_*.cpp after it has defined
// DUO_ISA_FLOATS and, in namespace duo, the 4-way inner product dot4 (below: what it must do). A panel's codes are
// unpacked 256 elements at a time into a buffer in the first-level cache, so that the products are the same loops for
// every type.
#pragma once
#include "cpu/simd/block_dot.h"
#include "cpu/simd/block_ops.h"
#include "cpu/simd/vector.h"

namespace duo {
namespace {

constexpr int PARTS = PANEL_ROWS / WIDTH;  // vectors that hold one value of each weight row
constexpr int STEPS = DEPTH_CHUNK / 4;     // vectors of codes in a chunk, for each part
constexpr int64_t VECTOR_BYTES = 4 * WIDTH;
constexpr int64_t STEP_BYTES = 4 * PANEL_ROWS;  // 64

// Up to SUPER_CHUNKS chunks of a panel: 4 KB of codes, 2 to 4 KB of scales.
struct Unpacked {
  alignas(64) uint8_t codes[SUPER_CHUNKS][STEPS][STEP_BYTES];
  alignas(64) float scale[SUPER_CHUNKS][2][PANEL_ROWS], offset[SUPER_CHUNKS][2][PANEL_ROWS];
};

DUO_INLINE BitsVector load_bits(const uint8_t *from) {
  BitsVector value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

DUO_INLINE BitsVector spread_byte(uint32_t byte) { return BitsVector{} + byte * 0x01010101u; }

// Bits [shift, shift + bits) of every byte, moved to bit `to`.
template <int SHIFT, int BITS, int TO>
DUO_INLINE BitsVector take_bits(BitsVector value) {
  constexpr uint32_t MASK = ((1u << BITS) - 1) << TO;
  if constexpr (BITS == 8) return value;
  if constexpr (SHIFT > TO) return (value >> (SHIFT - TO)) & spread_byte(MASK);
  if constexpr (SHIFT < TO) return (value << (TO - SHIFT)) & spread_byte(MASK);
  return value & spread_byte(MASK);
}

// Step STEP of the chunk whose planes start at `codes`.
template <Dtype DTYPE, int STEP>
DUO_INLINE BitsVector load_step(const uint8_t *codes, int64_t part) {
  constexpr BlockFormat F = block_format(DTYPE);
  constexpr int LOW_STEPS = 8 / F.low_bits;
  BitsVector value = take_bits<STEP % LOW_STEPS * F.low_bits, F.low_bits, 0>(
      load_bits(codes + STEP / LOW_STEPS * STEP_BYTES + part * VECTOR_BYTES));
  if constexpr (F.high_bits > 0) {
    constexpr int HIGH_STEPS = 8 / F.high_bits;
    constexpr int64_t PLANE = STEPS / LOW_STEPS * STEP_BYTES;
    value |= take_bits<STEP % HIGH_STEPS * F.high_bits, F.high_bits, F.low_bits>(
        load_bits(codes + PLANE + STEP / HIGH_STEPS * STEP_BYTES + part * VECTOR_BYTES));
  }
  return value;
}

DUO_INLINE Vector load_int8(const uint8_t *from) {
  // Compilers turn the generic conversion of bytes into scalar code.
#if DUO_ISA_FLOATS == 16
  __m128i bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(reinterpret_cast<IntVector>(_mm512_maskz_cvtepi8_epi32(0xffff, bytes)), Vector);
#elif DUO_ISA_FLOATS == 8
  int64_t bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(reinterpret_cast<IntVector>(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bytes))), Vector);
#else
  ByteVector bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(__builtin_convertvector(bytes, IntVector), Vector);
#endif
}

// SIGNED: codes become code − zero as int8, and only minima make an offset; else they stay unsigned and the offset
// holds −zero·scale.
template <Dtype DTYPE, bool SIGNED>
DUO_INLINE void unpack_scales(const uint8_t *scales, int64_t chunk, int64_t at, Unpacked &out) {
  constexpr BlockFormat F = block_format(DTYPE);
  constexpr int GROUPS = DEPTH_CHUNK / F.group, FIELDS = F.has_min ? 2 : 1;
  const uint8_t *block = scales + (F.is_nested ? chunk / SUPER_CHUNKS : chunk) * scale_bytes(F);
  for (int part = 0; part < PARTS; part++) {
    const Vector outer = load_f16(block, part * WIDTH);
    Vector outer_min{};
    if constexpr (F.has_min) outer_min = load_f16(block, PANEL_ROWS + part * WIDTH);
    for (int group = 0; group < GROUPS; group++) {
      Vector scale = outer, offset = outer_min;
      if constexpr (F.is_nested) {
        const uint8_t *inner = block + FIELDS * 2 * PANEL_ROWS +
                               ((chunk % SUPER_CHUNKS) * GROUPS + group) * FIELDS * PANEL_ROWS + part * WIDTH;
        scale = outer * load_int8(inner);
        // K-quants subtract their minima.
        if constexpr (F.has_min) offset = -(outer_min * load_int8(inner + PANEL_ROWS));
      }
      if constexpr (!F.has_min && !SIGNED) offset = scale * static_cast<float>(-F.zero);
      store(&out.scale[at][group][part * WIDTH], scale);
      store(&out.offset[at][group][part * WIDTH], offset);
    }
  }
}

template <Dtype DTYPE, bool SIGNED, int STEP = 0>
DUO_INLINE void unpack_steps(const uint8_t *codes, int64_t part, uint8_t (*out)[STEP_BYTES]) {
  constexpr BlockFormat F = block_format(DTYPE);
  if constexpr (STEP < STEPS) {
    BitsVector value = load_step<DTYPE, STEP>(codes, part);
    if constexpr (SIGNED && F.zero != 0) {
      Codes bytes;
      __builtin_memcpy(&bytes, &value, sizeof bytes);
      bytes -= static_cast<uint8_t>(F.zero);
      __builtin_memcpy(&value, &bytes, sizeof bytes);
    }
    __builtin_memcpy(out[STEP] + part * VECTOR_BYTES, &value, sizeof value);
    unpack_steps<DTYPE, SIGNED, STEP + 1>(codes, part, out);
  }
}

// Chunks [chunk, chunk + count) of the panel.
template <Dtype DTYPE, bool SIGNED>
void unpack_as(const BlockPanel &panel, int64_t chunk, int64_t count, Unpacked &out) {
  constexpr BlockFormat F = block_format(DTYPE);
  for (int64_t at = 0; at < count; at++) {
    const uint8_t *codes = panel.codes + (chunk + at) * chunk_code_bytes(F);
    for (int64_t part = 0; part < PARTS; part++) unpack_steps<DTYPE, SIGNED>(codes, part, out.codes[at]);
    unpack_scales<DTYPE, SIGNED>(panel.scales, chunk + at, at, out);
  }
}

template <bool SIGNED>
void unpack(const BlockPanel &panel, int64_t chunk, int64_t count, Unpacked &out) {
  switch (panel.dtype) {
    case Dtype::q4_0: return unpack_as<Dtype::q4_0, SIGNED>(panel, chunk, count, out);
    case Dtype::q4_1: return unpack_as<Dtype::q4_1, SIGNED>(panel, chunk, count, out);
    case Dtype::q5_0: return unpack_as<Dtype::q5_0, SIGNED>(panel, chunk, count, out);
    case Dtype::q5_1: return unpack_as<Dtype::q5_1, SIGNED>(panel, chunk, count, out);
    case Dtype::q2_k: return unpack_as<Dtype::q2_k, SIGNED>(panel, chunk, count, out);
    case Dtype::q3_k: return unpack_as<Dtype::q3_k, SIGNED>(panel, chunk, count, out);
    case Dtype::q4_k: return unpack_as<Dtype::q4_k, SIGNED>(panel, chunk, count, out);
    case Dtype::q5_k: return unpack_as<Dtype::q5_k, SIGNED>(panel, chunk, count, out);
    case Dtype::q6_k: return unpack_as<Dtype::q6_k, SIGNED>(panel, chunk, count, out);
    default: return unpack_as<Dtype::q8_0, SIGNED>(panel, chunk, count, out);
  }
}

void dequantize_panel(const BlockPanel &panel, int64_t begin, int64_t length, float *out, int64_t stride) {
  const int group = block_format(panel.dtype).group;
  Unpacked unpacked;
  for (int64_t chunk = begin / DEPTH_CHUNK, end = (begin + length) / DEPTH_CHUNK; chunk < end; chunk += SUPER_CHUNKS) {
    const int64_t count = end - chunk < SUPER_CHUNKS ? end - chunk : SUPER_CHUNKS;
    unpack<true>(panel, chunk, count, unpacked);
    for (int64_t at = 0; at < count; at++) {
      for (int part = 0; part < PARTS; part++) {
        for (int step = 0; step < STEPS; step++) {
          const Vector scale = load(&unpacked.scale[at][step * 4 / group][part * WIDTH]),
                       offset = load(&unpacked.offset[at][step * 4 / group][part * WIDTH]);
          IntVector codes;
          __builtin_memcpy(&codes, unpacked.codes[at][step] + part * VECTOR_BYTES, sizeof codes);
          float *to = out + ((chunk + at) * DEPTH_CHUNK - begin + step * 4) * stride + part * WIDTH;
#pragma GCC unroll 4
          for (int byte = 0; byte < 4; byte++)
            store(to + byte * stride,
                  __builtin_convertvector((codes << (24 - 8 * byte)) >> 24, Vector) * scale + offset);
        }
      }
    }
  }
}

// Sums of a tile of ROWS rows wait in `y`-like memory between blocks of 256: sums [rows, PANEL_ROWS].
template <int ROWS, int GROUP, bool WIDE>
DUO_INLINE void add_int8_rows(const Unpacked &unpacked, int64_t count, const Int8Rows &x, int64_t row, int64_t chunk,
                              float *sums) {
  for (int part = 0; part < PARTS; part++) {
    Vector total[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) total[r] = load(sums + r * PANEL_ROWS + part * WIDTH);
    for (int64_t at = 0; at < count; at++) {
      Codes codes[STEPS];
#pragma GCC unroll 8
      for (int step = 0; step < STEPS; step++)
        __builtin_memcpy(&codes[step], unpacked.codes[at][step] + part * VECTOR_BYTES, sizeof codes[step]);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++) {
        const int8_t *from = x.codes + (row + r) * x.depth + (chunk + at) * DEPTH_CHUNK;
        const float *x_sums = x.sums + (row + r) * (x.depth / 16) + (chunk + at) * 2;
        Vector value{};
#pragma GCC unroll 2
        for (int group = 0; group < DEPTH_CHUNK / GROUP; group++) {
          IntVector dot{};
#pragma GCC unroll 8
          for (int step = 0; step < GROUP / 4; step++) {
            int32_t four;
            __builtin_memcpy(&four, from + (group * (GROUP / 4) + step) * 4, sizeof four);
            dot = dot4<WIDE>(dot, codes[group * (GROUP / 4) + step], four);
          }
          const Vector scale = load(&unpacked.scale[at][group][part * WIDTH]),
                       offset = load(&unpacked.offset[at][group][part * WIDTH]);
          const float sum = GROUP == DEPTH_CHUNK ? x_sums[0] + x_sums[1] : x_sums[group];
          value += __builtin_convertvector(dot, Vector) * scale + offset * sum;
        }
        total[r] += value * x.scales[(row + r) * (x.depth / DEPTH_CHUNK) + chunk + at];
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) store(sums + r * PANEL_ROWS + part * WIDTH, total[r]);
  }
}

// fp32 activations: Σ code·x within a group, then scaled; the sum of x itself carries the offset.
template <int ROWS, int GROUP>
DUO_INLINE void add_f32_rows(const Unpacked &unpacked, int64_t count, const F32Rows &x, int64_t row, int64_t chunk,
                             float *sums) {
  for (int part = 0; part < PARTS; part++) {
    Vector total[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) total[r] = load(sums + r * PANEL_ROWS + part * WIDTH);
    for (int64_t group = 0; group < count * DEPTH_CHUNK / GROUP; group++) {
      const int64_t at = group / (DEPTH_CHUNK / GROUP), first = group % (DEPTH_CHUNK / GROUP) * (GROUP / 4),
                    k = chunk * DEPTH_CHUNK + group * GROUP;
      Vector dot[ROWS] = {};
#pragma GCC unroll 2
      for (int step = 0; step < GROUP / 4; step++) {
        IntVector codes;
        __builtin_memcpy(&codes, unpacked.codes[at][first + step] + part * VECTOR_BYTES, sizeof codes);
#pragma GCC unroll 4
        for (int byte = 0; byte < 4; byte++) {
          const Vector value = __builtin_convertvector((codes << (24 - 8 * byte)) >> 24, Vector);
#pragma GCC unroll 8
          for (int r = 0; r < ROWS; r++) dot[r] += value * x.values[(row + r) * x.stride + k + step * 4 + byte];
        }
      }
      const Vector scale = load(&unpacked.scale[at][group % (DEPTH_CHUNK / GROUP)][part * WIDTH]);
      const Vector offset = load(&unpacked.offset[at][group % (DEPTH_CHUNK / GROUP)][part * WIDTH]);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++) {
        const float *x_sums = x.sums + (row + r) * (x.depth / 16) + k / 16;
        total[r] += dot[r] * scale + offset * (GROUP == 32 ? x_sums[0] + x_sums[1] : x_sums[0]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) store(sums + r * PANEL_ROWS + part * WIDTH, total[r]);
  }
}

// Rows whose sums are kept at once: 32 KB of sums at most.
constexpr int64_t MAX_SUM_ROWS = 512;

// Runs add(unpacked, count, chunk, row, tile, sums) over the depth for tiles of rows, then writes y.
template <bool SIGNED, typename Add>
DUO_INLINE void multiply_rows(const BlockPanel &panel, int64_t depth, int64_t rows, int64_t tile, float *y,
                              int64_t y_stride, int64_t columns, bool accumulate, const Add &add) {
  alignas(64) float sums[MAX_SUM_ROWS * PANEL_ROWS];
  Unpacked unpacked;
  for (int64_t first = 0; first < rows; first += MAX_SUM_ROWS) {
    const int64_t here = rows - first < MAX_SUM_ROWS ? rows - first : MAX_SUM_ROWS, chunks = depth / DEPTH_CHUNK;
    for (int64_t i = 0; i < here * PANEL_ROWS; i += WIDTH) store(sums + i, Vector{});
    for (int64_t chunk = 0; chunk < chunks; chunk += SUPER_CHUNKS) {
      const int64_t count = chunks - chunk < SUPER_CHUNKS ? chunks - chunk : SUPER_CHUNKS;
      unpack<SIGNED>(panel, chunk, count, unpacked);
      int64_t row = 0;
      for (; row + tile <= here; row += tile) add(unpacked, count, chunk, first + row, tile, sums + row * PANEL_ROWS);
      for (; row < here; row++) add(unpacked, count, chunk, first + row, int64_t{1}, sums + row * PANEL_ROWS);
    }
    for (int64_t row = 0; row < here; row++) {
      const float *from = sums + row * PANEL_ROWS;
      float *to = y + (first + row) * y_stride;
      if (columns == PANEL_ROWS) {
#pragma GCC unroll 4
        for (int part = 0; part < PARTS; part++)
          store(to + part * WIDTH,
                accumulate ? load(to + part * WIDTH) + load(from + part * WIDTH) : load(from + part * WIDTH));
      } else {
        for (int64_t i = 0; i < columns; i++) to[i] = accumulate ? to[i] + from[i] : from[i];
      }
    }
  }
}

constexpr int64_t INT8_TILE = WIDTH == 16 ? 8 : 4, F32_TILE = 4;

template <int GROUP, bool WIDE>
void multiply_int8_as(const BlockPanel &panel, const Int8Rows &x, int64_t rows, float *y, int64_t y_stride,
                      int64_t columns, bool accumulate) {
  // Wide codes are signed where dot4 takes them so.
  multiply_rows<DOT_IS_SIGNED || (WIDE && !DOT_TAKES_WIDE_UNSIGNED)>(
      panel, x.depth, rows, INT8_TILE, y, y_stride, columns, accumulate,
      [&](const Unpacked &unpacked, int64_t count, int64_t chunk, int64_t row, int64_t tile, float *sums)
          __attribute__((always_inline)) {
            if (tile == 1) return add_int8_rows<1, GROUP, WIDE>(unpacked, count, x, row, chunk, sums);
            add_int8_rows<INT8_TILE, GROUP, WIDE>(unpacked, count, x, row, chunk, sums);
          });
}

void multiply_int8(const BlockPanel &panel, const Int8Rows &x, int64_t rows, float *y, int64_t y_stride,
                   int64_t columns, bool accumulate) {
  if (panel.dtype == Dtype::q8_0) return multiply_int8_as<32, true>(panel, x, rows, y, y_stride, columns, accumulate);
  if (block_format(panel.dtype).group == 32)
    return multiply_int8_as<32, false>(panel, x, rows, y, y_stride, columns, accumulate);
  multiply_int8_as<16, false>(panel, x, rows, y, y_stride, columns, accumulate);
}

template <int GROUP>
void multiply_f32_as(const BlockPanel &panel, const F32Rows &x, int64_t rows, float *y, int64_t y_stride,
                     int64_t columns, bool accumulate) {
  multiply_rows<true>(
      panel, x.depth, rows, F32_TILE, y, y_stride, columns, accumulate,
      [&](const Unpacked &unpacked, int64_t count, int64_t chunk, int64_t row, int64_t tile, float *sums)
          __attribute__((always_inline)) {
            if (tile == 1) return add_f32_rows<1, GROUP>(unpacked, count, x, row, chunk, sums);
            add_f32_rows<F32_TILE, GROUP>(unpacked, count, x, row, chunk, sums);
          });
}

void multiply_f32(const BlockPanel &panel, const F32Rows &x, int64_t rows, float *y, int64_t y_stride, int64_t columns,
                  bool accumulate) {
  if (block_format(panel.dtype).group == 32)
    return multiply_f32_as<32>(panel, x, rows, y, y_stride, columns, accumulate);
  multiply_f32_as<16>(panel, x, rows, y, y_stride, columns, accumulate);
}

void sum_sixteens(const float *x, int64_t count, float *sums) {
  for (int64_t i = 0; i < count; i += 16) {
    Vector sum = load(x + i);
#pragma GCC unroll 4
    for (int64_t at = WIDTH; at < 16; at += WIDTH) sum += load(x + i + at);
    sums[i / 16] = sum_lanes(sum);
  }
}

void quantize_row(const float *x, int64_t depth, int8_t *codes, float *scales, float *sums) {
  const Vector magic = broadcast(12582912.0f);  // 1.5·2^23: adding it rounds to an integer in the low mantissa bits
  for (int64_t begin = 0; begin < depth; begin += DEPTH_CHUNK) {
    Vector largest{}, nothing{};
    for (int64_t i = 0; i < DEPTH_CHUNK; i += WIDTH) {
      const Vector value = load(x + begin + i);
      nothing += value - value;  // NaN for what is not a number
      largest = maximum(select(value < Vector{}, -value, value), largest);
    }
    float most = 0.0f;
    for (int64_t lane = 0; lane < WIDTH; lane++) most = largest[lane] > most ? largest[lane] : most;
    // Below the smallest normal number 127/most overflows: such a block is 0.
    const float factor = most < 1.1754944e-38f ? 0.0f : 127.0f / most;
    for (int64_t half = 0; half < DEPTH_CHUNK; half += 16) {
      IntVector sum{};
      for (int64_t i = half; i < half + 16; i += WIDTH) {
        const Vector shifted = load(x + begin + i) * factor + magic;
        IntVector rounded;
        __builtin_memcpy(&rounded, &shifted, sizeof rounded);
        rounded -= 0x4b400000;
        sum += rounded;
        const ByteVector bytes = __builtin_convertvector(rounded, ByteVector);
        __builtin_memcpy(codes + begin + i, &bytes, sizeof bytes);
      }
      int32_t total = 0;
      for (int64_t lane = 0; lane < WIDTH; lane++) total += sum[lane];
      sums[(begin + half) / 16] = static_cast<float>(total);
    }
    scales[begin / DEPTH_CHUNK] = (factor == 0.0f ? 0.0f : most / 127.0f) + sum_lanes(nothing);
  }
}

const BlockOps block_table = {DUO_BLOCKS_NAME, quantize_row, multiply_int8,
                              sum_sixteens,    multiply_f32, dequantize_panel};

}  // namespace
}  // namespace duo

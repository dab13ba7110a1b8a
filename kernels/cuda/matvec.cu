// The weights stream through shared memory: every thread has a ring of its own there, which cp.async fills some stages ahead, and reads back only
// what it asked for itself; so the loop has no barrier, and reading begins before the vectors are known.
// Block: 8 warps (or 16, of half the stages) in teams of `slices`. A team takes units of 16 weight rows in turn (swiglu: 8 gate rows and their 8 up
// rows), its warps the depth's chunks of 128 bytes a row in turn. Tensor cores: weight rows are a product's 16 rows, the vectors its 8 columns. A lane holds rows r and r + 8
// (r = lane / 4) and reads pieces c and c + 4 of 16 bytes (c = lane mod 4) of each; the vectors are read alike, so the order of the depth is free.
// Warps' sums are added in their order, a group of rounds at a time. The depth is taken in even pieces that fit shared memory with all vectors.
// Shared memory: rings [stages, 4, threads] of 16 bytes; vectors [batch, piece + padding] bf16; sums [rounds, warps, 16, batch]; 32 floats.
#include "cuda/matvec.h"

#include <algorithm>

#include "cuda/dependent_launch.h"
#include "cuda/warp_fragments.h"

namespace duo::cuda {
namespace {

constexpr int USUAL_WARPS = 8, UNIT = 16, COPIES = 4;
constexpr int VECTOR_ROUNDS = 16;          // vectors times rounds whose sums are kept before they are joined: 8 KB
constexpr int PADDING = 32;                // elements between vectors: neighbours on other banks
constexpr int64_t WARP_STAGE_BYTES = COPIES * 32 * 16;
// More than half of a multiprocessor's shared memory, so that one block is there: where two fit, those that start early (dependent_launch.h) gather on
// the multiprocessors that come free first.
constexpr int64_t RING_BYTES = 128 << 10;
// Elements of a piece, so that 8 vectors of it and two stages fit a block.
int64_t most_of_a_piece(const DeviceSize &device) { return device.shared_bytes >= 176 << 10 ? 8192 : device.shared_bytes >= 112 << 10 ? 4096 : 2048; }

// How a product is cut. Pieces and slices depend on the depth and the warps alone, as sums do.
struct Cut {
  int32_t warps, slices, chunks, piece_chunks, pieces, stages, group_rounds;
  int64_t rounds, blocks;
  int64_t other_bytes;  // shared memory besides the rings
};

// A warp's way through its chunks: groups of rounds, in them pieces, in them rounds, in them chunks.
struct Walk {
  int64_t group, round;
  int32_t piece, chunk;

  __device__ __forceinline__ bool is_done(const Cut &cut) const { return group >= cut.rounds; }
  __device__ __forceinline__ void advance(const Cut &cut, int slice) {
    chunk += cut.slices;
    for (;;) {
      const int32_t end = (piece + 1) * cut.piece_chunks;
      if (chunk < (end < cut.chunks ? end : cut.chunks)) return;
      round++;
      if (round == cut.rounds || round == group + cut.group_rounds) {
        if (++piece == cut.pieces) {
          piece = 0;
          group += cut.group_rounds;
          if (is_done(cut)) return;
        }
        round = group;
      }
      chunk = piece * cut.piece_chunks + slice;
    }
  }
};

// Two rows' 16 bytes of weights times the vectors' elements of the same places. x: the lane's vector, or null for a column without one.
template <bool INT8>
__device__ __forceinline__ void multiply_chunk(float sum[4], const uint4 &low, const uint4 &high, const bf16 *x) {
  const uint32_t rows[2][4] = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
#pragma unroll
  for (int i = 0; i < (INT8 ? 2 : 1); i++) {
    const uint4 eight = x != nullptr ? *reinterpret_cast<const uint4 *>(x + 8 * i) : make_uint4(0, 0, 0, 0);
    if constexpr (INT8) {
      uint32_t pairs[2][4];
#pragma unroll
      for (int w = 0; w < 2; w++) {
        for (int half = 0; half < 2; half++) spread_word<Dtype::int8>(rows[half][2 * i + w], 0, pairs[half] + 2 * w);
      }
      // Values 0 and 2, 1 and 3 of each four, as spread_word pairs them.
      const uint32_t first[4] = {pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1]}, second[4] = {pairs[0][2], pairs[1][2], pairs[0][3], pairs[1][3]};
      multiply_tile(sum, first, permute_bytes(eight.x, eight.y, 0x5410), permute_bytes(eight.x, eight.y, 0x7632));
      multiply_tile(sum, second, permute_bytes(eight.z, eight.w, 0x5410), permute_bytes(eight.z, eight.w, 0x7632));
    } else {
      const uint32_t first[4] = {rows[0][0], rows[1][0], rows[0][1], rows[1][1]}, second[4] = {rows[0][2], rows[1][2], rows[0][3], rows[1][3]};
      multiply_tile(sum, first, eight.x, eight.y);
      multiply_tile(sum, second, eight.z, eight.w);
    }
  }
}

// 1 / root mean square of each hidden vector; `scratch` [32].
template <int THREADS>
__device__ __forceinline__ float norm_scale_of(const VectorProduct &p, int b, float *scratch) {
  float square = 0.0f;
#pragma unroll 4
  for (int64_t i = threadIdx.x * 4; i < p.depth; i += THREADS * 4) {
    const float4 h = *reinterpret_cast<const float4 *>(p.hidden + b * p.depth + i);
    square += h.x * h.x + h.y * h.y + h.z * h.z + h.w * h.w;
  }
  return 1.0f / sqrtf(sum_block(square, scratch) / static_cast<float>(p.depth) + p.eps);
}

// Eight elements of vector b from `element` on, normed where it is hidden states.
__device__ __forceinline__ uint4 read_vector(const VectorProduct &p, int b, int64_t element, float norm_scale) {
  if (element >= p.depth) return make_uint4(0, 0, 0, 0);
  const int64_t at = b * p.depth + element;
  if (p.hidden == nullptr) return *reinterpret_cast<const uint4 *>(p.x + at);
  const auto *h = reinterpret_cast<const float4 *>(p.hidden + at), *n = reinterpret_cast<const float4 *>(p.norm + element);
  const float4 h0 = h[0], h1 = h[1], n0 = n[0], n1 = n[1];
  const float s = norm_scale;
  return make_uint4(pack_bf16(h0.x * s * n0.x, h0.y * s * n0.y), pack_bf16(h0.z * s * n0.z, h0.w * s * n0.w), pack_bf16(h1.x * s * n1.x, h1.y * s * n1.y),
                    pack_bf16(h1.z * s * n1.z, h1.w * s * n1.w));
}

template <bool INT8, int WARPS>
__global__ void __launch_bounds__(WARPS * 32, 1) vector_product_kernel(const VectorProduct p, const Cut cut) {
  constexpr int THREADS = WARPS * 32;
  constexpr int BYTES = INT8 ? 1 : 2, STEP = 16 / BYTES, CHUNK = 8 * STEP;
  auto *ring = reinterpret_cast<uint4 *>(shared_memory()) + threadIdx.x;
  auto *vectors = reinterpret_cast<bf16 *>(shared_memory() + cut.stages * WARPS * WARP_STAGE_BYTES);
  const int piece_elements = cut.piece_chunks * CHUNK, stride = piece_elements + PADDING;
  float *sums = reinterpret_cast<float *>(vectors + p.batch * stride), *scratch = sums + cut.group_rounds * WARPS * UNIT * p.batch;
  const int warp = threadIdx.x / 32, row = threadIdx.x % 32 / 4, column = threadIdx.x % 4, slice = warp % cut.slices, teams = WARPS / cut.slices;
  const bool is_pair = p.store == VectorStore::swiglu;
  const int outputs_a_unit = is_pair ? UNIT / 2 : UNIT;
  const auto unit_of = [&](int64_t round, int team) { return (round * gridDim.x + blockIdx.x) * teams + team; };
  let_next_start();

  Walk ahead{0, 0, 0, slice};
  const auto start_copy = [&](int stage) {
    if (!ahead.is_done(cut)) {
      const int64_t low = unit_of(ahead.round, warp / cut.slices) * outputs_a_unit + row, high = is_pair ? p.outputs + low : low + 8;
      const bool has_low = low < p.outputs, has_high = is_pair ? has_low : high < p.outputs;
      const auto *weight = static_cast<const uint8_t *>(p.weight);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int64_t element = static_cast<int64_t>(ahead.chunk) * CHUNK + (4 * j + column) * STEP;
        const bool is_inside = element < p.depth;
        copy_async(ring + (stage * COPIES + 2 * j) * THREADS, weight + (is_inside && has_low ? (low * p.depth + element) * BYTES : 0), is_inside && has_low);
        copy_async(ring + (stage * COPIES + 2 * j + 1) * THREADS, weight + (is_inside && has_high ? (high * p.depth + element) * BYTES : 0), is_inside && has_high);
      }
      ahead.advance(cut, slice);
    }
    commit_copies();  // an empty group too, so that counting groups is counting chunks
  };
  for (int stage = 0; stage < cut.stages - 1; stage++) start_copy(stage);
  if (p.hidden != nullptr) {
    for (int64_t i = threadIdx.x * 32; i < p.depth; i += THREADS * 32) prefetch_line(p.norm + i);
  }
  wait_for_previous();

  int stage = 0;
  for (int64_t group = 0; group < cut.rounds; group += cut.group_rounds) {
    const int64_t group_end = group + cut.group_rounds < cut.rounds ? group + cut.group_rounds : cut.rounds;
    for (int piece = 0; piece < cut.pieces; piece++) {
      if (cut.pieces > 1 || group == 0) {
        if (piece > 0 || group > 0) __syncthreads();  // nobody reads the last piece any more
        for (int b = 0; b < p.batch; b++) {
          const float norm_scale = p.hidden != nullptr ? norm_scale_of<THREADS>(p, b, scratch) : 1.0f;
#pragma unroll 4
          for (int i = static_cast<int>(threadIdx.x) * 8; i < piece_elements; i += THREADS * 8) {
            *reinterpret_cast<uint4 *>(vectors + b * stride + i) = read_vector(p, b, static_cast<int64_t>(piece) * piece_elements + i, norm_scale);
          }
        }
        __syncthreads();
      }
      const int piece_begin = piece * cut.piece_chunks, piece_end = piece_begin + cut.piece_chunks < cut.chunks ? piece_begin + cut.piece_chunks : cut.chunks;
      for (int64_t round = group; round < group_end; round++) {
        float sum[2][4] = {{0.0f, 0.0f, 0.0f, 0.0f}, {0.0f, 0.0f, 0.0f, 0.0f}};
        for (int chunk = piece_begin + slice; chunk < piece_end; chunk += cut.slices) {
          wait_copies_left(cut.stages - 2);
          start_copy(stage == 0 ? cut.stages - 1 : stage - 1);
#pragma unroll
          for (int j = 0; j < 2; j++) {
            const bf16 *x = vectors + row * stride + (chunk - piece_begin) * CHUNK + (4 * j + column) * STEP;
            const uint4 low = ring[(stage * COPIES + 2 * j) * THREADS], high = ring[(stage * COPIES + 2 * j + 1) * THREADS];
            multiply_chunk<INT8>(sum[j], low, high, row < p.batch ? x : nullptr);
          }
          stage = stage + 1 == cut.stages ? 0 : stage + 1;
        }
        float *to = sums + ((round - group) * WARPS + warp) * UNIT * p.batch;
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int b = 2 * column + i % 2;
          if (b >= p.batch) continue;
          float &kept = to[(row + i / 2 * 8) * p.batch + b];
          const float total = sum[0][i] + sum[1][i];
          kept = piece == 0 ? total : kept + total;
        }
      }
    }
    __syncthreads();
    // Join the slices and store: a thread an output.
    const int count = static_cast<int>(group_end - group) * teams * outputs_a_unit * p.batch;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += THREADS) {
      const int r = i % outputs_a_unit, team = i / outputs_a_unit % teams, b = i / (outputs_a_unit * teams) % p.batch, round = i / (outputs_a_unit * teams * p.batch);
      const int64_t output = unit_of(group + round, team) * outputs_a_unit + r;
      if (output >= p.outputs) continue;
      const auto total = [&](int at, int64_t weight_row) {
        float value = 0.0f;
        for (int s = 0; s < cut.slices; s++) value += sums[((round * WARPS + team * cut.slices + s) * UNIT + at) * p.batch + b];
        if (INT8) value *= p.row_scale[weight_row];
        return p.bias != nullptr ? value + p.bias[weight_row] : value;
      };
      const float value = total(r, output);
      const int64_t at = b * p.outputs + output;
      if (p.store == VectorStore::swiglu) {
        static_cast<bf16 *>(p.out)[at] = narrow(value / (1.0f + expf(-value)) * total(r + 8, output + p.outputs));
      } else if (p.store == VectorStore::bf16) {
        static_cast<bf16 *>(p.out)[at] = narrow(value);
      } else if (p.store == VectorStore::f32) {
        static_cast<float *>(p.out)[at] = value;
      } else {
        static_cast<float *>(p.out)[at] += value;
      }
    }
    if (group_end < cut.rounds) __syncthreads();  // sums are free again
  }
}

Cut cut_of(const VectorProduct &p) {
  const int64_t chunk = p.row_scale != nullptr ? 128 : 64;
  Cut cut{};
  cut.warps = p.warps > 0 ? p.warps : USUAL_WARPS;
  const int64_t stage_bytes = cut.warps * WARP_STAGE_BYTES;
  cut.chunks = static_cast<int32_t>(ceil_divide(p.depth, chunk));
  cut.pieces = static_cast<int32_t>(ceil_divide(cut.chunks, most_of_a_piece(p.device) / chunk));
  cut.piece_chunks = static_cast<int32_t>(ceil_divide(cut.chunks, cut.pieces));
  // As many warps along the depth as share it with a seventh of their time lost at most.
  cut.slices = cut.warps;
  while (cut.slices > 1 && ceil_divide(cut.piece_chunks, cut.slices) * cut.slices * 7 > cut.piece_chunks * 8) cut.slices /= 2;
  cut.group_rounds = std::max(1, VECTOR_ROUNDS / p.batch);
  cut.other_bytes = p.batch * (cut.piece_chunks * chunk + PADDING) * static_cast<int64_t>(sizeof(bf16)) +
                    (cut.group_rounds * cut.warps * UNIT * p.batch + 32) * static_cast<int64_t>(sizeof(float));
  const int64_t room = (p.device.shared_bytes - cut.other_bytes) / stage_bytes, wish = p.stages > 0 ? p.stages : RING_BYTES / stage_bytes;
  cut.stages = static_cast<int32_t>(std::max<int64_t>(2, std::min<int64_t>({wish, room, MOST_STAGES})));
  const int64_t teams = cut.warps / cut.slices, units = ceil_divide(p.outputs, p.store == VectorStore::swiglu ? UNIT / 2 : UNIT);
  cut.blocks = std::min(ceil_divide(units, teams), p.blocks_a_multiprocessor * int64_t{p.device.multiprocessors});
  cut.rounds = ceil_divide(units, cut.blocks * teams);
  return cut;
}

template <bool INT8, int WARPS>
cudaError_t launch_warps(const VectorProduct &p, const Cut &cut, cudaStream_t stream) {
  const Grid grid{dim3(static_cast<unsigned>(cut.blocks)), WARPS * 32, static_cast<size_t>(cut.stages * WARPS * WARP_STAGE_BYTES + cut.other_bytes)};
  return p.is_dependent ? launch_dependent(grid, stream, vector_product_kernel<INT8, WARPS>, p, cut) : launch(grid, stream, vector_product_kernel<INT8, WARPS>, p, cut);
}

template <bool INT8>
cudaError_t launch_type(const VectorProduct &p, cudaStream_t stream) {
  const Cut cut = cut_of(p);
  return cut.warps == 16 ? launch_warps<INT8, 16>(p, cut, stream) : launch_warps<INT8, 8>(p, cut, stream);
}

}  // namespace

cudaError_t launch_vector_product(const VectorProduct &p, cudaStream_t stream) {
  const bool is_int8 = p.row_scale != nullptr, can_cut = p.blocks_a_multiprocessor >= 1 && p.device.multiprocessors >= 1 && (p.warps == 0 || p.warps == 8 || p.warps == 16);
  if (!can_cut || p.batch < 1 || p.batch > 8 || p.depth % (is_int8 ? 16 : 8) != 0) return cudaErrorInvalidValue;
  return is_int8 ? launch_type<true>(p, stream) : launch_type<false>(p, stream);
}

}  // namespace duo::cuda

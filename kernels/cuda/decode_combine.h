// The results of the blocks that split a head, combined by the one that ends last, in the order of splits whichever it
// is, so that sums do not depend on it.
#pragma once
#include "cuda/decode_attention.h"
#include "cuda/hadamard.h"
#include "cuda/warp_fragments.h"

namespace duo::cuda {

// Asks for parts [splits, stride] of 16 bytes from `from` on, splits `team`, team + teams …, one quad of each, in four
// groups.
__device__ __forceinline__ void start_parts(float4 *parts, int stride, const float *from, int64_t from_stride,
                                            int splits, int team, int teams) {
  const int quarter = (splits + 4 * teams - 1) / (4 * teams);
#pragma unroll
  for (int part = 0, turn = 0; part < 4; part++) {
    for (int i = 0; i < quarter; i++, turn++) {
      const int split = team + turn * teams;
      if (split < splits) cp_async(parts + split * stride, from + split * from_stride, true);
    }
    cp_async_commit_group();
  }
}

// What the blocks that split a head have left in `partial`, combined: out [rows, D]. All of it is asked for at once, as
// memory is busy with the next kernel's weights and each wait is long; what has come is summed while the rest comes.
// Teams of threads, four elements per thread, take the splits in turn, and a thread reads only what it asked for itself.
// `room` bytes of shared memory from `shared` on, a multiple of 16; totals [rows]. `rotates`: outputs are transformed
// back, from the room's end.
template <int D>
__device__ __forceinline__ void combine_splits(const DecodeAttention &a, int64_t slot, int count, int rows, bf16 *out,
                                               uint8_t *shared, int room, float *totals, bool rotates) {
  constexpr int AHEAD = 2;
  const int group = a.heads / a.kv_heads, threads = a.shape.warps * 32, thread = threadIdx.x, lane = thread % 32;
  const int width = rows * (D / 4), span = width < threads ? width : threads, teams = threads / span,
            team = thread / span;
  auto *scales = reinterpret_cast<float2 *>(shared);  // [count, rows]: largest, then factor; sum
  auto *parts = reinterpret_cast<float4 *>(shared) + (2 * count * rows + 3) / 4;
  const int kept = rotates ? width : 0;  // quads of whole outputs
  auto *combined = reinterpret_cast<float4 *>(shared) + (room / 16 - kept);
  const int most = (room / 16 - kept - (2 * count * rows + 3) / 4) / span;  // splits at a time
  // Scales first: they are few, and needed before the parts.
  const auto load_scale = [&](int i) {
    return load_fresh(reinterpret_cast<const float2 *>(a.partial_scale) + slot +
                      static_cast<int64_t>(i / rows) * group + i % rows);
  };
  float2 ahead[AHEAD];
#pragma unroll
  for (int j = 0; j < AHEAD; j++) {
    if (thread + j * threads < count * rows) ahead[j] = load_scale(thread + j * threads);
  }
  for (int base = 0; base < width; base += span) {
    const int quad = base + thread % span, row = quad / (D / 4);
    const bool is_mine = team < teams && quad < width;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int first = 0; first < count; first += most) {
      const int here = count - first < most ? count - first : most, quarter = (here + 4 * teams - 1) / (4 * teams);
      float4 *mine = parts + thread % span;
      start_parts(mine, span, a.partial + (slot + static_cast<int64_t>(first) * group) * D + quad * 4,
                  static_cast<int64_t>(group) * D, is_mine ? here : 0, team, teams);
      if (base == 0 && first == 0) {
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
          if (thread + j * threads < count * rows) scales[thread + j * threads] = ahead[j];
        }
        for (int i = thread + AHEAD * threads; i < count * rows; i += threads) scales[i] = load_scale(i);
        __syncthreads();
        for (int r = thread / 32; r < rows; r += a.shape.warps) {
          float top = minus_infinity(), total = 0.0f;
          for (int i = lane; i < count; i += 32) top = fmaxf(top, scales[i * rows + r].x);
          top = max_warp(top);
          for (int i = lane; i < count; i += 32) {
            float2 &pair = scales[i * rows + r];
            pair.x = exp2_of(pair.x - top);
            total += pair.x * pair.y;
          }
          total = sum_warp(total);
          if (lane == 0) totals[r] = total;
        }
        __syncthreads();
      }
      const auto add = [&](int part) {
        for (int i = 0; i < quarter; i++) {
          const int split = team + (part * quarter + i) * teams;
          if (!is_mine || split >= here) return;
          const float factor = scales[(first + split) * rows + row].x;
          const float4 four = mine[split * span];
          sum.x += factor * four.x, sum.y += factor * four.y, sum.z += factor * four.z, sum.w += factor * four.w;
        }
      };
      cp_async_wait_group<3>(), add(0);
      cp_async_wait_group<2>(), add(1);
      cp_async_wait_group<1>(), add(2);
      cp_async_wait_group<0>(), add(3);
    }
    if (teams > 1) {
      __syncthreads();
      parts[thread] = sum;
      __syncthreads();
      for (int t = 1; team == 0 && t < teams; t++) {
        const float4 part = parts[t * span + thread];
        sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
      }
    }
    if (team > 0 || quad >= width) continue;
    const float total = totals[row];
    const float4 whole = make_float4(sum.x / total, sum.y / total, sum.z / total, sum.w / total);
    if (rotates) {
      combined[quad] = whole;
    } else {
      *reinterpret_cast<uint2 *>(out + quad * 4) = make_uint2(pack_bf16(whole.x, whole.y), pack_bf16(whole.z, whole.w));
    }
  }
  if (!rotates) return;
  __syncthreads();
  for (int row = thread / 32; row < rows; row += a.shape.warps) {
    const auto *from = reinterpret_cast<const float *>(combined) + row * D;
    HeadVector v = gather_vector(D, [&](int i) { return from[i]; });
    transform_vector<D>(v);
    store_vector(v, out + row * D, D);
  }
}

}  // namespace duo::cuda

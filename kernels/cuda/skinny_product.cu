// Tiles of 256 weight rows (swiglu: 128 gate rows and their 128 up rows) against all vectors. Block: 8 warps of 32 rows
// each. The depth is taken in steps of 128 bytes per row; codes, scales and the vectors' elements of some steps are on
// their way through a ring of stages, filled by cp.async, codes and scales before the vectors are known. With groups
// the sums of codes are made for each group by itself and scaled in fp32; the vectors' own sums by group, which minima
// are multiplied with, are made once for a block by its warps together.
// Where tiles alone do not fill the multiprocessors the depth is split. Then a block writes its partial sums, and a
// second kernel adds them in the order of splits and stores.
// Shared memory: stages of codes [256, 128 bytes], scales and vectors [VECTORS, elements of a step] bf16 (skinny_tile.h);
// sums by group [groups of a step, VECTORS] fp32.
#include "cuda/skinny_product.h"

#include <algorithm>

#include "cuda/dependent_launch.h"
#include "cuda/skinny_tile.h"

namespace duo::cuda {
namespace {

using namespace skinny;

// What a block's partial sums of 64 vectors cost to write and to read again, in steps.
constexpr int64_t SPLIT_STEPS = 2;
constexpr int64_t MAX_SPLITS = 16;

// An output from the sum of its row, and of its up row where it has one.
__device__ __forceinline__ void store_output(const VectorProduct &p, int64_t vector, int64_t output, float sum,
                                             float up_sum) {
  const auto finish = [&](float value, int64_t row) {
    if (p.format == WeightFormat::int8) value *= p.row_scale[row];
    return p.bias != nullptr ? value + p.bias[row] : value;
  };
  const float value = finish(sum, output);
  const int64_t at = vector * p.outputs + output;
  if (p.store == VectorStore::swiglu) {
    static_cast<bf16 *>(p.out)[at] = narrow(value / (1.0f + expf(-value)) * finish(up_sum, output + p.outputs));
  } else if (p.store == VectorStore::bf16) {
    static_cast<bf16 *>(p.out)[at] = narrow(value);
  } else if (p.store == VectorStore::f32) {
    static_cast<float *>(p.out)[at] = value;
    if (p.first_bad != nullptr && !is_finite(value)) lower(p.first_bad + vector, static_cast<int32_t>(output));
  } else {
    static_cast<float *>(p.out)[at] += value;
  }
}

// VECTORS: vectors at most. partial [splits, batch, rows], written where there are several splits.
template <WeightFormat FORMAT, int VECTORS>
__global__ void __launch_bounds__(THREADS, 1)
    skinny_product_kernel(const VectorProduct p, const Cut cut, float *partial) {
  using Layout = StepLayout<FORMAT, VECTORS>;
  constexpr int TILES = VECTORS / 8;
  auto *ring = reinterpret_cast<uint4 *>(shared_memory());
  auto *sums = reinterpret_cast<float *>(ring + cut.stages * Layout::STAGE);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  griddepcontrol_launch_dependents();

  Walk ahead = Walk::from(cut, blockIdx.x), weights_ahead = ahead;
  const auto copy_if_any = [&](const Walk &at, const auto &copy, int stage) {
    if (at.item < cut.items) copy(at, ring + stage * Layout::STAGE);
  };
  const auto weights = [&](const Walk &at, uint4 *stage) { copy_weights<FORMAT, VECTORS>(p, cut, at, stage); };
  const auto vectors = [&](const Walk &at, uint4 *stage) { copy_vectors<FORMAT, VECTORS>(p, at, stage); };
  for (int stage = 0; stage < cut.stages - 1; stage++) {
    copy_if_any(weights_ahead, weights, stage);
    cp_async_commit_group();
    weights_ahead.advance(cut);
  }
  griddepcontrol_wait();
  // Groups are waited for in order: a stage's vectors have come after its weights.
  for (int stage = 0; stage < cut.stages - 1; stage++) {
    copy_if_any(ahead, vectors, stage);
    cp_async_commit_group();
    ahead.advance(cut);
  }

  int stage = 0;
  for (int64_t item = blockIdx.x; item < cut.items; item += gridDim.x) {
    const Walk begin = Walk::from(cut, item);
    const TileRows rows(p, item / cut.splits);
    float sum[2][TILES][4] = {};
    for (int step = begin.step; step < begin.end; step++) {
      wait_copies_left(cut.stages - 2);
      __syncthreads();  // all threads' copies have landed, and all have left the stage that is filled next
      const int next = stage == 0 ? cut.stages - 1 : stage - 1;
      copy_if_any(ahead, weights, next);
      copy_if_any(ahead, vectors, next);
      cp_async_commit_group();
      ahead.advance(cut);
      const uint4 *here = ring + stage * Layout::STAGE;
      if constexpr (Layout::HAS_MINIMUM) {
        sum_groups<FORMAT, VECTORS>(here + Layout::CODES + Layout::SCALES, sums);
        __syncthreads();
      }
      if (rows.has(warp * WARP_ROWS)) multiply_step<FORMAT, VECTORS>(sum, here, sums);
      stage = stage + 1 == cut.stages ? 0 : stage + 1;
    }
#pragma unroll
    for (int m = 0; m < 2; m++) {
      const int row = warp * WARP_ROWS + 16 * m + lane / 4;
#pragma unroll
      for (int n = 0; n < TILES; n++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int vector = 8 * n + lane % 4 * 2 + i;
          if (vector >= p.batch) continue;
          if (cut.splits > 1) {
            float *to = partial + (item % cut.splits * p.batch + vector) * (rows.is_pair ? 2 * p.outputs : p.outputs);
            for (int half = 0; half < 2; half++) {
              if (rows.has(row + 8 * half)) to[rows(row + 8 * half)] = sum[m][n][2 * half + i];
            }
          } else if (rows.is_pair) {
            if (rows.has(row)) store_output(p, vector, rows(row), sum[m][n][i], sum[m][n][2 + i]);
          } else {
            for (int half = 0; half < 2; half++) {
              if (rows.has(row + 8 * half))
                store_output(p, vector, rows(row + 8 * half), sum[m][n][2 * half + i], 0.0f);
            }
          }
        }
      }
    }
  }
}

// One thread per output; blocks' second index is the vector.
__global__ void __launch_bounds__(THREADS)
    combine_splits_kernel(const VectorProduct p, int32_t splits, const float *partial) {
  griddepcontrol_launch_dependents();
  griddepcontrol_wait();
  const int64_t output = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x,
                rows = p.store == VectorStore::swiglu ? 2 * p.outputs : p.outputs;
  if (output >= p.outputs) return;
  const auto total = [&](int64_t row) {
    float sum = 0.0f;
#pragma unroll 8
    for (int split = 0; split < splits; split++) sum += partial[(int64_t{split} * p.batch + blockIdx.y) * rows + row];
    return sum;
  };
  store_output(p, blockIdx.y, output, total(output), p.store == VectorStore::swiglu ? total(output + p.outputs) : 0.0f);
}

// Splits and their order depend on the matrix and the device, never on the batch.
Cut cut_of(const VectorProduct &p) {
  Cut cut{};
  const int64_t elements = p.format == WeightFormat::bf16 ? 2 : 1;  // bytes of one, of formats without groups
  cut.row_bytes = has_groups(p.format) ? PackedShape{p.format, 1, p.depth}.row_bytes() : p.depth * elements;
  cut.chunks = ceil_divide(cut.row_bytes, CHUNK_CODE_BYTES);
  cut.steps = static_cast<int32_t>(ceil_divide(cut.row_bytes, STEP_BYTES));
  const int64_t tiles = ceil_divide(p.outputs, p.store == VectorStore::swiglu ? TILE_ROWS / 2 : TILE_ROWS);
  int64_t least = INT64_MAX;
  for (int64_t splits = 1; splits <= std::min<int64_t>(MAX_SPLITS, cut.steps); splits++) {
    const int64_t rounds = ceil_divide(tiles * splits, int64_t{p.device.multiprocessors}),
                  cost = rounds * (ceil_divide(int64_t{cut.steps}, splits) + (splits > 1 ? SPLIT_STEPS : 0));
    if (cost < least) least = cost, cut.splits = static_cast<int32_t>(splits);
  }
  cut.items = tiles * cut.splits;
  cut.blocks = ceil_divide(cut.items, ceil_divide(cut.items, int64_t{p.device.multiprocessors}));
  return cut;
}

bool is_valid(const VectorProduct &p) {
  const int64_t step = has_groups(p.format) ? 32 : p.format == WeightFormat::int8 ? 16 : 8;
  return p.hidden == nullptr && p.device.multiprocessors >= 1 && p.batch >= 1 && p.batch <= MAX_SKINNY_VECTORS &&
         p.depth >= step && p.depth % step == 0 && p.outputs >= 1 &&
         !(has_groups(p.format) && p.store == VectorStore::swiglu && p.outputs % SCALE_ROWS != 0);
}

template <typename Layout>
int64_t stages_that_fit(const DeviceSize &device) {
  return (device.shared_bytes - Layout::SUM_BYTES) / Layout::STAGE_BYTES;
}

template <WeightFormat FORMAT, int VECTORS>
cudaError_t launch_class(const VectorProduct &p, Cut cut, float *partial, cudaStream_t stream) {
  using Layout = StepLayout<FORMAT, VECTORS>;
  const int64_t fitting = stages_that_fit<Layout>(p.device), wish = p.stages > 0 ? p.stages : MAX_STAGES;
  if (fitting < 2) return cudaErrorInvalidValue;
  cut.stages = static_cast<int32_t>(std::clamp<int64_t>(wish, 2, std::min<int64_t>(fitting, MAX_STAGES)));
  const Grid grid{dim3(static_cast<unsigned>(cut.blocks)), THREADS,
                  static_cast<size_t>(cut.stages * Layout::STAGE_BYTES + Layout::SUM_BYTES)};
  const cudaError_t error =
      p.is_dependent ? launch_dependent(grid, stream, skinny_product_kernel<FORMAT, VECTORS>, p, cut, partial)
                     : launch(grid, stream, skinny_product_kernel<FORMAT, VECTORS>, p, cut, partial);
  if (error != cudaSuccess || cut.splits == 1) return error;
  return launch_dependent(
      {dim3(static_cast<unsigned>(ceil_divide(p.outputs, THREADS)), static_cast<unsigned>(p.batch)), THREADS}, stream,
      combine_splits_kernel, p, cut.splits, partial);
}

// As many vectors at a time as shared memory has room for: all 64 on an H100; on a card of 99 KB 16 of int4, 32 of
// scaled8 and affine8.
template <WeightFormat FORMAT>
cudaError_t launch_format(const VectorProduct &p, float *partial, cudaStream_t stream) {
  const Cut cut = cut_of(p);
  const int64_t most = stages_that_fit<StepLayout<FORMAT, 64>>(p.device) >= 2   ? 64
                       : stages_that_fit<StepLayout<FORMAT, 32>>(p.device) >= 2 ? 32
                                                                                : 16;
  const int64_t out_bytes = p.store == VectorStore::bf16 || p.store == VectorStore::swiglu ? 2 : 4;
  for (int64_t first = 0; first < p.batch; first += most) {
    VectorProduct part = p;
    part.batch = static_cast<int32_t>(std::min<int64_t>(most, p.batch - first));
    part.x = p.x + first * p.depth;
    part.out = static_cast<uint8_t *>(p.out) + first * p.outputs * out_bytes;
    part.first_bad = p.first_bad != nullptr ? p.first_bad + first : nullptr;
    const cudaError_t error = part.batch > 32   ? launch_class<FORMAT, 64>(part, cut, partial, stream)
                              : part.batch > 16 ? launch_class<FORMAT, 32>(part, cut, partial, stream)
                              : part.batch > 8  ? launch_class<FORMAT, 16>(part, cut, partial, stream)
                                                : launch_class<FORMAT, 8>(part, cut, partial, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t launch_skinny_product(const VectorProduct &p, float *partial, cudaStream_t stream) {
  if (!is_valid(p) || (partial == nullptr && skinny_partial_floats(p) > 0)) return cudaErrorInvalidValue;
  switch (p.format) {
    case WeightFormat::bf16: return launch_format<WeightFormat::bf16>(p, partial, stream);
    case WeightFormat::int8: return launch_format<WeightFormat::int8>(p, partial, stream);
    case WeightFormat::int4: return launch_format<WeightFormat::int4>(p, partial, stream);
    case WeightFormat::scaled8: return launch_format<WeightFormat::scaled8>(p, partial, stream);
    case WeightFormat::affine8: return launch_format<WeightFormat::affine8>(p, partial, stream);
  }
  return cudaErrorInvalidValue;
}

int64_t skinny_partial_floats(const VectorProduct &p) {
  const int64_t splits = cut_of(p).splits, rows = p.store == VectorStore::swiglu ? 2 * p.outputs : p.outputs;
  return splits > 1 ? splits * p.batch * rows : 0;
}

}  // namespace duo::cuda

// A product of two fp32 numbers is exact in fp64, so an entry's bits depend on the order of its additions alone: LANES
// interleaved sums in index order, then what the lanes leave over, then the lanes in their order.
// Block: 256 threads, 16 × 16 entries; thread (lane, 4 × 4 of them). Shared memory: a chunk of both sides' rows, fp32;
// at the end the lanes' sums, fp64.
#include "cuda/gram.h"

#include <algorithm>

#include "core/gram.h"
#include "cpu/simd/simd_ops.h"
#include "cuda/cuda_model.h"

namespace duo::cuda {
namespace {

constexpr int LANES = GRAM_LANES, TILE = 16, THREADS = 256, EACH = 4;  // entries of a thread along a side
constexpr int CHUNK = 256, STRIDE = CHUNK + LANES;                     // neighbouring rows begin 16 banks apart
constexpr size_t SHARED_BYTES = std::max(sizeof(float) * 2 * TILE * STRIDE, sizeof(double) * LANES * TILE * TILE);
constexpr int64_t UPLOAD_FLOATS = int64_t{1} << 24;  // between two looks at an abort
static_assert(THREADS == LANES * (TILE / EACH) * (TILE / EACH) && THREADS == TILE * TILE);

__device__ __forceinline__ void load_rows(float *to, const float *from, int64_t first, int64_t rows, int64_t length,
                                          int64_t begin, int64_t end) {
  for (int i = static_cast<int>(threadIdx.x); i < TILE * CHUNK; i += THREADS) {
    const int row = i / CHUNK, column = i % CHUNK;
    to[row * STRIDE + column] =
        first + row < rows && begin + column < end ? from[(first + row) * length + begin + column] : 0.0f;
  }
}

__global__ void __launch_bounds__(THREADS) gram_kernel(const float *a, int64_t num_a, const float *b, int64_t num_b,
                                                       int64_t length, bool lower_only, double *sums) {
  if (lower_only && blockIdx.x > blockIdx.y) return;
  float *left = reinterpret_cast<float *>(shared_memory()), *right = left + TILE * STRIDE;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * TILE,
                first_column = static_cast<int64_t>(blockIdx.x) * TILE;
  const int lane = threadIdx.x % LANES, part = threadIdx.x / LANES, row = part / (TILE / EACH),
            column = part % (TILE / EACH);
  const int64_t even = length / LANES * LANES;
  double sum[EACH][EACH];
  for (int i = 0; i < EACH; i++) {
    for (int j = 0; j < EACH; j++) sum[i][j] = 0.0;
  }
  for (int64_t begin = 0; begin < even; begin += CHUNK) {
    load_rows(left, a, first_row, num_a, length, begin, even);
    load_rows(right, b, first_column, num_b, length, begin, even);
    __syncthreads();  // the chunk is whole
    const int count = static_cast<int>(even - begin < CHUNK ? even - begin : CHUNK);
    for (int at = lane; at < count; at += LANES) {
      double x[EACH], y[EACH];
#pragma unroll
      for (int i = 0; i < EACH; i++) {
        x[i] = static_cast<double>(left[(row + i * (TILE / EACH)) * STRIDE + at]);
        y[i] = static_cast<double>(right[(column + i * (TILE / EACH)) * STRIDE + at]);
      }
#pragma unroll
      for (int i = 0; i < EACH; i++) {
#pragma unroll
        for (int j = 0; j < EACH; j++) sum[i][j] += x[i] * y[j];
      }
    }
    __syncthreads();  // every thread is done with the chunk
  }
  double *lanes = reinterpret_cast<double *>(shared_memory());
  for (int i = 0; i < EACH; i++) {
    for (int j = 0; j < EACH; j++)
      lanes[((row + i * (TILE / EACH)) * TILE + column + j * (TILE / EACH)) * LANES + lane] = sum[i][j];
  }
  __syncthreads();  // the lanes' sums of all entries are there
  const int64_t own_row = first_row + threadIdx.x / TILE, own_column = first_column + threadIdx.x % TILE;
  if (own_row >= num_a || own_column >= num_b) return;
  double total = 0.0;
  for (int64_t i = even; i < length; i++)
    total += static_cast<double>(a[own_row * length + i]) * static_cast<double>(b[own_column * length + i]);
  for (int i = 0; i < LANES; i++) total += lanes[threadIdx.x * LANES + i];
  sums[own_row * num_b + own_column] = total;
}

void upload(DeviceBuffer<float> &to, const float *from, Task &task, const Stream &stream) {
  for (int64_t first = 0; first < to.count(); first += UPLOAD_FLOATS) {
    task.check_abort();
    copy_to_device(to.data() + first, from + first, std::min(UPLOAD_FLOATS, to.count() - first), stream);
  }
}

}  // namespace

cudaError_t launch_gram(const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length, bool lower_only,
                        double *sums, cudaStream_t stream) {
  const dim3 tiles(static_cast<unsigned>(ceil_divide(num_b, TILE)), static_cast<unsigned>(ceil_divide(num_a, TILE)));
  return launch({tiles, THREADS, SHARED_BYTES}, stream, gram_kernel, a, num_a, b, num_b, length, lower_only, sums);
}

void CudaModel::gram(const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length, double scale,
                     Task &task, double *gram, int64_t gram_stride) {
  select_device();
  task.set_total(num_a);
  const bool is_own = a == b && num_a == num_b;  // then the upper half is the lower one's mirror, to the bit
  DeviceBuffer<float> left(num_a * length), right(is_own ? 0 : num_b * length);
  DeviceBuffer<double> sums(num_a * num_b);
  const Stream stream;
  upload(left, a, task, stream);
  if (!is_own) upload(right, b, task, stream);
  check(launch_gram(left.data(), num_a, is_own ? left.data() : right.data(), num_b, length, is_own, sums.data(),
                    stream.get()),
        "inner products");
  std::vector<double> values(static_cast<size_t>(num_a * num_b));
  copy_to_host(values.data(), sums.data(), sums.count(), stream);
  for (int64_t row = 0; row < num_a; row++) {
    for (int64_t column = 0; column < (is_own ? row + 1 : num_b); column++) {
      const double value = scale * values[static_cast<size_t>(row * num_b + column)];
      gram[row * gram_stride + column] += value;
      if (is_own && column < row) gram[column * gram_stride + row] += value;
    }
    task.add_done();
  }
}

}  // namespace duo::cuda

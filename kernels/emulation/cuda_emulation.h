// Host stand-in for the part of CUDA that kernels/cuda uses, so that the same sources run on a machine without a GPU:
// grids, blocks, dynamic shared memory, barriers, warp collectives, streams, graphs. cuda/device.h includes it where
// DUO_EMULATION is defined. Threads of a block are fibers on one host thread; what a GPU leaves undefined is made to
// fail here: barriers and collectives that not every thread reaches, writes outside shared or global allocations, reads
// before a cp.async was waited for. Not emulated: speed, memory models, reads out of bounds. Owner of all state:
// scheduler.cpp (threads) and runtime.cpp (memory, streams, graphs).
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __constant__ static const

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

namespace duo::emulation {

struct ThreadState {
  dim3 thread, block, block_dim, grid_dim;
  unsigned char *shared;
};
extern ThreadState *current;

// Every lane of the running thread's warp passes a pointer to its operand; once all 32 have come with the same
// `operation`, execute(operands) runs once. Returns when it has.
void run_warp_collective(const char *operation, void *operand, void (*execute)(void **operands));
void run_block_barrier(const char *operation);

// What a lane brings to a warp's matrix product (mma_m16n8k16 in cuda/device.h), and what the collective then executes:
// `lanes` are 32 of them.
struct WarpProduct {
  float *sum;
  const uint32_t *a;
  uint32_t b[2];
};
void multiply_bf16(void **lanes);
void multiply_f16(void **lanes);

// As run_warp_collective, for the 128 threads of a warpgroup.
void run_warpgroup_collective(const char *operation, void *operand, void (*execute)(void **operands));

// A warpgroup's matrix product [64, 2·num_sums] of depth 16 (cuda/hopper.h), made only when its group is waited for:
// tiles overwritten or results used too early are seen. `left` registers are read at once, or null where the operand is
// a tile; `is_deep`: rows of the right tile are the depth.
struct WarpgroupProduct {
  float *sum;
  int num_sums;
  const uint32_t *left;
  uint64_t left_tile, right_tile;
  bool is_deep, adds, is_f16;
};
void queue_warpgroup_product(const WarpgroupProduct &product);
void commit_warpgroup_products();
void wait_warpgroup_products(int groups_left);
// Called before a block runs.
void forget_warpgroup_products();

// mbarrier: rounds of `arrivals`; a wait ends when the round of that parity is complete.
void open_counting_barrier(uint64_t *barrier, unsigned arrivals);
void arrive_at_counting_barrier(uint64_t *barrier);
void wait_for_counting_barrier(uint64_t *barrier, unsigned parity);

// Copies asked for by cp.async: made only when the group is waited for, so that data used too early is seen to be
// missing, or at once, so that data overwritten too early is (Schedule); a source that changes in between is a fault.
// total_bytes at most 16.
void queue_async_copy(void *to, const void *from, int bytes, int total_bytes);
void commit_async_copies();
void wait_async_copies(int groups_left);

// The order in which threads of a block take turns. Results that differ between orders betray a missing barrier.
// forward, reverse, shuffled: every thread in turn, each up to its next barrier or collective, so that no warp comes
// more than one of them ahead of another. first_ahead: a warp moves only while no warp before it can; so of every two
// the first is as far ahead as barriers allow, and copies of the half of the threads that is ahead are made at once,
// those of the other half when waited for. last_ahead: the same from the last thread on.
enum class Schedule { forward, reverse, shuffled, first_ahead, last_ahead };
void set_schedule(Schedule schedule);

// When streams do their work. at_once: as it is asked for. copies_last: a copy from pinned memory, and what follows it
// on its stream, as late as an event or a wait allows; kernels early: whoever does not wait for a copy misses it.
// copies_first: copies from pinned memory as early as the events that their stream waits for allow, everything else
// late: whoever copies without waiting for the readers of what was there destroys it under them.
enum class StreamOrder { at_once, copies_last, copies_first };
void set_stream_order(StreamOrder order);

// Bytes that cudaMallocHost gives in all; SIZE_MAX: no limit.
void limit_pinned_memory(size_t most);

// One grid. Returns false and describes the fault in last_fault() if the kernel did what a GPU forbids.
bool run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &kernel);
void report_fault(const std::string &text);
const std::string &last_fault();

int64_t count_launches();

}  // namespace duo::emulation

#define threadIdx (::duo::emulation::current->thread)
#define blockIdx (::duo::emulation::current->block)
#define blockDim (::duo::emulation::current->block_dim)
#define gridDim (::duo::emulation::current->grid_dim)

inline void __syncthreads() { duo::emulation::run_block_barrier("__syncthreads"); }
inline void __syncwarp(unsigned = 0xffffffffu) {
  duo::emulation::run_warp_collective("__syncwarp", nullptr, [](void **) {});
}

template <typename T>
inline T __shfl_sync(unsigned, T value, int source) {
  struct Operand {
    T in, out;
    int lane;
  } operand{value, value, source & 31};
  duo::emulation::run_warp_collective("__shfl_sync", &operand, [](void **operands) {
    for (int lane = 0; lane < 32; lane++) {
      auto *mine = static_cast<Operand *>(operands[lane]);
      mine->out = static_cast<Operand *>(operands[mine->lane])->in;
    }
  });
  return operand.out;
}
inline int emulated_lane() { return static_cast<int>(threadIdx.x & 31); }
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return __shfl_sync(mask, value, emulated_lane() ^ lanes);
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, int lanes) {
  return __shfl_sync(mask, value, emulated_lane() + lanes > 31 ? emulated_lane() : emulated_lane() + lanes);
}
template <typename T>
inline T __ldg(const T *pointer) {
  return *pointer;
}

// ---- Host side: the runtime calls that kernels/cuda makes. ----
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2,
                      cudaErrorLaunchFailure = 719, cudaErrorNoDevice = 100, cudaErrorInsufficientDriver = 35;
using cudaStream_t = struct EmulatedStream *;
using cudaEvent_t = struct EmulatedEvent *;
using cudaGraph_t = struct EmulatedGraph *;
using cudaGraphExec_t = struct EmulatedGraph *;
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
enum { cudaStreamNonBlocking = 1, cudaEventDefault = 0 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrL2CacheSize,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrMaxSharedMemoryPerBlockOptin
};
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor, multiProcessorCount, l2CacheSize;
  size_t sharedMemPerBlockOptin;
};

const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
constexpr int CUDART_VERSION = 13000;
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes);
cudaError_t cudaMalloc(void **pointer, size_t bytes);
cudaError_t cudaFree(void *pointer);
cudaError_t cudaMallocHost(void **pointer, size_t bytes);
cudaError_t cudaFreeHost(void *pointer);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

// What `kernel<<<grid, block, shared_bytes, stream>>>(…)` becomes: run now, or recorded while the stream is captured.
cudaError_t emulate_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                           std::function<void()> kernel);

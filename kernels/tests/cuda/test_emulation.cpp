// The emulation itself: fragment layouts against a plain product, and every fault that it promises to see.
#include "cuda/hopper.h"
#include "cuda_test.h"

using namespace duo;
using namespace duo::test;
using emulation::run_grid;

namespace {

void expect_fault(const std::string &part, dim3 grid, dim3 block, size_t shared, const std::function<void()> &kernel) {
  const bool ok = run_grid(grid, block, shared, kernel);
  expect(!ok && emulation::last_fault().find(part) != std::string::npos,
         "a fault that says `" + part + "`, got `" + (ok ? "none" : emulation::last_fault()) + "`");
}

void test_fragments() {
  Random values(1);
  const std::vector<float> a = round_bf16(values.values(256)), b = round_bf16(values.values(128));
  std::vector<float> out(128), expected(128), transposed(128);
  for (int r = 0; r < 16; r++) {
    for (int c = 0; c < 8; c++) {
      for (int k = 0; k < 16; k++) expected[r * 8 + c] += a[r * 16 + k] * b[k * 8 + c];
    }
  }
  const auto a16 = to_bf16(a), b16 = to_bf16(b);
  const auto multiply = [&](bool through_memory, std::vector<float> &to) {
    return [&, through_memory] {
      // b as [8, 16] rows for ldmatrix_x4, as [16, 8] rows for the transposed load.
      auto *left = reinterpret_cast<uint16_t *>(cuda::shared_memory()), *right = left + 256, *deep = right + 256;
      for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32)
        left[i] = a16[i], right[i] = i < 128 ? b16[i % 16 * 8 + i / 16] : 0,
        deep[i] = i < 256 ? b16[i / 16 * 8 + i % 8] : 0;
      __syncthreads();
      const int lane = static_cast<int>(threadIdx.x);
      uint32_t fa[4], fb[4];
      cuda::ldmatrix_x4(fa, left + ((lane / 8 % 2) * 8 + lane % 8) * 16 + lane / 16 * 8);
      if (through_memory) {
        cuda::ldmatrix_x4_trans(fb, deep + (lane % 16) * 16);
      } else {
        cuda::ldmatrix_x4(fb, right + (lane / 16 * 8 + lane % 8) * 16 + lane / 8 % 2 * 8);
      }
      float sum[4] = {};
      cuda::mma_m16n8k16(sum, fa, fb[0], fb[1]);
      for (int i = 0; i < 4; i++) to[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[i];
    };
  };
  expect(run_grid(dim3(1), dim3(32), 4096, multiply(false, out)), "a product runs");
  expect(run_grid(dim3(1), dim3(32), 4096, multiply(true, transposed)), "a product through a transposed load runs");
  expect_within(relative_error(out, expected), 1e-6, "mma.sync fragments");
  expect_within(relative_error(transposed, expected), 1e-6, "ldmatrix.trans fragments");
}

void test_faults() {
  expect_fault("same barrier", dim3(1), dim3(64), 0, [] {
    if (threadIdx.x < 32) __syncthreads();
  });
  expect_fault("one collective", dim3(1), dim3(32), 0, [] {
    if (threadIdx.x < 16) {
      __syncwarp();
    } else {
      __shfl_sync(0xffffffffu, 1, 0);
    }
  });
  expect_fault("shared memory", dim3(1), dim3(32), 64, [] { cuda::shared_memory()[64] = 0; });
  expect_fault("shared memory", dim3(1), dim3(32), 64, [] { cuda::shared_memory()[-1] = 0; });
  expect_fault("whole warps", dim3(1), dim3(33), 0, [] {});
  expect_fault("65535", dim3(1, 65536), dim3(32), 0, [] {});
  alignas(16) static unsigned char source[32] = {1, 2, 3};
  alignas(16) static unsigned char changing[16];
  expect_fault("stay as it is", dim3(1), dim3(32), 64, [] {
    if (threadIdx.x == 0) cuda::cp_async(cuda::shared_memory(), changing, true);
    cuda::cp_async_commit_group();
    if (threadIdx.x == 0) changing[3]++;
    cuda::cp_async_wait_group<0>();
  });
  expect_fault("aligned", dim3(1), dim3(32), 64, [] { cuda::cp_async(cuda::shared_memory() + 1, source, true); });
  // Data asked for but not waited for is not there.
  unsigned char early = 0, late = 0;
  expect(run_grid(dim3(1), dim3(32), 64,
                  [&] {
                    if (threadIdx.x == 0) cuda::cp_async(cuda::shared_memory(), source, true);
                    cuda::cp_async_commit_group();
                    __syncthreads();
                    if (threadIdx.x == 1) early = cuda::shared_memory()[0];
                    __syncthreads();
                    cuda::cp_async_wait_group<0>();
                    __syncthreads();
                    if (threadIdx.x == 1) late = cuda::shared_memory()[0];
                  }),
         "an asynchronous copy runs");
  expect(early != 1 && late == 1,
         "a copy is seen after its wait, not before, got " + std::to_string(early) + ", " + std::to_string(late));
}

// left [64, 64]·rightᵀ of two swizzled tiles, then weights [64, 64]·right, rows the depth; both against plain loops.
void test_warpgroup_products() {
  Random values(2);
  const std::vector<float> left = round_bf16(values.values(64 * 64)), right = round_bf16(values.values(64 * 64));
  std::vector<float> along(64 * 64), deep(64 * 64), expected_along(64 * 64), expected_deep(64 * 64), early(64 * 64);
  for (int r = 0; r < 64; r++) {
    for (int c = 0; c < 64; c++) {
      for (int k = 0; k < 64; k++)
        expected_along[r * 64 + c] += left[r * 64 + k] * right[c * 64 + k],
            expected_deep[r * 64 + c] += left[r * 64 + k] * right[k * 64 + c];
    }
  }
  const auto left16 = to_bf16(left), right16 = to_bf16(right);
  expect(run_grid(dim3(1), dim3(128), 1024 + 2 * 64 * 64 * 2,
                  [&] {
                    auto *a = reinterpret_cast<uint16_t *>(cuda::swizzled_memory()), *b = a + 64 * 64;
                    for (int i = static_cast<int>(threadIdx.x); i < 64 * 64; i += 128) {
                      a[cuda::swizzled_offset<64>(i / 64, i % 64 / 8) + i % 8] = left16[i];
                      b[cuda::swizzled_offset<64>(i / 64, i % 64 / 8) + i % 8] = right16[i];
                    }
                    cuda::fence_proxy_async();
                    __syncthreads();
                    const uint64_t tile_a = cuda::smem_descriptor<64>(a), tile_b = cuda::smem_descriptor<64>(b);
                    float sum[32] = {}, other[32] = {};
                    uint32_t words[4][4];
                    const int lane = static_cast<int>(threadIdx.x) % 32,
                              row = static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;
                    for (int k = 0; k < 4; k++) {
                      for (int i = 0; i < 4; i++) {
                        const int at = (row + i % 2 * 8) * 64 + k * 16 + lane % 4 * 2 + i / 2 * 8;
                        words[k][i] = left16[at] | static_cast<uint32_t>(left16[at + 1]) << 16;
                      }
                    }
                    cuda::wgmma_fence();
                    for (int k = 0; k < 4; k++)
                      cuda::wgmma_ss(sum, cuda::advance_k_major<64>(tile_a, k), cuda::advance_k_major<64>(tile_b, k),
                                     k > 0);
                    cuda::wgmma_commit_group();
                    for (int k = 0; k < 4; k++) cuda::wgmma_rs(other, words[k], cuda::advance_mn_major(tile_b, k));
                    cuda::wgmma_commit_group();
                    const float before = other[0];
                    cuda::wgmma_wait_group<1>();
                    early[threadIdx.x] = std::fabs(before) + std::fabs(other[0]);
                    cuda::wgmma_wait_group<0>();
                    for (int i = 0; i < 32; i++) {
                      const int at = (row + i % 4 / 2 * 8) * 64 + i / 4 * 8 + lane % 4 * 2 + i % 2;
                      along[at] = sum[i], deep[at] = other[i];
                    }
                  }),
         "warpgroup products run: " + emulation::last_fault());
  expect_within(relative_error(along, expected_along), 1e-6, "wgmma, both operands from tiles");
  expect_within(relative_error(deep, expected_deep), 1e-6, "wgmma, left from registers, right a deep tile");
  expect(std::all_of(early.begin(), early.end(), [](float x) { return x == 0; }),
         "a product is not there before it is waited for");
  expect_fault("one product", dim3(1), dim3(128), 1024, [] {
    float sum[32] = {};
    cuda::wgmma_ss(sum, threadIdx.x == 5 ? 64 : 0, 0, false);
  });
  expect_fault("whole warpgroups", dim3(1), dim3(64), 1024, [] { cuda::wgmma_commit_group(); });
  expect_fault("same barrier", dim3(1), dim3(128), 1024, [] {
    if (threadIdx.x < 96) cuda::wgmma_commit_group();
  });
}

void test_counting_barriers() {
  std::vector<int> order;
  expect(run_grid(dim3(1), dim3(64), 64,
                  [&] {
                    auto *barrier = reinterpret_cast<cuda::Mbarrier *>(cuda::shared_memory());
                    if (threadIdx.x == 0) cuda::mbarrier_init(barrier, 32);
                    __syncthreads();
                    for (uint32_t round = 0; round < 3; round++) {
                      if (threadIdx.x >= 32) {
                        if (threadIdx.x == 63) order.push_back(static_cast<int>(round));
                        cuda::mbarrier_arrive(barrier);
                      } else {
                        cuda::mbarrier_wait(barrier, round & 1);
                        if (threadIdx.x == 0) order.push_back(10 + static_cast<int>(round));
                      }
                      __syncthreads();
                    }
                  }),
         "a counting barrier runs: " + emulation::last_fault());
  expect(order == std::vector<int>{0, 10, 1, 11, 2, 12}, "a wait ends with its round");
  expect_fault("same barrier", dim3(1), dim3(32), 64, [] {
    auto *barrier = reinterpret_cast<cuda::Mbarrier *>(cuda::shared_memory());
    if (threadIdx.x == 0) cuda::mbarrier_init(barrier, 33);
    __syncthreads();
    cuda::mbarrier_arrive(barrier);
    cuda::mbarrier_wait(barrier, 0);
  });
}

using emulation::Schedule;
constexpr Schedule EVERY_SCHEDULE[] = {Schedule::forward, Schedule::reverse, Schedule::shuffled, Schedule::first_ahead,
                                       Schedule::last_ahead};
constexpr Schedule AHEAD_SCHEDULES[] = {Schedule::first_ahead, Schedule::last_ahead};

// Whether `kernel(out)`, three warps that each write an element a thread, gives the same bits, none of them NaN, under
// all of the schedules.
template <size_t N>
bool is_one_result(const Schedule (&schedules)[N], const std::function<void(float *)> &kernel) {
  std::vector<float> first;
  bool is_same = true;
  for (const Schedule schedule : schedules) {
    emulation::set_schedule(schedule);
    std::vector<float> out(96);
    is_same &= run_grid(dim3(1), dim3(96), 4096, [&] { kernel(out.data()); });
    is_same &= std::none_of(out.begin(), out.end(), [](float x) { return std::isnan(x); });
    if (first.empty()) first = out;
    is_same &= out == first;
  }
  emulation::set_schedule(Schedule::forward);
  return is_same;
}

// A kernel without its barrier gives other bits in another order of threads.
void test_orders() {
  const auto neighbours = [](bool has_barrier) {
    return [has_barrier](float *out) {
      auto *shared = reinterpret_cast<float *>(cuda::shared_memory());
      shared[threadIdx.x] = static_cast<float>(threadIdx.x);
      if (has_barrier) __syncthreads();
      out[threadIdx.x] = shared[95 - threadIdx.x];
    };
  };
  expect(is_one_result(EVERY_SCHEDULE, neighbours(true)), "an order of threads changes nothing that a barrier holds");
  expect(!is_one_result({Schedule::forward, Schedule::reverse}, neighbours(false)), "a missing barrier shows in turns");
  expect(!is_one_result(AHEAD_SCHEDULES, neighbours(false)), "a missing barrier shows where a warp is ahead");
}

// What threads that take turns do not show: a warp that comes several collectives ahead of another. Rounds of work, a
// word to shared memory, a barrier, another warp's word read, and a barrier before the next round's words.
void test_warp_ahead() {
  const auto rounds = [](bool has_first, bool has_second) {
    return [=](float *out) {
      auto *shared = reinterpret_cast<float *>(cuda::shared_memory());
      out[threadIdx.x] = 0;
      for (int round = 0; round < 3; round++) {
        float word = static_cast<float>(threadIdx.x + 100 * round);
        for (int lanes = 1; lanes < 32; lanes *= 2) word += __shfl_xor_sync(cuda::ALL_LANES, word, lanes);
        shared[threadIdx.x] = word;
        if (has_first) __syncthreads();
        for (int i = 0; i < 4; i++) __syncwarp();
        for (unsigned other = 32; other < 96; other += 32) out[threadIdx.x] += shared[(threadIdx.x + other) % 96];
        if (has_second) __syncthreads();
      }
    };
  };
  expect(is_one_result(EVERY_SCHEDULE, rounds(true, true)), "rounds with both barriers are the same in every order");
  expect(!is_one_result(AHEAD_SCHEDULES, rounds(false, true)), "words read before they are there show");
  expect(!is_one_result(AHEAD_SCHEDULES, rounds(true, false)), "words overwritten before they are read show");
  expect(is_one_result({Schedule::forward, Schedule::reverse, Schedule::shuffled}, rounds(true, false)),
         "which needs a warp ahead: turns do not show it");
}

// Copies two stages deep: the next step's are asked for, this step's waited for, a barrier, other warps' read, a barrier.
void test_copies_ahead() {
  static float source[3][96 * 4];
  for (int step = 0; step < 3; step++) {
    for (int i = 0; i < 96 * 4; i++) source[step][i] = static_cast<float>(step * 1000 + i);
  }
  const auto steps = [](bool waits, bool has_first, bool has_second) {
    return [=](float *out) {
      auto *shared = reinterpret_cast<float *>(cuda::shared_memory());
      const unsigned thread = threadIdx.x;
      const auto ask = [&](int step) {
        if (step < 3) cuda::cp_async(shared + step % 2 * 96 * 4 + thread * 4, source[step] + thread * 4, true);
        cuda::cp_async_commit_group();
      };
      out[thread] = 0;
      ask(0);
      for (int step = 0; step < 3; step++) {
        ask(step + 1);
        if (waits) cuda::cp_async_wait_group<1>();
        if (has_first) __syncthreads();
        for (unsigned other = 32; other <= 96; other += 32)
          out[thread] += shared[step % 2 * 96 * 4 + (thread + other) % 96 * 4];
        if (has_second) __syncthreads();
      }
      cuda::cp_async_wait_group<0>();
    };
  };
  expect(is_one_result(EVERY_SCHEDULE, steps(true, true, true)), "copies in two stages are the same in every order");
  expect(!is_one_result(AHEAD_SCHEDULES, steps(false, true, true)), "copies not waited for show");
  expect(!is_one_result(AHEAD_SCHEDULES, steps(true, false, true)), "copies that other threads wait for show");
  expect(!is_one_result(AHEAD_SCHEDULES, steps(true, true, false)), "a stage filled while it is read shows");
}

// What is stuck is a fault in every order, and a warp that waits is passed by one that it waits for.
void test_stuck() {
  for (const Schedule schedule : EVERY_SCHEDULE) {
    emulation::set_schedule(schedule);
    expect_fault("same barrier", dim3(1), dim3(64), 0, [] {
      if (threadIdx.x < 32) __syncthreads();
    });
    test_counting_barriers();
  }
  emulation::set_schedule(Schedule::forward);
}

// Copies from pinned memory under each order of streams, with and without the waits that they need.
void test_stream_orders() {
  void *pinned = nullptr, *slot = nullptr, *seen = nullptr;
  cudaMallocHost(&pinned, 8), cudaMalloc(&slot, 8), cudaMalloc(&seen, 8);
  cudaStream_t copies, kernels;
  cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking), cudaStreamCreateWithFlags(&kernels, cudaStreamNonBlocking);
  cudaEvent_t copied, used;
  cudaEventCreate(&copied), cudaEventCreate(&used);
  auto *source = static_cast<int64_t *>(pinned), *in = static_cast<int64_t *>(slot),
       *out = static_cast<int64_t *>(seen);
  // Two values by turns through one slot; what the kernels saw of them.
  const auto run = [&](bool waits_for_copy, bool waits_for_reader) {
    std::vector<int64_t> found;
    *in = 0;
    for (const int64_t value : {5, 7}) {
      cudaEventSynchronize(copied);
      *source = value;
      if (waits_for_reader) cudaStreamWaitEvent(copies, used, 0);
      cudaMemcpyAsync(in, source, 8, cudaMemcpyHostToDevice, copies);
      cudaEventRecord(copied, copies);
      if (waits_for_copy) cudaStreamWaitEvent(kernels, copied, 0);
      const bool is_last = value == 7;
      emulate_launch(dim3(1), dim3(32), 0, kernels, [in, out, is_last] {
        if (threadIdx.x == 0) *out = is_last ? *out * 10 + *in : *in;
      });
      cudaEventRecord(used, kernels);
      if (!is_last) cudaStreamSynchronize(copies);
    }
    cudaDeviceSynchronize();
    return *out;
  };
  using emulation::StreamOrder;
  for (const StreamOrder order : {StreamOrder::at_once, StreamOrder::copies_last, StreamOrder::copies_first}) {
    emulation::set_stream_order(order);
    expect(run(true, true) == 57, "work that waits sees what was copied for it");
  }
  emulation::set_stream_order(StreamOrder::copies_last);
  expect(run(false, true) != 57, "a kernel that does not wait for a copy is early");
  emulation::set_stream_order(StreamOrder::copies_first);
  expect(run(true, false) != 57, "a copy that does not wait for readers is early");
  emulation::set_stream_order(StreamOrder::at_once);
  cudaEventDestroy(copied), cudaEventDestroy(used);
  cudaStreamDestroy(copies), cudaStreamDestroy(kernels);
  cudaFree(slot), cudaFree(seen), cudaFreeHost(pinned);
}

void test_memory() {
  void *memory = nullptr;
  expect(cudaMalloc(&memory, 100) == cudaSuccess, "an allocation");
  expect(std::isnan(static_cast<float *>(memory)[3]), "new memory reads as NaN");
  int32_t values[4] = {1, 2, 3, 4}, back[4] = {};
  expect(cudaMemcpyAsync(memory, values, 16, cudaMemcpyHostToDevice, nullptr) == cudaSuccess, "a copy");
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  auto *numbers = static_cast<int32_t *>(memory);
  emulate_launch(dim3(1), dim3(32), 0, stream, [numbers] {
    if (threadIdx.x == 0) numbers[0]++;
  });
  cudaGraph_t graph;
  cudaStreamEndCapture(stream, &graph);
  expect(numbers[0] == 1, "a captured launch does not run");
  cudaGraphExec_t executable;
  cudaGraphInstantiate(&executable, graph, 0);
  for (int i = 0; i < 3; i++) cudaGraphLaunch(executable, stream);
  cudaMemcpyAsync(back, memory, 16, cudaMemcpyDeviceToHost, stream);
  expect(back[0] == 4 && back[3] == 4, "a graph runs at each launch");
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  // Last, since a device fault stays: a kernel that writes past its allocation.
  expect(
      emulate_launch(dim3(1), dim3(32), 0, nullptr, [memory] { static_cast<char *>(memory)[100] = 1; }) != cudaSuccess,
      "a write past an allocation is seen");
  expect(cudaMemsetAsync(memory, 0, 4, nullptr) != cudaSuccess, "a fault stays");
}

}  // namespace

int main() {
  test_fragments();
  test_faults();
  test_warpgroup_products();
  test_orders();
  test_warp_ahead();
  test_copies_ahead();
  test_stuck();
  test_stream_orders();
  test_memory();
  return finish("test_emulation");
}

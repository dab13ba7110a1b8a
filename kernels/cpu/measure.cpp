// What the machine can do: bandwidth and matrix rate.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/backend.h"
#include "cpu/cpu_features.h"
#include "cpu/linear.h"
#include "cpu/scratch.h"

namespace duo {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Deterministic values of about unit scale.
void fill_values(float *values, int64_t count, uint32_t seed) {
  uint32_t state = seed * 2654435761u + 1;
  for (int64_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    values[i] = static_cast<float>(state >> 8) * (2.0f / 16777216.0f) - 1.0f;
  }
}

double best_of(int repeats, Task &task, const std::function<void()> &body) {
  double best = 1e30;
  for (int i = 0; i < repeats; i++) {
    task.check_abort();
    const double start = now();
    body();
    best = std::min(best, now() - start);
  }
  return best;
}

// One random product y = x·wᵀ.
struct ProductCase {
  int64_t rows, columns, depth;
  ScratchBuffer x, weight, y;
  std::vector<uint16_t> halves;
  Linear linear;

  ProductCase(int64_t rows_, int64_t columns_, int64_t depth_, bool bf16)
      : rows(rows_), columns(columns_), depth(depth_), x(rows * depth), weight(columns * depth), y(rows * columns) {
    fill_values(x.data(), rows * depth, 1);
    fill_values(weight.data(), columns * depth, 2);
    if (bf16) {
      for (int64_t i = 0; i < columns * depth; i++) halves.push_back(float_to_bf16(weight.data()[i]));
    }
    linear.weight = {
        bf16 ? reinterpret_cast<const uint8_t *>(halves.data()) : reinterpret_cast<const uint8_t *>(weight.data()),
        bf16 ? Dtype::bf16 : Dtype::f32, columns, depth};
  }
  void multiply(const CpuContext &context) {
    multiply_linear(context, linear, x.data(), depth, rows, y.data(), columns, false);
  }
};

double measure_bandwidth(ThreadPool &pool, bool copy, Task &task) {
  constexpr int64_t COUNT = int64_t{1} << 26;  // 256 MB, above any last-level cache share worth speaking of
  const int64_t num_blocks = pool.num_threads() * 16, block = COUNT / num_blocks;
  ScratchBuffer from(COUNT), to(copy ? COUNT : 0);
  std::vector<double> sums(static_cast<size_t>(num_blocks));
  pool.run(num_blocks, [&](int64_t item, int64_t) {
    std::fill(from.data() + item * block, from.data() + (item + 1) * block, 1.0f);
  });
  const auto pass = [&] {
    pool.run(num_blocks, [&](int64_t item, int64_t) {
      const float *at = from.data() + item * block;
      if (copy) {
        std::copy(at, at + block, to.data() + item * block);
        return;
      }
      uint64_t lanes[32] = {};
      const uint64_t *words = reinterpret_cast<const uint64_t *>(at);
      for (int64_t i = 0; i + 32 <= block / 2; i += 32) {
        for (int64_t lane = 0; lane < 32; lane++) lanes[lane] += words[i + lane];
      }
      for (const uint64_t lane : lanes) sums[static_cast<size_t>(item)] += static_cast<double>(lane);
    });
  };
  const double bytes = static_cast<double>(block * num_blocks) * 4 * (copy ? 2 : 1);
  return bytes / best_of(8, task, pass);
}

}  // namespace

double measure_cpu(const OpenOptions &options, int32_t measure, Task &task) {
  ThreadPool pool(options.num_threads == 0 ? count_usable_cpus() : options.num_threads);
  if (measure == DUO_MEASURE_READ_BANDWIDTH || measure == DUO_MEASURE_COPY_BANDWIDTH) {
    return measure_bandwidth(pool, measure == DUO_MEASURE_COPY_BANDWIDTH, task);
  }
  const CpuContext context{pool, choose_simd_ops(options.variant),
                           measure == DUO_MEASURE_MATMUL_BF16 ? DUO_COMPUTE_BF16 : DUO_COMPUTE_ACCURATE};
  ProductCase product(2048, 2048, 512, measure == DUO_MEASURE_MATMUL_BF16);
  return 2.0 * 2048 * 2048 * 512 / best_of(10, task, [&] { product.multiply(context); });
}

}  // namespace duo

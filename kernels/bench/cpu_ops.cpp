// The CPU's products, held to its plain loops.
#include <chrono>

#include "check.h"
#include "cpu/cpu_features.h"
#include "cpu/linear.h"
#include "cpu/scratch.h"
#include "ops.h"

namespace duo::bench {

void run_cpu_op(const OpenOptions &options, const std::string &op, const std::vector<int64_t> &sizes,
                int32_t num_repeats, double *seconds, double *relative_error) {
  const int64_t rows = sizes[0], columns = sizes[1], depth = sizes[2];
  for (const int64_t size : sizes) {
    if (size < 1 || size > (1 << 20))
      fail(DUO_STATUS_ARGUMENT, "Expected every size of op `%s` to be 1 to 1048576, got `%lld`", op.c_str(),
           static_cast<long long>(size));
  }
  ThreadPool pool(options.num_threads == 0 ? count_usable_cpus() : options.num_threads);
  const CpuContext context{pool, choose_simd_ops(options.variant), options.compute};
  Random random(1);
  const std::vector<float> x = random.values(rows * depth), weight = random.values(columns * depth);
  std::vector<uint16_t> halves;
  for (const float value : weight) halves.push_back(float_to_bf16(value));
  const bool is_bf16 = op == "matmul_bf16";
  Linear linear;
  linear.weight = {
      is_bf16 ? reinterpret_cast<const uint8_t *>(halves.data()) : reinterpret_cast<const uint8_t *>(weight.data()),
      is_bf16 ? Dtype::bf16 : Dtype::f32, columns, depth};
  std::vector<float> y(static_cast<size_t>(rows * columns)), expected(static_cast<size_t>(columns));
  const auto multiply = [&] { multiply_linear(context, linear, x.data(), depth, rows, y.data(), columns, false); };
  multiply();
  // Some rows, so that a large case is checked in a bounded time.
  *relative_error = 0;
  for (int64_t row = 0; row<rows; row += rows> 64 ? rows / 8 + 1 : 1) {
    multiply_linear_ref(linear, x.data() + row * depth, depth, 1, expected.data(), columns, false);
    *relative_error = worse(*relative_error, measure_agreement(y.data() + row * columns, expected.data(), columns));
  }
  for (int32_t i = 0; i < num_repeats; i++) {
    const auto begin = std::chrono::steady_clock::now();
    multiply();
    seconds[i] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
}

}  // namespace duo::bench

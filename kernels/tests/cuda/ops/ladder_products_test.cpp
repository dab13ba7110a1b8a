// Products of a gradient with what windows take from heads' outputs, and the sums of runs that they end in.
#include "cuda/ladder_products.h"
#include "cuda/branch_gradient.h"
#include "op_test.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

OP_TEST(attention, launch_sum_runs) {
  struct Case {
    int64_t runs, count;
  };
  std::vector<Case> cases{{1, 1}, {3, GATE_SLICES - 1}, {2, GATE_SLICES * 3 + 5}};
  // More of a run than its slices have threads.
  if (!is_brief) cases.push_back({2, GATE_SLICES * 256 + 40});
  for (const Case &c : cases) {
    Random random(static_cast<uint64_t>(c.count));
    const std::vector<float> values = random.values(c.runs * c.count);
    const auto from = upload(values);
    DeviceBuffer<double> partial(c.runs * GATE_SLICES);
    const std::string name = "sums of " + std::to_string(c.runs) + " runs of " + std::to_string(c.count);
    const auto got = run_launch<float>(name, c.runs, [&](float *sums, cudaStream_t stream) {
      return launch_sum_runs(from.data(), c.runs, c.count, partial.data(), sums, stream);
    });
    double worst = got.size() == static_cast<size_t>(c.runs) ? 0 : NAN;
    for (int64_t run = 0; run < c.runs; run++) {
      double sum = 0, size = 0;
      for (int64_t i = run * c.count; i < (run + 1) * c.count; i++)
        sum += values[static_cast<size_t>(i)], size += std::fabs(values[static_cast<size_t>(i)]);
      worst = worse(worst, std::fabs(got[static_cast<size_t>(run)] - sum) / size);
    }
    expect_within(worst, tolerance::bf16_delta, name);
  }
}

OP_TEST(attention, launch_ladder_products) {
  struct Case {
    int64_t heads, kv_heads, dim, rows, windows;
  };
  for (const Case &c : {Case{3, 3, 32, 1, 1}, Case{6, 3, 64, 70, 2}, Case{4, 1, 128, 33, 5}, Case{4, 4, 64, 65, 3},
                        Case{2, 2, 80, 9, 2}, Case{2, 1, 256, 5, 3}}) {
    const std::string name = "ladder products H" + std::to_string(c.heads) + " G" + std::to_string(c.kv_heads) + " D" +
                             std::to_string(c.dim) + " rows " + std::to_string(c.rows);
    Random random(static_cast<uint64_t>(c.rows));
    const int64_t count = c.rows * c.heads;
    const auto d_mixed = round_bf16(random.values(count * c.dim)), mixed = round_bf16(random.values(count * c.dim));
    const auto differences = random.values(c.windows * count * c.dim, 1e-3);
    const auto d = upload(to_bf16(d_mixed)), m = upload(to_bf16(mixed));
    const auto e = upload(differences);
    struct Result {
      std::vector<float> full_delta, deltas, products;
      bool operator==(const Result &o) const {
        return full_delta == o.full_delta && deltas == o.deltas && products == o.products;
      }
    };
    const auto result = run_in_every_order<Result>(name, [&] {
      DeviceBuffer<float> full_delta(count), deltas(c.windows * count), products(c.windows * c.kv_heads);
      DeviceBuffer<double> partial(c.windows * c.kv_heads * GATE_SLICES);
      LadderProducts a{};
      a.heads = static_cast<int32_t>(c.heads), a.kv_heads = static_cast<int32_t>(c.kv_heads),
      a.head_dim = static_cast<int32_t>(c.dim);
      a.num_rows = c.rows, a.num_windows = c.windows;
      a.d_mixed = d.data(), a.mixed = m.data(), a.differences = e.data();
      a.full_delta = full_delta.data(), a.deltas = deltas.data(), a.partial = partial.data(),
      a.products = products.data();
      check(launch_ladder_products(a, test_stream().get()), "products");
      return Result{download(full_delta), download(deltas), download(products)};
    });
    double worst_full = 0, worst_delta = 0, worst_product = 0;
    for (int64_t window = -1; window < c.windows; window++) {
      std::vector<double> products(static_cast<size_t>(c.kv_heads)), sizes(products);
      for (int64_t item = 0; item < count; item++) {
        const int64_t row = item / c.heads, head = item % c.heads, kv_head = head / (c.heads / c.kv_heads);
        double sum = 0, size = 0;
        for (int64_t i = item * c.dim; i < (item + 1) * c.dim; i++) {
          const double other =
              window < 0 ? mixed[static_cast<size_t>(i)] : differences[static_cast<size_t>(window * count * c.dim + i)];
          sum += d_mixed[static_cast<size_t>(i)] * other, size += std::fabs(d_mixed[static_cast<size_t>(i)] * other);
        }
        const auto at = static_cast<size_t>(head * c.rows + row);
        if (window < 0)
          worst_full = worse(worst_full, std::fabs(result.full_delta[at] - sum) / size);
        else
          worst_delta =
              worse(worst_delta, std::fabs(result.deltas[static_cast<size_t>(window * count) + at] - sum) / size);
        products[static_cast<size_t>(kv_head)] += sum, sizes[static_cast<size_t>(kv_head)] += size;
      }
      for (int64_t head = 0; head < c.kv_heads && window >= 0; head++) {
        const auto at = static_cast<size_t>(head);
        worst_product = worse(
            worst_product,
            std::fabs(result.products[static_cast<size_t>(window * c.kv_heads + head)] - products[at]) / sizes[at]);
      }
    }
    expect_within(worst_full, tolerance::bf16_delta, name + ": full");
    expect_within(worst_delta, tolerance::bf16_delta, name + ": windows");
    expect_within(worst_product, tolerance::bf16_delta, name + ": sums");
  }
}

}  // namespace

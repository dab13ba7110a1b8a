// Linear layers and layer operations of every instruction set against their plain twins or definitions, on random
// awkward shapes.
#include <algorithm>

#include "check.h"
#include "cpu/layer_ops.h"
#include "simd_variants.h"

using namespace duo;

namespace {

// fp32 sums over the depth of a product: a few units of rounding.
constexpr double TOLERANCE = 2e-6;

std::vector<uint8_t> store_as(const std::vector<float> &values, Dtype dtype) {
  // One byte off any alignment: weight files promise none.
  std::vector<uint8_t> bytes(values.size() * static_cast<size_t>(dtype_bytes(dtype)) + 1);
  for (size_t i = 0; i < values.size(); i++) {
    const uint16_t half = dtype == Dtype::bf16
                              ? float_to_bf16(values[i])
                              : static_cast<uint16_t>((float_to_bits(values[i]) >> 16 & 0x8000) | 0x3800 | (i % 1024));
    if (dtype == Dtype::f32) {
      std::memcpy(&bytes[1 + 4 * i], &values[i], 4);
    } else {
      std::memcpy(&bytes[1 + 2 * i], &half, 2);
    }
  }
  return bytes;
}

void test_linear(const CpuContext &context, Random &random, int64_t rows, int64_t out, int64_t in, Dtype dtype) {
  const std::string name = std::string(context.ops.name) + " linear " + std::to_string(rows) + "x" +
                           std::to_string(out) + "x" + std::to_string(in) + " dtype " +
                           std::to_string(static_cast<int>(dtype));
  const auto bytes = store_as(random.values(out * in), dtype);
  const auto x = random.values(rows * in), dy = random.values(rows * out),
             start = random.values(rows * std::max(in, out));
  Linear linear{{bytes.data() + 1, dtype, out, in}, random.integer(0, 1) ? random.values(out) : std::vector<float>{}};
  for (const bool accumulate : {false, true}) {
    Guarded y(rows * out), dx(rows * in);
    std::vector<float> y_ref(start.begin(), start.begin() + rows * out),
        dx_ref(start.begin(), start.begin() + rows * in);
    std::copy(y_ref.begin(), y_ref.end(), y.data());
    std::copy(dx_ref.begin(), dx_ref.end(), dx.data());
    multiply_linear(context, linear, x.data(), in, rows, y.data(), out, accumulate);
    multiply_linear_ref(linear, x.data(), in, rows, y_ref.data(), out, accumulate);
    expect(measure_agreement(y.data(), y_ref.data(), rows * out) <= TOLERANCE && y.is_intact(), name);
    multiply_linear_transposed(context, linear, dy.data(), out, rows, dx.data(), in, accumulate);
    multiply_linear_transposed_ref(linear, dy.data(), out, rows, dx_ref.data(), in, accumulate);
    expect(measure_agreement(dx.data(), dx_ref.data(), rows * in) <= TOLERANCE && dx.is_intact(), name + " transposed");
  }
}

// Rounded activations: the same result as fp32 products of rounded values.
void test_bf16(const CpuContext &context, Random &random, int64_t rows, int64_t out, int64_t in) {
  const std::string name = std::string(context.ops.name) + " bf16 products " + std::to_string(rows) + "x" +
                           std::to_string(out) + "x" + std::to_string(in);
  const auto bytes = store_as(random.values(out * in), Dtype::bf16);
  const auto x = random.values(rows * in), dy = random.values(rows * out);
  const auto round = [](std::vector<float> values) {
    for (float &at : values) at = bf16_to_float(float_to_bf16(at));
    return values;
  };
  const auto x_rounded = round(x), dy_rounded = round(dy);
  const Linear linear{{bytes.data() + 1, Dtype::bf16, out, in}, {}};
  Guarded y(rows * out), dx(rows * in);
  std::vector<float> y_ref(static_cast<size_t>(rows * out)), dx_ref(static_cast<size_t>(rows * in));
  multiply_linear(context, linear, x.data(), in, rows, y.data(), out, false);
  multiply_linear_ref(linear, x_rounded.data(), in, rows, y_ref.data(), out, false);
  expect(measure_agreement(y.data(), y_ref.data(), rows * out) <= TOLERANCE && y.is_intact(), name);
  multiply_linear_transposed(context, linear, dy.data(), out, rows, dx.data(), in, false);
  multiply_linear_transposed_ref(linear, dy_rounded.data(), out, rows, dx_ref.data(), in, false);
  expect(measure_agreement(dx.data(), dx_ref.data(), rows * in) <= TOLERANCE && dx.is_intact(), name + " transposed");
}

void test_norm(const CpuContext &context, Random &random, int64_t rows, int64_t width) {
  const auto x = random.values(rows * width), weight = random.values(width), dy = random.values(rows * width);
  std::vector<float> out(x.size()), dx(x.size());
  rms_norm(context, x.data(), weight.data(), rows, width, 1e-5f, out.data());
  rms_norm_backward(context, x.data(), weight.data(), dy.data(), rows, width, 1e-5f, dx.data(), false);
  const auto norm = [&](const std::vector<double> &row, int64_t i) {
    double sum = 0;
    for (const double value : row) sum += value * value;
    return row[static_cast<size_t>(i)] / std::sqrt(sum / static_cast<double>(width) + 1e-5f) *
           static_cast<double>(weight[static_cast<size_t>(i)]);
  };
  std::vector<double> expected, d_expected;
  for (int64_t r = 0; r < rows; r++) {
    std::vector<double> row(x.begin() + r * width, x.begin() + (r + 1) * width);
    for (int64_t i = 0; i < width; i++) expected.push_back(norm(row, i));
    for (int64_t i = 0; i < width; i++) {  // central differences in fp64
      double slope = 0;
      const double kept = row[static_cast<size_t>(i)], step = 1e-4;
      for (const double sign : {1.0, -1.0}) {
        row[static_cast<size_t>(i)] = kept + sign * step;
        for (int64_t j = 0; j < width; j++)
          slope += sign * norm(row, j) * static_cast<double>(dy[static_cast<size_t>(r * width + j)]) / (2 * step);
      }
      row[static_cast<size_t>(i)] = kept;
      d_expected.push_back(slope);
    }
  }
  expect(measure_agreement(out.data(), expected.data(), rows * width) <= TOLERANCE, "rms_norm");
  expect(measure_agreement(dx.data(), d_expected.data(), rows * width) <= 1e-4,
         "rms_norm_backward against finite differences");
}

void test_swiglu(const CpuContext &context, Random &random, int64_t count) {
  auto gate = random.values(count), up = random.values(count), d = random.values(count);
  for (float &at : gate) at *= 30.0f;
  if (count > 2) gate[0] = 200.0f, gate[1] = -200.0f;
  auto out = gate, d_gate = gate, d_up = up;
  swiglu(context, out.data(), up.data(), 1, count);
  swiglu_backward(context, d_gate.data(), d_up.data(), d.data(), 1, count);
  std::vector<double> expected, expected_gate, expected_up;
  for (int64_t i = 0; i < count; i++) {
    const auto at = static_cast<size_t>(i);
    const double g = static_cast<double>(gate[at]), s = 1 / (1 + std::exp(-g)), u = static_cast<double>(up[at]),
                 slope = static_cast<double>(d[at]);
    expected.push_back(g * s * u);
    expected_up.push_back(slope * g * s);
    expected_gate.push_back(slope * u * (s + g * s * (1 - s)));
  }
  const std::string name = std::string(context.ops.name) + " swiglu " + std::to_string(count);
  expect(measure_agreement(out.data(), expected.data(), count) <= TOLERANCE, name);
  expect(measure_agreement(d_gate.data(), expected_gate.data(), count) <= TOLERANCE, name + " gate gradient");
  expect(measure_agreement(d_up.data(), expected_up.data(), count) <= TOLERANCE, name + " up gradient");
}

void test_exp(const SimdOps &ops) {
  for (const int64_t count : {1, 5, 16, 1000}) {
    std::vector<float> x;
    std::vector<double> expected;
    double worst = 0, sum = 0;
    for (int64_t i = 0; i < count; i++) x.push_back(-90.0f * static_cast<float>(i) / 1000.0f);
    for (const float value : x)
      expected.push_back(value < -87.0f ? 0.0 : std::exp(static_cast<double>(value))), sum += expected.back();
    const float total = ops.exp_sum(x.data(), count, 0.0f);
    for (int64_t i = 0; i < count; i++) {
      const double want = expected[static_cast<size_t>(i)];
      if (want > 0) worst = worse(worst, std::fabs(static_cast<double>(x[static_cast<size_t>(i)]) - want) / want);
    }
    expect(worst < 3e-7, std::string(ops.name) + " exp relative error " + std::to_string(worst));
    expect(std::fabs(static_cast<double>(total) - sum) < 1e-6 * sum, std::string(ops.name) + " exp sum");
  }
}

}  // namespace

int main() {
  ThreadPool one(1), three(3);
  for (const SimdOps *ops : list_simd_ops()) {
    const CpuContext context{three, *ops, DUO_COMPUTE_ACCURATE};
    Random random(7);
    const int64_t tile = ops->tile_columns;
    const int64_t shapes[][3] = {{1, 1, 1},           {1, 33, 17},        {8, 5, 40},     {9, 5, 40},
                                 {13, tile + 1, 257}, {25, 3 * tile, 64}, {64, 300, 511}, {1013, 40, 30}};
    for (const auto &shape : shapes) {
      for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::f16})
        test_linear(context, random, shape[0], shape[1], shape[2], dtype);
    }
    for (int i = 0; i < 12; i++) {
      test_linear(context, random, random.integer(1, 70), random.integer(1, 90), random.integer(1, 300),
                  i % 2 ? Dtype::bf16 : Dtype::f32);
    }
    for (const auto &shape : shapes) test_bf16({three, *ops, DUO_COMPUTE_BF16}, random, shape[0], shape[1], shape[2]);
    for (int i = 0; i < 12; i++)
      test_bf16({three, *ops, DUO_COMPUTE_BF16}, random, random.integer(1, 70), random.integer(1, 90),
                random.integer(1, 1000));
    for (const int64_t width : {3, 7, 64}) test_norm(context, random, 3, width);
    for (const int64_t count : {1, 15, 16, 100}) test_swiglu(context, random, count);
    test_exp(*ops);
    // The same bits for any number of threads.
    const auto x = random.values(200 * 300), weights = random.values(150 * 300);
    std::vector<float> a(200 * 150), b(200 * 150);
    Linear linear{{reinterpret_cast<const uint8_t *>(weights.data()), Dtype::f32, 150, 300}, {}};
    multiply_linear({one, *ops, DUO_COMPUTE_ACCURATE}, linear, x.data(), 300, 200, a.data(), 150, false);
    multiply_linear(context, linear, x.data(), 300, 200, b.data(), 150, false);
    expect(std::memcmp(a.data(), b.data(), a.size() * 4) == 0,
           std::string(ops->name) + " product differs between 1 and 3 threads");
  }
  return finish("test_ops");
}

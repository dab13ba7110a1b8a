// Products with quantised weights in panels, of every instruction set: against fp64 sums over the values that
// gguf_blocks.h gives (which test_quantized holds to ggml's), and int8 sums against the same sums in plain integers.
#include <algorithm>

#include "check.h"
#include "cpu/block_panels.h"
#include "cpu/linear.h"
#include "cpu/page_block.h"
#include "quantized_values.h"
#include "simd_variants.h"

using namespace duo;

namespace {

// fp32 sums of up to 1024 terms that are scaled by group: a few units of rounding, more where minima cancel most of a
// sum.
constexpr double TOLERANCE = 3e-6;

struct Packed {
  std::vector<uint8_t> bytes;
  PageBlock block;
  BlockPanels panels;
  std::vector<float> values;  // [out, in], the plain dequantisation

  Packed(ThreadPool &pool, Random &random, Dtype dtype, int64_t out, int64_t in)
      : bytes(draw_blocks(random, dtype, out * in)),
        block(count_panel_bytes({bytes.data(), dtype, out, in})),
        panels(pack_panels(pool, {bytes.data(), dtype, out, in}, block.data())),
        values(static_cast<size_t>(out * in)) {
    dequantize(dtype, bytes.data(), out * in, values.data());
  }
};

struct Activations {
  std::vector<float> values;
  std::vector<int8_t> codes;
  std::vector<float> scales, sums, fp32_sums;
  int64_t depth;

  Activations(const BlockOps &ops, Random &random, int64_t rows, int64_t width)
      : values(random.values(rows * width)), depth(width) {
    codes.resize(values.size());
    scales.resize(values.size() / DEPTH_CHUNK);
    sums.resize(values.size() / 16);
    fp32_sums.resize(sums.size());
    // Blocks of very different size, and one of zeros.
    for (size_t i = 0; i < values.size(); i++)
      values[i] *= i / DEPTH_CHUNK % 5 == 4 ? 0.0f : static_cast<float>(1 + i / DEPTH_CHUNK % 7);
    for (int64_t row = 0; row < rows; row++) {
      ops.quantize(values.data() + row * depth, depth, codes.data() + row * depth,
                   scales.data() + row * depth / DEPTH_CHUNK, sums.data() + row * depth / 16);
    }
    ops.sum_sixteens(values.data(), rows * depth, fp32_sums.data());
  }
  Int8Rows int8() const { return {codes.data(), scales.data(), sums.data(), depth}; }
  F32Rows f32() const { return {values.data(), depth, fp32_sums.data(), depth}; }
  double rounded(size_t i) const {
    return static_cast<double>(codes[i]) * static_cast<double>(scales[i / DEPTH_CHUNK]);
  }
};

void test_quantize(const BlockOps &ops, Random &random) {
  const Activations x(ops, random, 3, 160);
  const std::string name = std::string(ops.name) + " quantize";
  for (size_t block = 0; block < x.scales.size(); block++) {
    float largest = 0;
    double sums[2] = {};
    for (size_t i = block * DEPTH_CHUNK; i < (block + 1) * DEPTH_CHUNK; i++) {
      largest = std::max(largest, std::fabs(x.values[i]));
      sums[i % DEPTH_CHUNK / 16] += x.codes[i];
      // Half a step, and a rounding of the quotient.
      expect(
          std::fabs(x.rounded(i) - static_cast<double>(x.values[i])) <= 0.5001 * static_cast<double>(x.scales[block]),
          name + " rounds to nearest");
    }
    expect(std::fabs(x.scales[block] - largest / 127.0f) <= 1e-7f * largest, name + " scale");
    expect(sums[0] == static_cast<double>(x.sums[2 * block]) && sums[1] == static_cast<double>(x.sums[2 * block + 1]),
           name + " sums");
  }
  for (const float bad : {std::nanf(""), -INFINITY, INFINITY}) {
    for (const int at : {0, 5, 31}) {
      std::vector<float> values = random.values(64), scales(2), sums(4);
      std::vector<int8_t> codes(64);
      values[static_cast<size_t>(32 + at)] = bad;
      ops.quantize(values.data(), 64, codes.data(), scales.data(), sums.data());
      expect(std::isfinite(scales[0]) && std::isnan(scales[1]), name + " keeps what is not a number");
    }
  }
  std::vector<float> tiny(32, 1e-45f), scales(1), sums(2);
  std::vector<int8_t> codes(32);
  ops.quantize(tiny.data(), 32, codes.data(), scales.data(), sums.data());
  expect(scales[0] == 0.0f && codes[0] == 0, name + " takes subnormal blocks for 0");
}

template <typename Multiply>
void test_product(const std::string &name, const Packed &weights, int64_t rows, const std::vector<double> &x,
                  Random &random, const Multiply &multiply) {
  const int64_t in = weights.panels.columns, out = weights.panels.rows, stride = out + 3;
  for (const bool accumulate : {false, true}) {
    Guarded y(rows * stride);
    const auto start = random.values(rows * stride);
    std::copy(start.begin(), start.end(), y.data());
    std::vector<double> expected(start.begin(), start.end());
    for (int64_t r = 0; r < rows; r++) {
      for (int64_t c = 0; c < out; c++) {
        double sum = accumulate ? expected[static_cast<size_t>(r * stride + c)] : 0;
        for (int64_t k = 0; k < in; k++)
          sum +=
              x[static_cast<size_t>(r * in + k)] * static_cast<double>(weights.values[static_cast<size_t>(c * in + k)]);
        expected[static_cast<size_t>(r * stride + c)] = sum;
      }
    }
    for (int64_t panel = 0; panel < weights.panels.count(); panel++) {
      multiply(weights.panels.panel(panel), y.data() + panel * PANEL_ROWS, stride,
               std::min(PANEL_ROWS, out - panel * PANEL_ROWS), accumulate);
    }
    // The columns between rows stay as they were: expected holds them.
    const double error = measure_agreement(y.data(), expected.data(), rows * stride);
    expect(error <= TOLERANCE && y.is_intact(),
           name + (accumulate ? " added" : "") + " error " + std::to_string(error));
  }
}

void test_products(ThreadPool &pool, const BlockOps &ops, Random &random, Dtype dtype, int64_t rows, int64_t out,
                   int64_t in) {
  const std::string name = std::string(ops.name) + " " + dtype_name(dtype) + " " + std::to_string(rows) + "x" +
                           std::to_string(out) + "x" + std::to_string(in);
  const Packed weights(pool, random, dtype, out, in);
  const Activations x(ops, random, rows, in);
  std::vector<double> rounded, exact(x.values.begin(), x.values.end());
  for (size_t i = 0; i < x.values.size(); i++) rounded.push_back(x.rounded(i));
  test_product(name + " int8", weights, rows, rounded, random,
               [&](const BlockPanel &panel, float *y, int64_t stride, int64_t columns, bool accumulate) {
                 ops.multiply_int8(panel, x.int8(), rows, y, stride, columns, accumulate);
               });
  test_product(name + " f32", weights, rows, exact, random,
               [&](const BlockPanel &panel, float *y, int64_t stride, int64_t columns, bool accumulate) {
                 ops.multiply_f32(panel, x.f32(), rows, y, stride, columns, accumulate);
               });
  for (int64_t panel = 0; panel < weights.panels.count(); panel++) {
    const int64_t begin = random.integer(0, in / DEPTH_CHUNK - 1) * DEPTH_CHUNK,
                  length = random.integer(1, (in - begin) / DEPTH_CHUNK) * DEPTH_CHUNK;
    Guarded widened(length * PANEL_ROWS);
    ops.dequantize(weights.panels.panel(panel), begin, length, widened.data(), PANEL_ROWS);
    bool same = widened.is_intact();
    for (int64_t i = 0; i < std::min(PANEL_ROWS, out - panel * PANEL_ROWS); i++) {
      for (int64_t k = 0; k < length; k++) {
        const float expected = weights.values[static_cast<size_t>((panel * PANEL_ROWS + i) * in + begin + k)];
        // Multiplied and added in one rounding or in two.
        same = same && std::fabs(widened.data()[k * PANEL_ROWS + i] - expected) <= 1e-6f;
      }
    }
    expect(same, name + " dequantize");
  }
}

// A row's bits are the same whatever rows it is computed with.
void test_rows(ThreadPool &pool, const BlockOps &ops, Random &random, Dtype dtype) {
  const Packed weights(pool, random, dtype, 16, 512);
  const Activations x(ops, random, 23, 512);
  std::vector<float> together(23 * 16), one(16);
  ops.multiply_int8(weights.panels.panel(0), x.int8(), 23, together.data(), 16, 16, false);
  for (int64_t row = 0; row < 23; row++) {
    const Int8Rows single{x.codes.data() + row * 512, x.scales.data() + row * 512 / DEPTH_CHUNK,
                          x.sums.data() + row * 512 / 16, 512};
    ops.multiply_int8(weights.panels.panel(0), single, 1, one.data(), 16, 16, false);
    expect(std::memcmp(one.data(), together.data() + row * 16, sizeof(float) * 16) == 0,
           std::string(ops.name) + " " + dtype_name(dtype) + " row by itself");
  }
}

// Every code at its largest with every activation at ±127: what would overflow a 16-bit sum. Errors are relative to the
// largest codes, since unsigned codes have their zero subtracted in float: without a fused multiply-add, that rounds
// like the largest code.
void test_extremes(ThreadPool &pool, const BlockOps &ops, Dtype dtype) {
  const int64_t in = block_elements(dtype);
  double largest = 0, error = 0;
  for (const int fill : {0x00, 0xff, 0x80, 0x7f}) {
    Random random(5);
    std::vector<uint8_t> bytes = draw_blocks(random, dtype, 16 * in);
    const auto scales = bytes;
    std::fill(bytes.begin(), bytes.end(), static_cast<uint8_t>(fill));
    for (size_t i = 0; i < bytes.size(); i++) {
      if (is_scale_byte(dtype, static_cast<int64_t>(i) % block_bytes(dtype))) bytes[i] = scales[i];
    }
    PageBlock block(count_panel_bytes({bytes.data(), dtype, 16, in}));
    const BlockPanels panels = pack_panels(pool, {bytes.data(), dtype, 16, in}, block.data());
    std::vector<float> values(static_cast<size_t>(16 * in));
    dequantize(dtype, bytes.data(), 16 * in, values.data());
    for (const int sign : {0, 1}) {
      std::vector<int8_t> codes(static_cast<size_t>(in));
      std::vector<float> ones(static_cast<size_t>(in / DEPTH_CHUNK), 1.0f), sums(static_cast<size_t>(in / 16));
      for (size_t i = 0; i < codes.size(); i++) {
        codes[i] = sign == 1 && i % 2 == 1 ? -127 : 127;
        sums[i / 16] += codes[i];
      }
      std::vector<float> y(16);
      std::vector<double> expected(16);
      double magnitude = 0;
      for (int64_t c = 0; c < 16; c++) {
        for (int64_t k = 0; k < in; k++) {
          const double term = static_cast<double>(codes[static_cast<size_t>(k)]) *
                              static_cast<double>(values[static_cast<size_t>(c * in + k)]);
          expected[static_cast<size_t>(c)] += term;
          magnitude += std::fabs(term) / 16;
        }
      }
      largest = std::max(largest, magnitude);
      ops.multiply_int8(panels.panel(0), {codes.data(), ones.data(), sums.data(), in}, 1, y.data(), 16, 16, false);
      for (size_t c = 0; c < 16; c++) {
        const double here = std::fabs(static_cast<double>(y[c]) - expected[c]);
        error = here <= error ? error : here;
      }
    }
  }
  expect(error <= TOLERANCE * largest,
         std::string(ops.name) + " " + dtype_name(dtype) + " extremes " + std::to_string(error / largest));
}

// multiply_linears over panels and a plain layer, in each mode of computing, against their plain twin; and the same
// bits for any number of threads.
void test_linears(const SimdOps &simd, Random &random, Dtype dtype, Dtype other, int64_t rows) {
  ThreadPool one(1), three(3);
  const int64_t in = 512, outs[] = {random.integer(1, 70), random.integer(1, 90), random.integer(1, 40)};
  const std::string name =
      std::string(simd.name) + " linears " + dtype_name(dtype) + " " + dtype_name(other) + " " + std::to_string(rows);
  const Packed first(three, random, dtype, outs[0], in), second(three, random, other, outs[1], in);
  const auto plain = random.values(outs[2] * in), x = random.values(rows * in);
  const Linear linears[] = {
      {{first.bytes.data(), dtype, outs[0], in}, random.values(outs[0]), first.panels},
      {{second.bytes.data(), other, outs[1], in}, {}, second.panels},
      {{reinterpret_cast<const uint8_t *>(plain.data()), Dtype::f32, outs[2], in}, random.values(outs[2])}};
  // What int8 activations stand for; where a value lies between two codes, tables with a fused multiply-add may differ.
  std::vector<float> rounded(x.size()), scales(x.size() / DEPTH_CHUNK), sums(x.size() / 16);
  std::vector<int8_t> codes(x.size());
  choose_block_ops(simd).quantize(x.data(), rows * in, codes.data(), scales.data(), sums.data());
  for (size_t i = 0; i < x.size(); i++) rounded[i] = static_cast<float>(codes[i]) * scales[i / DEPTH_CHUNK];
  for (const int32_t compute : {DUO_COMPUTE_ACCURATE, DUO_COMPUTE_BF16, DUO_COMPUTE_INT8}) {
    for (const int num_outputs : {2, 3}) {
      std::vector<std::vector<float>> results[2];
      for (ThreadPool *pool : {&one, &three}) {
        auto &y = results[pool == &three];
        for (const int64_t out : outs) y.emplace_back(static_cast<size_t>(rows * (out + 1)), 0.5f);
        const CpuContext context{*pool, simd, compute};
        const auto output = [&](size_t i) { return LinearOutput{&linears[i], y[i].data(), outs[i] + 1, i == 1}; };
        if (num_outputs == 2) multiply_linears(context, x.data(), in, rows, {output(0), output(1)});
        if (num_outputs == 3) multiply_linears(context, x.data(), in, rows, {output(0), output(1), output(2)});
      }
      for (size_t i = 0; i < static_cast<size_t>(num_outputs); i++) {
        const auto &from = compute == DUO_COMPUTE_INT8 && i < 2 ? rounded : x;
        std::vector<float> expected(static_cast<size_t>(rows * (outs[i] + 1)), 0.5f);
        const auto &values = i == 0 ? first.values : i == 1 ? second.values : plain;
        for (int64_t r = 0; r < rows; r++) {
          for (int64_t c = 0; c < outs[i]; c++) {
            double sum = i == 1 ? 0.5 : 0.0;
            for (int64_t k = 0; k < in; k++)
              sum += static_cast<double>(from[static_cast<size_t>(r * in + k)]) *
                     static_cast<double>(values[static_cast<size_t>(c * in + k)]);
            if (!linears[i].bias.empty()) sum += static_cast<double>(linears[i].bias[static_cast<size_t>(c)]);
            expected[static_cast<size_t>(r * (outs[i] + 1) + c)] = static_cast<float>(sum);
          }
        }
        const double error = measure_agreement(results[1][i].data(), expected.data(), rows * (outs[i] + 1));
        expect(error <= 2 * TOLERANCE, name + " compute " + std::to_string(compute) + " output " + std::to_string(i) +
                                           " error " + std::to_string(error));
        expect(results[0][i] == results[1][i], name + " differs between 1 and 3 threads");
      }
    }
  }
}

}  // namespace

int main() {
  ThreadPool pool(2);
  for (const SimdOps *simd : list_simd_ops()) {
    Random random(29);
    for (const Dtype dtype : QUANTIZED_TYPES) {
      for (const int64_t rows : {1, 5, 9, 40})
        test_linears(*simd, random, dtype, dtype == Dtype::q4_k ? Dtype::q6_k : dtype, rows);
    }
  }
  for (const BlockOps *ops : list_block_ops()) {
    Random random(23);
    test_quantize(*ops, random);
    for (const Dtype dtype : QUANTIZED_TYPES) {
      const int64_t step = block_elements(dtype);
      const int64_t shapes[][3] = {{1, 1, step},      {1, 16, step},      {2, 17, 2 * step}, {7, 33, 3 * step},
                                   {8, 16, 9 * step}, {13, 31, 2 * step}, {521, 5, step}};
      for (const auto &shape : shapes) test_products(pool, *ops, random, dtype, shape[0], shape[1], shape[2]);
      for (int i = 0; i < 4; i++)
        test_products(pool, *ops, random, dtype, random.integer(1, 40), random.integer(1, 50),
                      step * random.integer(1, 1024 / step));
      test_rows(pool, *ops, random, dtype);
      test_extremes(pool, *ops, dtype);
    }
    std::printf("%s\n", ops->name);
  }
  return finish("test_blocks");
}

// Weights in groups on the device: quantised from bf16, widened, and read where tokens are embedded.
#include "cuda/packed_weights.h"

#include "cuda/f16_weights.h"
#include "op_test.h"
#include "test_weights.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

constexpr WeightFormat FORMATS[] = {WeightFormat::int8, WeightFormat::int4, WeightFormat::scaled8,
                                    WeightFormat::affine8};

// The squared error of 32 values in 16 even steps over a range around their middle that is `narrower` by a share.
double error_of_steps(const float *x, float narrower) {
  const float low = *std::min_element(x, x + 32), high = *std::max_element(x, x + 32);
  const float middle = 0.5f * low + 0.5f * high, half = (0.5f * high - 0.5f * low) * (1.0f - narrower);
  const double scale = f16_to_float(float_to_f16(half * (2.0f / 15.0f))),
               minimum = f16_to_float(float_to_f16(narrower == 0.0f ? low : middle - half));
  double error = 0;
  for (int i = 0; i < 32; i++) {
    const double code = scale == 0 ? 0 : std::min(15.0, std::max(0.0, std::nearbyint((x[i] - minimum) / scale)));
    error += std::pow(x[i] - (scale * code + minimum), 2);
  }
  return error;
}
double plain_error(const float *x) { return error_of_steps(x, 0.0f); }
// Of the ten ranges that are tried: a line through the codes may do better.
double best_error(const float *x) {
  double best = plain_error(x);
  for (int i = 1; i < 10; i++) best = std::min(best, error_of_steps(x, 0.025f * static_cast<float>(i)));
  return best;
}

OP_TEST(packed, launch_quantize_groups) {
  for (const auto &[rows, columns] : {std::pair<int64_t, int64_t>{11, 96}, {8, 640}, {3, 1056}}) {
    const PackedShape shape{WeightFormat::int4, rows, columns};
    const std::string name = "quantise groups " + std::to_string(rows) + "x" + std::to_string(columns);
    Random random(static_cast<uint64_t>(columns));
    auto x = random.values(rows * columns);
    for (int64_t group = 0; group < rows * columns / 32; group++) {
      float *values = x.data() + group * 32;
      if (group % 5 == 1) std::fill_n(values, 32, 0.0f);
      if (group % 5 == 2) values[group % 32] = 4.0f;  // an outlier
      if (group % 5 == 3) {
        // Sixteen steps that fp16 holds: nothing is lost.
        for (int i = 0; i < 32; i++) values[i] = 0.125f * static_cast<float>((i * 7 + 3) % 16) - 0.75f;
      }
      if (group % 5 == 4) {
        // Far from zero, where fp16 rounds a minimum by more than a line through the codes gains.
        for (int i = 0; i < 32; i++) values[i] = 96.0f + 0.5f * static_cast<float>(random.below(12));
      }
    }
    x = round_bf16(x);
    const auto from = upload(to_bf16(x));
    DeviceBuffer<uint32_t> scales(shape.scale_words());
    DeviceBuffer<int32_t> bad = upload(std::vector<int32_t>{0});
    const auto codes = run_launch<uint8_t>(name, shape.code_bytes(), [&](uint8_t *to, cudaStream_t stream) {
      return launch_quantize_groups(from.data(), shape, to, scales.data(), bad.data(), stream);
    });
    const auto words = download(scales);
    double total = 0, plain = 0, exact = 0, worst = 0;
    for (int64_t row = 0; row < rows; row++) {
      std::vector<double> values(static_cast<size_t>(columns));
      unpack_row(shape, codes.data(), words.data(), row, values.data());
      for (int64_t group = 0; group < columns / 32; group++) {
        const float *wanted = x.data() + row * columns + group * 32;
        double error = 0;
        for (int i = 0; i < 32; i++) error += std::pow(values[static_cast<size_t>(group * 32 + i)] - wanted[i], 2);
        const double limit = plain_error(wanted);
        worst = worse(worst, error - best_error(wanted) * (1 + 1e-5));
        const int64_t kind = (row * columns / 32 + group) % 5;
        if (kind == 1 || kind == 3) exact = worse(exact, error);
        total += error, plain += limit;
      }
    }
    expect_within(worst, 1e-9, name + ": no group is worse than by the best of ten ranges");
    expect_within(total / plain, 0.95, name + ": the error, of that of even steps");
    expect(exact == 0, name + ": zeros and sixteen steps stay as they are");
    expect(download(bad)[0] == 0, name + ": scales within fp16");
    int64_t num_words = 0;
    for (const uint32_t word : words) num_words += word != 0;
    expect(num_words <= rows * columns / 32, name + ": no scales past the columns and rows");
  }
  std::vector<float> large(32 * 8, 1.0f);
  large[40] = 1e6f;
  const auto from = upload(to_bf16(large));
  const PackedShape shape{WeightFormat::int4, 8, 32};
  DeviceBuffer<uint8_t> codes(shape.code_bytes());
  DeviceBuffer<uint32_t> scales(shape.scale_words());
  const auto bad =
      run_launch<int32_t>("quantise large groups", 1,
                          [&](int32_t *to, cudaStream_t stream) {
                            return launch_quantize_groups(from.data(), shape, codes.data(), scales.data(), to, stream);
                          },
                          {0});
  expect(bad[0] == 1, "scales past fp16's range are seen");
}

OP_TEST(packed, launch_widen_rows) {
  for (const WeightFormat format : FORMATS) {
    for (const auto &[rows, columns] : {std::pair<int64_t, int64_t>{21, 96}, {9, 1056}}) {
      Random random(7);
      const TestWeights weights(random, format, rows, columns);
      const int64_t first = 8, count = rows - first;
      const std::vector<double> expected(weights.values.begin() + first * columns, weights.values.end());
      const std::string name = "widen" + name_of(format) + " " + std::to_string(columns);
      for (const Half half : {Half::bf16, Half::f16}) {
        const auto got =
            run_launch<uint16_t>(name, count * columns, [&, half = half](uint16_t *to, cudaStream_t stream) {
              return launch_widen_rows(weights.packed(), first, count,
                                       half == Half::bf16 ? Widened::bf16 : Widened::f16, to, stream);
            });
        expect_rounded(got, expected, columns, half, name + test::name_of(half));
      }
      const auto got = run_launch<float>(name, count * columns, [&](float *to, cudaStream_t stream) {
        return launch_widen_rows(weights.packed(), first, count, Widened::f32, to, stream);
      });
      expect_within(worst_row_error(got, expected, columns), tolerance::fp32_sum, name + " fp32");
    }
  }
}

OP_TEST(packed, launch_derive_f16) {
  const int64_t rows = 21, columns = 96;
  for (const WeightFormat format :
       {WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4, WeightFormat::scaled8, WeightFormat::affine8}) {
    Random random(11);
    TestWeights weights(random, format, rows, columns);
    DeviceMatrix matrix;
    matrix.rows = rows, matrix.columns = columns, matrix.format = format;
    if (format == WeightFormat::bf16) {
      matrix.values = upload(to_bf16({weights.values.begin(), weights.values.end()}));
    } else {
      matrix.codes = std::move(weights.bytes), matrix.scales = std::move(weights.scales),
      matrix.row_scale = std::move(weights.row_scale);
    }
    // int8's unit is always 1.
    const float unit = format == WeightFormat::int8 ? 1.0f : 0x1p-6f;
    std::vector<double> expected;
    for (const double value : weights.values) expected.push_back(value / static_cast<double>(unit));
    DeviceBuffer<float> widened(std::max<int64_t>(1, count_widened(matrix)));
    const std::string name = "f16 twin" + name_of(format);
    const auto got = run_launch<uint16_t>(name, rows * columns, [&](uint16_t *to, cudaStream_t stream) {
      return launch_derive_f16(matrix, unit, widened.data(), to, stream);
    });
    expect_rounded(got, expected, columns, Half::f16, name);
  }
}

OP_TEST(packed, launch_embed_packed) {
  for (const WeightFormat format : FORMATS) {
    Random random(9);
    const TestWeights weights(random, format, 13, 160);
    const std::vector<int32_t> tokens{12, 0, 5, 5, 7};
    const auto t = upload(tokens);
    const auto got = run_launch<float>("embed" + name_of(format), 5 * 160, [&](float *x, cudaStream_t stream) {
      return launch_embed_packed(t.data(), weights.packed(), 5, x, stream);
    });
    std::vector<double> expected;
    for (const int32_t token : tokens)
      expected.insert(expected.end(), weights.values.begin() + token * 160, weights.values.begin() + (token + 1) * 160);
    expect_within(worst_row_error(got, expected, 160), tolerance::fp32_sum, "embed" + name_of(format));
  }
}

}  // namespace

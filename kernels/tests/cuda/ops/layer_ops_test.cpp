// Row-wise operations of a layer: norms, SwiGLU, gathers, biases, the mix of branches.
#include "cuda/layer_ops.h"
#include "cuda/f16_weights.h"
#include "op_test.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

constexpr float EPS = 1e-5f;

struct Rows {
  int64_t rows, width;
};
// One piece of eight; a width that leaves threads idle; one past a pass of a block's 256 threads, four elements each.
const std::vector<Rows> SHAPES{{1, 8}, {3, 40}, {5, 1032}};

std::string name_of(const char *what, const Rows &shape) {
  return std::string(what) + " " + std::to_string(shape.rows) + "x" + std::to_string(shape.width);
}

// Rows of sizes 1, 3e-3 (where eps is as large as the mean square) and 50.
std::vector<float> uneven_rows(Random &random, const Rows &shape) {
  std::vector<float> x = random.values(shape.rows * shape.width);
  for (size_t i = 0; i < x.size(); i++)
    x[i] *= i / static_cast<size_t>(shape.width) % 3 == 0   ? 1.0f
            : i / static_cast<size_t>(shape.width) % 3 == 1 ? 3e-3f
                                                            : 50.0f;
  if (shape.rows == 1) {
    for (float &value : x) value *= 5e-3f;
  }
  return x;
}

std::vector<double> norm_exactly(const std::vector<float> &x, const std::vector<float> &weight) {
  const size_t width = weight.size();
  std::vector<double> out(x.size());
  for (size_t row = 0; row < x.size(); row += width) {
    double square = 0;
    for (size_t i = 0; i < width; i++) square += static_cast<double>(x[row + i]) * x[row + i];
    const double scale = 1 / std::sqrt(square / static_cast<double>(width) + static_cast<double>(EPS));
    for (size_t i = 0; i < width; i++) out[row + i] = x[row + i] * scale * weight[i];
  }
  return out;
}

// The definition's derivative: dx_i = s·w_i·dy_i − s³/C·x_i·Σ w_j·dy_j·x_j.
std::vector<double> norm_backward_exactly(const std::vector<float> &x, const std::vector<float> &weight,
                                          const std::vector<float> &dy) {
  const size_t width = weight.size();
  std::vector<double> out(x.size());
  for (size_t row = 0; row < x.size(); row += width) {
    double square = 0, projection = 0;
    for (size_t i = 0; i < width; i++) {
      square += static_cast<double>(x[row + i]) * x[row + i];
      projection += static_cast<double>(weight[i]) * dy[row + i] * x[row + i];
    }
    const double scale = 1 / std::sqrt(square / static_cast<double>(width) + static_cast<double>(EPS));
    for (size_t i = 0; i < width; i++) {
      out[row + i] = scale * weight[i] * dy[row + i] -
                     scale * scale * scale / static_cast<double>(width) * projection * x[row + i];
    }
  }
  return out;
}

OP_TEST(layer, launch_embed) {
  for (const auto &[half, unit] :
       {std::pair{Half::bf16, 1.0f}, std::pair{Half::f16, 1.0f}, std::pair{Half::f16, 0.25f}}) {
    Random random(1);
    const int64_t vocab = 11, width = 40;
    const auto table = to_half(random.values(vocab * width), half);
    const std::vector<int32_t> tokens{10, 0, 3, 3, 7, 1, 9};
    const auto t = upload(tokens);
    const auto w = upload(table);
    const auto count = static_cast<int64_t>(tokens.size());
    const auto got =
        run_launch<float>("embed", count * width, [&, half = half, unit = unit](float *x, cudaStream_t stream) {
          return launch_embed(t.data(), w.data(), count, width, x, stream, half, unit);
        });
    const auto values = from_half(table, half);
    std::vector<float> expected;
    for (const int32_t token : tokens) {
      for (int64_t i = 0; i < width; i++) expected.push_back(unit * values[static_cast<size_t>(token * width + i)]);
    }
    expect(got == expected, std::string("embed") + test::name_of(half) + " times " + std::to_string(unit));
  }
}

OP_TEST(layer, launch_rms_norm) {
  for (const Rows &shape : SHAPES) {
    for (const Half half : {Half::bf16, Half::f16}) {
      Random random(2);
      const auto x = uneven_rows(random, shape), weight = random.values(shape.width, 2.0);
      const auto a = upload(x), w = upload(weight);
      const std::string name = name_of("norm", shape) + test::name_of(half);
      const auto got = run_launch<uint16_t>(name, shape.rows * shape.width, [&](uint16_t *out, cudaStream_t stream) {
        return launch_rms_norm(a.data(), w.data(), shape.rows, shape.width, EPS, out, stream, half);
      });
      expect_rounded(got, norm_exactly(x, weight), shape.width, half, name);
    }
  }
}

OP_TEST(layer, launch_rms_norm_f32) {
  for (const Rows &shape : SHAPES) {
    Random random(3);
    const auto x = uneven_rows(random, shape), weight = random.values(shape.width, 2.0);
    const auto a = upload(x), w = upload(weight);
    const std::string name = name_of("norm fp32", shape);
    const auto got = run_launch<float>(name, shape.rows * shape.width, [&](float *out, cudaStream_t stream) {
      return launch_rms_norm_f32(a.data(), w.data(), shape.rows, shape.width, EPS, out, stream);
    });
    expect_within(worst_row_error(got, norm_exactly(x, weight), shape.width), tolerance::fp32_sum, name);
  }
}

OP_TEST(layer, launch_rms_norm_kept) {
  for (const Rows &shape : SHAPES) {
    Random random(4);
    const auto x = uneven_rows(random, shape), weight = random.values(shape.width, 2.0), rounded = round_bf16(x);
    const auto a = upload(x), w = upload(weight);
    const std::string name = name_of("norm that keeps its input", shape);
    DeviceBuffer<uint16_t> kept(shape.rows * shape.width);
    const auto got = run_launch<uint16_t>(name, shape.rows * shape.width, [&](uint16_t *out, cudaStream_t stream) {
      return launch_rms_norm_kept(a.data(), w.data(), shape.rows, shape.width, EPS, kept.data(), out, stream);
    });
    expect(download(kept) == to_bf16(x), name + ": what is kept is the input, rounded");
    expect_rounded(got, norm_exactly(rounded, weight), shape.width, Half::bf16, name);
  }
}

OP_TEST(layer, launch_rms_norm_of_kept) {
  for (const Rows &shape : SHAPES) {
    Random random(5);
    const auto x = uneven_rows(random, shape), weight = random.values(shape.width, 2.0);
    const auto a = upload(x), w = upload(weight);
    const auto kept = upload(to_bf16(x));
    const std::string name = name_of("norm of what was kept", shape);
    const auto got = run_launch<uint16_t>(name, shape.rows * shape.width, [&](uint16_t *out, cudaStream_t stream) {
      return launch_rms_norm_of_kept(kept.data(), w.data(), shape.rows, shape.width, EPS, out, stream);
    });
    expect_rounded(got, norm_exactly(round_bf16(x), weight), shape.width, Half::bf16, name);
    DeviceBuffer<uint16_t> again(shape.rows * shape.width), out(shape.rows * shape.width);
    check(launch_rms_norm_kept(a.data(), w.data(), shape.rows, shape.width, EPS, again.data(), out.data(),
                               test_stream().get()),
          "a norm");
    expect(download(out) == got, name + ": the bits of the first time");
  }
}

OP_TEST(layer, launch_rms_norm_backward) {
  for (const Rows &shape : SHAPES) {
    Random random(6);
    const auto x = uneven_rows(random, shape), weight = random.values(shape.width, 2.0),
               dy = random.values(shape.rows * shape.width);
    const auto a = upload(x), w = upload(weight), d = upload(dy);
    const std::string name = name_of("norm backward", shape);
    const auto got = run_launch<float>(name, shape.rows * shape.width, [&](float *dx, cudaStream_t stream) {
      return launch_rms_norm_backward(a.data(), w.data(), d.data(), shape.rows, shape.width, EPS, dx, stream);
    });
    expect_within(worst_row_error(got, norm_backward_exactly(x, weight, dy), shape.width), tolerance::fp32_sum, name);
  }
}

// dx += the gradient, of an input in fp32 or as it was kept.
template <typename Launch>
void test_backward_add(const std::string &name, const Rows &shape, const std::vector<float> &x,
                       const std::vector<float> &weight, Random &random, const Launch &launch, bool narrows) {
  const auto dy = round_bf16(random.values(shape.rows * shape.width)),
             before = random.values(shape.rows * shape.width, 3.0);
  const auto w = upload(weight);
  const auto d = upload(to_bf16(dy));
  DeviceBuffer<uint16_t> narrowed(shape.rows * shape.width);
  for (const bool wants_narrowed : {false, true}) {
    if (wants_narrowed && !narrows) continue;
    const auto got = run_launch<float>(
        name, shape.rows * shape.width,
        [&](float *dx, cudaStream_t stream) {
          return launch(w.data(), d.data(), dx, wants_narrowed ? narrowed.data() : nullptr, stream);
        },
        before);
    std::vector<double> expected = norm_backward_exactly(x, weight, dy);
    for (size_t i = 0; i < expected.size(); i++) expected[i] += static_cast<double>(before[i]);
    expect_within(worst_row_error(got, expected, shape.width), tolerance::fp32_sum, name);
    if (wants_narrowed) expect(download(narrowed) == to_bf16(got), name + ": the sum, rounded");
  }
}

OP_TEST(layer, launch_rms_norm_backward_add) {
  for (const Rows &shape : SHAPES) {
    Random random(7);
    const auto x = uneven_rows(random, shape), weight = random.values(shape.width, 2.0);
    const auto a = upload(x);
    test_backward_add(
        name_of("norm backward, added", shape), shape, x, weight, random,
        [&](const float *w, const uint16_t *d, float *dx, uint16_t *narrowed, cudaStream_t stream) {
          return launch_rms_norm_backward_add(a.data(), w, d, shape.rows, shape.width, EPS, dx, narrowed, stream);
        },
        true);
  }
}

OP_TEST(layer, launch_rms_norm_backward_add_kept) {
  for (const Rows &shape : SHAPES) {
    Random random(8);
    const auto x = round_bf16(uneven_rows(random, shape)), weight = random.values(shape.width, 2.0);
    const auto kept = upload(to_bf16(x));
    test_backward_add(
        name_of("norm backward of what was kept, added", shape), shape, x, weight, random,
        [&](const float *w, const uint16_t *d, float *dx, uint16_t *, cudaStream_t stream) {
          return launch_rms_norm_backward_add_kept(kept.data(), w, d, shape.rows, shape.width, EPS, dx, stream);
        },
        false);
  }
}

// Widths: one piece of eight; one past the eights of a block of 256 threads.
const std::vector<Rows> MLP_SHAPES{{1, 8}, {4, 72}, {2, 2056}};

double silu(double x) { return x / (1 + std::exp(-x)); }

// gate_up [rows, 2·width]: gates −6 … 6, so that both ends of the sigmoid are there.
std::vector<float> draw_gate_up(Random &random, const Rows &shape, Half half) {
  return round_half(random.values(shape.rows * 2 * shape.width, 6.0), half);
}

std::vector<double> swiglu_exactly(const std::vector<float> &gate_up, const Rows &shape) {
  std::vector<double> out;
  for (int64_t row = 0; row < shape.rows; row++) {
    const float *at = gate_up.data() + row * 2 * shape.width;
    for (int64_t i = 0; i < shape.width; i++)
      out.push_back(silu(static_cast<double>(at[i])) * static_cast<double>(at[shape.width + i]));
  }
  return out;
}

OP_TEST(layer, launch_swiglu) {
  for (const Rows &shape : MLP_SHAPES) {
    Random random(9);
    const auto gate_up = draw_gate_up(random, shape, Half::bf16);
    const auto g = upload(to_bf16(gate_up));
    const auto got = run_launch<uint16_t>(name_of("swiglu", shape), shape.rows * shape.width,
                                          [&](uint16_t *out, cudaStream_t stream) {
                                            return launch_swiglu(g.data(), shape.rows, shape.width, out, stream);
                                          });
    expect_rounded(got, swiglu_exactly(gate_up, shape), shape.width, Half::bf16, name_of("swiglu", shape));
  }
}

OP_TEST(layer, launch_swiglu_f16) {
  for (const Rows &shape : MLP_SHAPES) {
    for (const float factor : {1.0f, 0.125f}) {
      Random random(10);
      const auto gate_up = draw_gate_up(random, shape, Half::f16);
      const auto g = upload(to_half(gate_up, Half::f16));
      auto expected = swiglu_exactly(gate_up, shape);
      double largest = 0;
      for (double &value : expected)
        largest = std::max(largest, std::fabs(value)), value *= static_cast<double>(factor);
      const std::string name = name_of("swiglu f16", shape) + " times " + std::to_string(factor);
      for (const float before : {0.0f, 1000.0f}) {
        std::vector<float> peak_found;
        const auto got = run_launch<uint16_t>(name, shape.rows * shape.width, [&](uint16_t *out, cudaStream_t stream) {
          const auto peak = upload(std::vector<float>{before});
          const cudaError_t error =
              launch_swiglu_f16(g.data(), shape.rows, shape.width, factor, peak.data(), out, stream);
          peak_found = download(peak);
          return error;
        });
        expect_rounded(got, expected, shape.width, Half::f16, name);
        expect_within(std::fabs(static_cast<double>(peak_found[0]) - std::max<double>(before, largest)) /
                          std::max<double>(before, largest),
                      tolerance::fp32_sum, name + ": the peak, before the factor");
      }
      const auto without =
          run_launch<uint16_t>(name, shape.rows * shape.width, [&](uint16_t *out, cudaStream_t stream) {
            return launch_swiglu_f16(g.data(), shape.rows, shape.width, factor, nullptr, out, stream);
          });
      expect_rounded(without, expected, shape.width, Half::f16, name + ", no peak");
    }
  }
}

OP_TEST(layer, launch_swiglu_backward) {
  for (const Rows &shape : MLP_SHAPES) {
    Random random(11);
    const auto gate_up = draw_gate_up(random, shape, Half::bf16),
               d_hidden = round_bf16(random.values(shape.rows * shape.width));
    const auto d = upload(to_bf16(d_hidden));
    const auto got = run_launch<uint16_t>(
        name_of("swiglu backward", shape), shape.rows * 2 * shape.width,
        [&](uint16_t *g, cudaStream_t stream) {
          return launch_swiglu_backward(g, d.data(), shape.rows, shape.width, g, stream);
        },
        to_bf16(gate_up));
    std::vector<double> expected(gate_up.size());
    for (int64_t row = 0; row < shape.rows; row++) {
      for (int64_t i = 0; i < shape.width; i++) {
        const auto at = static_cast<size_t>(row * 2 * shape.width + i), up = at + static_cast<size_t>(shape.width);
        const double gradient = d_hidden[static_cast<size_t>(row * shape.width + i)], gate = gate_up[at],
                     sigmoid = 1 / (1 + std::exp(-gate));
        expected[at] = gradient * static_cast<double>(gate_up[up]) * (sigmoid + gate * sigmoid * (1 - sigmoid));
        expected[up] = gradient * silu(gate);
      }
    }
    expect_rounded(got, expected, 2 * shape.width, Half::bf16, name_of("swiglu backward", shape));
  }
}

// Rows by index, and all rows where there is no index.
template <typename From, typename To, typename Launch>
void test_gather(const std::string &what, const std::vector<From> &from, const std::vector<To> &expected_from,
                 int64_t width, const Launch &launch) {
  const std::vector<int32_t> index{4, 0, 2, 2};
  const auto i = upload(index);
  const auto f = upload(from);
  const int64_t rows = static_cast<int64_t>(from.size()) / width;
  for (const bool has_index : {false, true}) {
    const int64_t count = has_index ? static_cast<int64_t>(index.size()) : rows;
    const auto got = run_launch<To>(what, count * width, [&](To *to, cudaStream_t stream) {
      return launch(f.data(), has_index ? i.data() : nullptr, count, width, to, stream);
    });
    std::vector<To> expected;
    for (int64_t row = 0; row < count; row++) {
      const int64_t source = has_index ? index[static_cast<size_t>(row)] : row;
      expected.insert(expected.end(), expected_from.begin() + source * width,
                      expected_from.begin() + (source + 1) * width);
    }
    expect(got == expected, what + (has_index ? " by index" : " of all rows"));
  }
}

OP_TEST(layer, launch_gather_rows) {
  for (const int64_t width : {8, 1032}) {
    const auto from = Random(12).values(5 * width);
    test_gather("gather", from, from, width, launch_gather_rows);
  }
}
OP_TEST(layer, launch_gather_rows_bf16) {
  for (const int64_t width : {8, 1032}) {
    const auto from = to_bf16(Random(13).values(5 * width));
    test_gather("gather bf16", from, from, width, launch_gather_rows_bf16);
  }
}
OP_TEST(layer, launch_gather_rows_widened) {
  for (const int64_t width : {8, 1032}) {
    const auto from = to_bf16(Random(14).values(5 * width));
    test_gather("gather, widened", from, from_bf16(from), width, launch_gather_rows_widened);
  }
}
OP_TEST(layer, launch_scatter_rows) {
  for (const int64_t width : {8, 1032}) {
    Random random(15);
    const auto from = random.values(3 * width), before = random.values(5 * width);
    const std::vector<int32_t> index{4, 0, 2};
    const auto f = upload(from);
    const auto i = upload(index);
    const auto got = run_launch<float>(
        "scatter", 5 * width,
        [&](float *to, cudaStream_t stream) { return launch_scatter_rows(f.data(), i.data(), 3, width, to, stream); },
        before);
    auto expected = before;
    for (int64_t row = 0; row < 3; row++)
      std::copy_n(from.begin() + row * width, width, expected.begin() + index[static_cast<size_t>(row)] * width);
    expect(got == expected, "scatter");
  }
}

OP_TEST(layer, launch_narrow) {
  for (const Half half : {Half::bf16, Half::f16}) {
    for (const int64_t count : {4, 1028}) {
      const auto from = Random(16).values(count, 3.0);
      const auto f = upload(from);
      const auto got = run_launch<uint16_t>("narrow", count, [&](uint16_t *to, cudaStream_t stream) {
        return launch_narrow(f.data(), count, to, stream, half);
      });
      expect(got == to_half(from, half), std::string("narrow") + test::name_of(half));
    }
  }
}

OP_TEST(layer, launch_count_up) {
  for (const int64_t rows : {1, 300}) {
    const auto got = run_launch<int32_t>(
        "count up", rows, [&](int32_t *to, cudaStream_t stream) { return launch_count_up(17, rows, to, stream); });
    bool counts = true;
    for (int64_t i = 0; i < rows; i++) counts = counts && got[static_cast<size_t>(i)] == 17 + i;
    expect(counts, "count up");
  }
}

OP_TEST(layer, launch_mix) {
  for (const Half half : {Half::bf16, Half::f16}) {
    Random random(17);
    const int32_t rows = 5, heads = 6, kv_heads = 3, dim = 32;
    auto full = random.values(rows * heads * dim), streaming = random.values(rows * heads * dim);
    const std::vector<float> gates{0.0f, 0.3f, 1.0f};
    std::vector<double> expected;
    for (size_t i = 0; i < full.size(); i++) {
      const float gate = gates[i / dim % heads / 2];
      // The ends of the gate are exact, whatever the other branch holds.
      if (gate == 0.0f) full[i] = NAN;
      if (gate == 1.0f) streaming[i] = NAN;
      expected.push_back(gate == 0.0f ? streaming[i]
                         : gate == 1.0f
                             ? full[i]
                             : static_cast<double>(gate) * full[i] + (1 - static_cast<double>(gate)) * streaming[i]);
    }
    const auto f = upload(full), s = upload(streaming), g = upload(gates);
    const auto got = run_launch<uint16_t>("mix", rows * heads * dim, [&](uint16_t *mixed, cudaStream_t stream) {
      return launch_mix(f.data(), s.data(), g.data(), rows, heads, kv_heads, dim, mixed, stream, half);
    });
    expect_rounded(got, expected, dim, half, std::string("mix") + test::name_of(half));
  }
}

OP_TEST(layer, launch_add_bias) {
  for (const Half half : {Half::bf16, Half::f16}) {
    Random random(18);
    const int64_t rows = 7, width = 40;
    const auto y = round_half(random.values(rows * width), half), bias = random.values(width);
    const auto b = upload(bias);
    const auto got = run_launch<uint16_t>(
        "bias", rows * width,
        [&](uint16_t *out, cudaStream_t stream) { return launch_add_bias(out, b.data(), rows, width, stream, half); },
        to_half(y, half));
    std::vector<double> expected;
    for (int64_t i = 0; i < rows * width; i++)
      expected.push_back(static_cast<double>(y[static_cast<size_t>(i)]) +
                         static_cast<double>(bias[static_cast<size_t>(i % width)]));
    expect_rounded(got, expected, width, half, std::string("bias") + test::name_of(half));
  }
}
OP_TEST(layer, launch_add_bias_f32) {
  Random random(19);
  const int64_t rows = 7, width = 40;
  const auto y = random.values(rows * width), bias = random.values(width);
  const auto b = upload(bias);
  const auto got = run_launch<float>(
      "bias fp32", rows * width,
      [&](float *out, cudaStream_t stream) { return launch_add_bias_f32(out, b.data(), rows, width, stream); }, y);
  std::vector<float> expected;
  for (int64_t i = 0; i < rows * width; i++)
    expected.push_back(y[static_cast<size_t>(i)] + bias[static_cast<size_t>(i % width)]);
  expect(got == expected, "bias fp32");
}

// int8 rows: the scale is max|x|/127 of the row, and every value its nearest step.
OP_TEST(layer, launch_quantize_rows) {
  for (const Rows &shape : SHAPES) {
    Random random(20);
    auto x = round_bf16(uneven_rows(random, shape));
    if (shape.rows > 3) std::fill_n(x.begin() + 3 * shape.width, shape.width, 0.0f);  // a row of zeros
    if (shape.width > 1024) x[static_cast<size_t>(shape.width - 1)] = -3.0f;  // the largest is the last, and negative
    const auto from = upload(to_bf16(x));
    DeviceBuffer<float> scale(shape.rows);
    const auto got =
        run_launch<int8_t>(name_of("quantise", shape), shape.rows * shape.width, [&](int8_t *to, cudaStream_t stream) {
          return launch_quantize_rows(from.data(), shape.rows, shape.width, to, scale.data(), stream);
        });
    const auto scales = download(scale);
    std::vector<double> expected_scales;
    double worst = 0;
    for (int64_t row = 0; row < shape.rows; row++) {
      double largest = 0;
      for (int64_t i = 0; i < shape.width; i++)
        largest = std::max(largest, std::fabs(static_cast<double>(x[static_cast<size_t>(row * shape.width + i)])));
      expected_scales.push_back(largest / 127);
      for (int64_t i = 0; i < shape.width; i++) {
        const auto at = static_cast<size_t>(row * shape.width + i);
        worst = worse(worst, std::fabs(got[at] - (largest == 0 ? 0 : static_cast<double>(x[at]) / (largest / 127))));
      }
    }
    expect_within(worst_row_error(scales, expected_scales, 1), tolerance::fp32_sum,
                  name_of("quantise", shape) + ": scales");
    expect_within(worst, 0.5 + 1e-4, name_of("quantise", shape) + ": steps from the value");
  }
}

// ---- f16 twins of weights ----

std::vector<uint8_t> stored_as(const std::vector<float> &values, Dtype dtype) {
  std::vector<uint8_t> bytes(values.size() * static_cast<size_t>(dtype_bytes(dtype)));
  const auto halves =
      dtype == Dtype::f32 ? std::vector<uint16_t>{} : to_half(values, dtype == Dtype::f16 ? Half::f16 : Half::bf16);
  std::memcpy(bytes.data(), dtype == Dtype::f32 ? static_cast<const void *>(values.data()) : halves.data(),
              bytes.size());
  return bytes;
}
std::vector<float> as_stored(const std::vector<float> &values, Dtype dtype) {
  return dtype == Dtype::f32 ? values : round_half(values, dtype == Dtype::f16 ? Half::f16 : Half::bf16);
}

OP_TEST(layer, launch_peak) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    // One block; and, of a grid that is full, the last element, negative.
    for (const int64_t count : {int64_t{5}, int64_t{1024 * 256 + 3}}) {
      if (is_brief && count > 1000) continue;
      auto values = Random(22).values(count);
      values.back() = -7.5f;
      const auto from = upload(stored_as(values, dtype));
      for (const float before : {0.0f, 9.0f}) {
        const auto got = run_launch<float>(
            "peak", 1,
            [&](float *peak, cudaStream_t stream) { return launch_peak(from.data(), dtype, count, peak, stream); },
            {before});
        expect(got[0] == std::max(before, 7.5f), "peak of " + std::to_string(count) + " values");
      }
    }
  }
  expect(launch_peak(nullptr, Dtype::int8, 1, nullptr, test_stream().get()) == cudaErrorInvalidValue,
         "the peak of int8 is refused");
}
OP_TEST(layer, launch_to_f16) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    const auto values = Random(23).values(300, 4.0), stored = as_stored(values, dtype);
    const auto from = upload(stored_as(values, dtype));
    for (const float factor : {1.0f, 512.0f}) {
      const auto got = run_launch<uint16_t>("to f16", 300, [&](uint16_t *to, cudaStream_t stream) {
        return launch_to_f16(from.data(), dtype, 300, factor, to, stream);
      });
      std::vector<float> expected;
      for (const float value : stored) expected.push_back(factor * value);
      expect(got == to_half(expected, Half::f16), "to f16, times " + std::to_string(factor));
    }
  }
  expect(launch_to_f16(nullptr, Dtype::fp8, 1, 1.0f, nullptr, test_stream().get()) == cudaErrorInvalidValue,
         "fp8 weights are refused");
}

}  // namespace

// Matrix products of many rows, by the project's own kernel and by what a model uses (cuBLASLt where it can be opened),
// and the vector products of decode.
#include <array>

#include "cuda/gemm.h"
#include "cuda/layer_ops.h"
#include "cuda/linear_algebra.h"
#include "cuda/matvec.h"
#include "cuda/reductions.h"
#include "cuda/skinny_product.h"
#include "op_test.h"
#include "test_weights.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

struct ProductCase {
  int64_t m, n, k;
  bool deep;
  Half half;
  Store store;
  float factor;
};

// Rows lie further apart than they are wide: what is between them is NaN in the operands, and must stay as it is in the
// result.
void test_product(const ProductCase &c, bool own) {
  const int64_t left_stride = c.k + 8, right_rows = c.deep ? c.k : c.n, right_width = c.deep ? c.n : c.k,
                right_stride = right_width + 16, out_stride = c.n + 24;
  const std::string name = std::string(own ? "product " : "a model's product ") + std::to_string(c.m) + "x" +
                           std::to_string(c.n) + "x" + std::to_string(c.k) + (c.deep ? " deep" : "") +
                           test::name_of(c.half) +
                           (c.store == Store::half  ? " to 16 bits"
                            : c.store == Store::f32 ? " to fp32"
                                                    : " added");
  Random random(static_cast<uint64_t>(c.m * 7 + c.k));
  const auto spread = [&](int64_t rows, int64_t width, int64_t stride) {
    auto values = random.values(rows * stride);
    for (int64_t i = 0; i < rows * stride; i++) {
      if (i % stride >= width) values[static_cast<size_t>(i)] = NAN;
    }
    return round_half(values, c.half);
  };
  const auto left = spread(c.m, c.k, left_stride), right = spread(right_rows, right_width, right_stride),
             before = random.values(c.m * out_stride, 20.0);
  const auto a = upload(to_half(left, c.half)), b = upload(to_half(right, c.half));
  std::vector<double> expected;
  for (int64_t row = 0; row < c.m; row++) {
    for (int64_t column = 0; column < c.n; column++) {
      double sum = 0;
      for (int64_t i = 0; i < c.k; i++)
        sum += static_cast<double>(left[row * left_stride + i]) *
               (c.deep ? right[i * right_stride + column] : right[column * right_stride + i]);
      expected.push_back(c.factor * sum);
    }
  }
  Product product{a.data(),     b.data(),   nullptr, c.m,     c.n,    c.k,     left_stride,
                  right_stride, out_stride, c.deep,  c.store, c.half, c.factor};
  static LinearAlgebra algebra(0);
  const auto launch = [&](void *out, cudaStream_t stream) {
    product.out = out;
    if (own) return launch_product(product, stream);
    algebra.multiply(product, test_stream());
    return cudaSuccess;
  };
  const auto within = [&](const auto &all) {
    std::decay_t<decltype(all)> out;
    for (int64_t row = 0; row < c.m; row++)
      out.insert(out.end(), all.begin() + row * out_stride, all.begin() + row * out_stride + c.n);
    return out;
  };
  const auto between = [&](const auto &all) {
    std::decay_t<decltype(all)> out;
    for (int64_t row = 0; row < c.m; row++)
      out.insert(out.end(), all.begin() + row * out_stride + c.n, all.begin() + (row + 1) * out_stride);
    return out;
  };
  if (c.store == Store::half) {
    const auto held = to_half(before, c.half);
    const auto out = run_launch<uint16_t>(
        name, c.m * out_stride, [&](uint16_t *to, cudaStream_t stream) { return launch(to, stream); }, held);
    expect_rounded(within(out), expected, c.n, c.half, name);
    expect(between(out) == between(held), name + ": what is between rows");
  } else {
    const auto out = run_launch<float>(
        name, c.m * out_stride, [&](float *to, cudaStream_t stream) { return launch(to, stream); }, before);
    auto got = within(out);
    const auto held = within(before);
    double worst = 0;
    for (int64_t row = 0; row < c.m; row++) {
      // The sum's error is that of the product and of the last addition to a number of up to 20.
      double largest = 0, error = 0;
      for (int64_t i = row * c.n; i < (row + 1) * c.n; i++) {
        const double base = c.store == Store::add_f32 ? held[static_cast<size_t>(i)] : 0,
                     wanted = expected[static_cast<size_t>(i)];
        largest = worse(largest, std::fabs(wanted));
        error = worse(
            error, std::max(0.0, std::fabs(got[static_cast<size_t>(i)] - base - wanted) - std::fabs(base) * 0x1p-23));
      }
      worst = worse(worst, error / largest);
    }
    expect_within(worst, tolerance::fp32_product, name);
    expect(between(out) == between(before), name + ": what is between rows");
  }
}

OP_TEST(product, launch_product) {
  for (const bool own : {true, false}) {
    for (const bool deep : {false, true}) {
      // Tiles are 128 by 128, 32 deep: one past each, and less than one.
      const int64_t n = deep ? 136 : 130;
      test_product({129, n, 72, deep, Half::bf16, Store::f32, 1.0f}, own);
      test_product({5, 8, 200, deep, Half::bf16, Store::add_f32, 1.0f}, own);
      test_product({70, 48, 40, deep, Half::bf16, Store::half, 1.0f}, own);
      test_product({1, 8, 8, deep, Half::f16, Store::half, 0.5f}, own);
      test_product({130, 40, 136, deep, Half::f16, Store::add_f32, 4.0f}, own);
      test_product({33, 72, 24, deep, Half::f16, Store::f32, 0.25f}, own);
    }
  }
  const auto refuses = [](Product product) {
    return launch_product(product, test_stream().get()) == cudaErrorInvalidValue;
  };
  expect(refuses({nullptr, nullptr, nullptr, 8, 8, 12, 16, 16, 8, false, Store::f32}), "a depth of 12 is refused");
  expect(refuses({nullptr, nullptr, nullptr, 8, 8, 16, 20, 16, 8, false, Store::f32}),
         "a left stride of 20 is refused");
  expect(refuses({nullptr, nullptr, nullptr, 8, 8, 16, 16, 20, 8, false, Store::f32}),
         "a right stride of 20 is refused");
  expect(refuses({nullptr, nullptr, nullptr, 8, 12, 16, 16, 16, 12, true, Store::f32}),
         "12 columns of a deep product are refused");
}

struct VectorCase {
  int64_t outputs, depth;
  int32_t batch;
  WeightFormat format;
  bool normed, has_bias;
  VectorStore store;
  DeviceSize device;
  int32_t stages = 0, blocks = 1;
  bool is_skinny = false;
};

// By launch_skinny_product, with guarded room of its own.
cudaError_t launch_skinny(const VectorProduct &product, cudaStream_t stream) {
  const int64_t count = skinny_partial_floats(product);
  const auto partial = upload(std::vector<float>(static_cast<size_t>(count + 1), NAN));
  const cudaError_t error = launch_skinny_product(product, count > 0 ? partial.data() : nullptr, stream);
  expect(std::isnan(download(partial).back()), "partial sums stay within their room");
  return error;
}

void test_vector_product(const VectorCase &c) {
  const bool pairs = c.store == VectorStore::swiglu;
  const int64_t rows = pairs ? 2 * c.outputs : c.outputs;
  const std::string name = std::string(c.is_skinny ? "skinny" : "vector") + " product " + std::to_string(c.outputs) +
                           "x" + std::to_string(c.depth) + ", batch " + std::to_string(c.batch) + name_of(c.format) +
                           (c.normed ? " normed" : "") +
                           (c.store == VectorStore::bf16  ? " to bf16"
                            : c.store == VectorStore::f32 ? " to fp32"
                            : pairs                       ? " swiglu"
                                                          : " added");
  Random random(static_cast<uint64_t>(c.outputs + c.batch));
  const auto norm = random.values(c.depth, 2.0), bias = random.values(rows),
             before = random.values(c.batch * c.outputs, 50.0);
  // Vectors of unlike sizes; where they are normed, the second is so small that eps counts.
  auto vectors = random.values(c.batch * c.depth);
  for (int64_t i = 0; i < c.batch * c.depth; i++)
    vectors[static_cast<size_t>(i)] *= i / c.depth % 3 == 1 ? 3e-3f : i / c.depth % 3 == 2 ? 5.0f : 1.0f;
  if (!c.normed) vectors = round_bf16(vectors);
  const TestWeights weights(random, c.format, rows, c.depth);
  const auto x = upload(to_bf16(vectors));
  const auto h = upload(vectors), n = upload(norm), b = upload(bias);
  constexpr float EPS = 1e-5f;
  std::vector<double> expected;
  for (int64_t i = 0; i < c.batch; i++) {
    const float *vector = vectors.data() + i * c.depth;
    double square = 0;
    for (int64_t j = 0; j < c.depth; j++) square += static_cast<double>(vector[j]) * vector[j];
    const double scale = 1 / std::sqrt(square / static_cast<double>(c.depth) + static_cast<double>(EPS));
    std::vector<double> y;
    for (int64_t row = 0; row < rows; row++) {
      double sum = 0;
      for (int64_t j = 0; j < c.depth; j++) {
        // Normed vectors are rounded to bf16 before the product.
        const double element =
            c.normed
                ? bf16_to_float(float_to_bf16(static_cast<float>(vector[j] * scale * norm[static_cast<size_t>(j)])))
                : vector[j];
        sum += element * weights.values[static_cast<size_t>(row * c.depth + j)];
      }
      y.push_back(sum + (c.has_bias ? static_cast<double>(bias[static_cast<size_t>(row)]) : 0));
    }
    for (int64_t o = 0; o < c.outputs; o++) {
      expected.push_back(pairs ? y[static_cast<size_t>(o)] / (1 + std::exp(-y[static_cast<size_t>(o)])) *
                                     y[static_cast<size_t>(o + c.outputs)]
                               : y[static_cast<size_t>(o)]);
    }
  }
  VectorProduct product{};
  weights.set(product);
  product.bias = c.has_bias ? b.data() : nullptr;
  if (c.normed) {
    product.hidden = h.data(), product.norm = n.data(), product.eps = EPS;
  } else {
    product.x = x.data();
  }
  product.depth = c.depth, product.outputs = c.outputs, product.batch = c.batch, product.store = c.store;
  product.device = c.device, product.stages = c.stages, product.blocks_a_multiprocessor = c.blocks;
  const auto launch = [&](void *out, cudaStream_t stream) {
    product.out = out;
    return c.is_skinny ? launch_skinny(product, stream) : launch_vector_product(product, stream);
  };
  // A normed element within fp32's rounding of a tie may land on bf16's other side.
  const double slack = c.normed ? tolerance::normed_product : tolerance::fp32_product;
  if (c.store == VectorStore::bf16 || pairs) {
    const auto out = run_launch<uint16_t>(name, c.batch * c.outputs,
                                          [&](uint16_t *to, cudaStream_t stream) { return launch(to, stream); });
    if (c.normed) {
      expect_within(worst_row_error(from_bf16(out), expected, c.outputs), slack + 0x1p-8, name);
    } else {
      expect_rounded(out, expected, c.outputs, Half::bf16, name);
    }
  } else {
    auto out = run_launch<float>(
        name, c.batch * c.outputs, [&](float *to, cudaStream_t stream) { return launch(to, stream); }, before);
    double worst = 0;
    for (int64_t i = 0; i < c.batch; i++) {
      double largest = 0, error = 0;
      for (int64_t o = i * c.outputs; o < (i + 1) * c.outputs; o++) {
        const double base = c.store == VectorStore::add_f32 ? before[static_cast<size_t>(o)] : 0,
                     wanted = expected[static_cast<size_t>(o)];
        largest = worse(largest, std::fabs(wanted));
        error = worse(error, std::max(0.0, std::fabs(out[static_cast<size_t>(o)] - base - wanted) -
                                               (std::fabs(base) + std::fabs(wanted)) * 0x1p-23));
      }
      worst = worse(worst, error / largest);
    }
    expect_within(worst, slack, name);
  }
}

// Logits that are NaN or infinite are found by the product that writes them; of a skinny one in the last vector of two
// and in one whose depth is not split, and in the kernel that adds splits.
void test_bad_logits(bool is_skinny, int32_t multiprocessors) {
  const int64_t outputs = 40, depth = 72, batch = 2;  // 72: what lies behind a row's end is the next row's infinity
  auto weight = round_bf16(Random(1).values(outputs * depth));
  std::vector<float> x(static_cast<size_t>(batch * depth), 1.0f);
  weight[17 * depth + 3] = weight[30 * depth] = INFINITY;
  x[static_cast<size_t>(depth + 3)] = 0.0f;  // 0·∞ in the second vector, ∞ in the first
  const auto w = upload(to_bf16(weight)), v = upload(to_bf16(x));
  for (const int32_t before : {NONE_BAD, 5}) {
    const auto found = run_launch<int32_t>(
        "bad logits", batch,
        [&](int32_t *first_bad, cudaStream_t stream) {
          DeviceBuffer<float> out(batch * outputs);
          VectorProduct product{};
          product.weight = w.data(), product.x = v.data(), product.depth = depth, product.outputs = outputs,
          product.batch = batch, product.out = out.data();
          product.store = VectorStore::f32, product.device = {multiprocessors, 99 << 10}, product.first_bad = first_bad;
          return is_skinny ? launch_skinny(product, stream) : launch_vector_product(product, stream);
        },
        {before, before});
    expect(found[0] == std::min(before, 17) && found[1] == std::min(before, 17),
           "the first logit that is not finite is found");
  }
}

OP_TEST(product, launch_vector_product) {
  const DeviceSize device{4, 227 << 10}, small{3, 99 << 10}, single{1, 99 << 10};
  constexpr WeightFormat BF16 = WeightFormat::bf16, INT8 = WeightFormat::int8;
  for (const WeightFormat format : {BF16, INT8, WeightFormat::int4, WeightFormat::scaled8, WeightFormat::affine8}) {
    for (const bool normed : {false, true}) {
      const int64_t depth = format == BF16 ? 328 : format == INT8 ? 336 : 608;
      test_vector_product({37, depth, 1, format, normed, true, VectorStore::bf16, device});
      test_vector_product({37, depth, 3, format, normed, false, VectorStore::f32, device});
      test_vector_product({41, depth, 8, format, normed, true, VectorStore::add_f32, device});
      test_vector_product({has_groups(format) ? 24 : 19, depth, 2, format, normed, true, VectorStore::swiglu, device});
    }
  }
  test_vector_product({5, 9056, 2, WeightFormat::int4, true, true, VectorStore::f32, small});
  test_vector_product({300, 32, 1, WeightFormat::affine8, false, false, VectorStore::add_f32, {1, 227 << 10}});
  // More than one group of rounds per block: a warp for all of the depth, all warps for it, in several pieces of it.
  test_vector_product({700, 64, 8, BF16, false, true, VectorStore::add_f32, single});
  test_vector_product({90, 2048, 8, INT8, true, false, VectorStore::f32, single});
  test_vector_product({70, 9056, 8, WeightFormat::int4, false, false, VectorStore::bf16, single});
  // 9008: two pieces of the depth, three where a block has less shared memory; 700 outputs: more outputs of a block than
  // threads.
  test_vector_product({5, 9008, 2, BF16, true, true, VectorStore::swiglu, device});
  test_vector_product({3, 9008, 8, INT8, false, true, VectorStore::f32, small, 9});
  test_vector_product({1, 8, 1, BF16, false, true, VectorStore::f32, device, 2});
  test_vector_product({700, 16, 1, INT8, false, true, VectorStore::bf16, single, 3});
  test_vector_product({700, 64, 1, BF16, false, false, VectorStore::add_f32, {1, 227 << 10}});
  test_vector_product({300, 128, 8, BF16, false, false, VectorStore::add_f32, {1, 227 << 10}, 0, 2});
  test_vector_product({40, 2048, 3, BF16, false, true, VectorStore::add_f32, {1, 227 << 10}});
  test_vector_product({9, 4096, 4, BF16, true, false, VectorStore::f32, device, 4});
  test_bad_logits(false, 3);
  const auto refuses = [](int64_t depth, int32_t batch, WeightFormat format, VectorStore store = VectorStore::f32) {
    VectorProduct product{};
    product.depth = depth, product.outputs = 12, product.batch = batch, product.format = format, product.store = store,
    product.device = {1, 99 << 10};
    return launch_vector_product(product, test_stream().get()) == cudaErrorInvalidValue;
  };
  expect(refuses(12, 1, BF16), "a depth of 12 is refused");
  expect(refuses(24, 1, INT8), "a depth of 24 of int8 weights is refused");
  expect(refuses(48, 1, WeightFormat::int4), "a depth of 48 of weights in groups is refused");
  expect(refuses(32, 1, WeightFormat::scaled8, VectorStore::swiglu), "12 pairs of rows in groups are refused");
  expect(refuses(16, 0, BF16) && refuses(16, 9, BF16), "0 and 9 vectors are refused");
}

// A vector's result has the same bits whatever others there are, and however many: its sums' order is its matrix's.
void test_skinny_alone(WeightFormat format, VectorStore store) {
  const int64_t outputs = 40, depth = 1088, batch = 40;
  const DeviceSize device{4, 227 << 10};
  Random random(9);
  const TestWeights weights(random, format, store == VectorStore::swiglu ? 2 * outputs : outputs, depth);
  const auto x = upload(to_bf16(random.values(batch * depth)));
  const auto multiply = [&](int64_t first, int64_t count) {
    DeviceBuffer<uint16_t> out(count * outputs);
    VectorProduct product{};
    weights.set(product);
    product.x = x.data() + first * depth, product.depth = depth, product.outputs = outputs;
    product.batch = static_cast<int32_t>(count), product.out = out.data(), product.store = store;
    product.device = device;
    check(launch_skinny(product, test_stream().get()), "a skinny product");
    return download(out);
  };
  const auto all = multiply(0, batch);
  for (const auto &[first, count] : std::vector<std::array<int64_t, 2>>{{0, 1}, {3, 9}, {11, 17}, {39, 1}}) {
    const auto some = multiply(first, count);
    expect(std::equal(some.begin(), some.end(), all.begin() + first * outputs),
           "vectors " + std::to_string(first) + " and on, " + std::to_string(count) + " of 40" + name_of(format) +
               ": the same bits");
  }
}

OP_TEST(product, launch_skinny_product) {
  const DeviceSize device{4, 227 << 10}, small{3, 99 << 10}, single{1, 227 << 10};
  constexpr WeightFormat BF16 = WeightFormat::bf16, INT8 = WeightFormat::int8, INT4 = WeightFormat::int4;
  const auto test = [](VectorCase c) {
    c.is_skinny = true;
    test_vector_product(c);
  };
  for (const WeightFormat format : {BF16, INT8, INT4, WeightFormat::scaled8, WeightFormat::affine8}) {
    // Depths that end within a step, and in groups within a superblock too; in splits, and whole.
    const int64_t depth = format == BF16 ? 328 : format == INT8 ? 336 : 608;
    for (const DeviceSize &size : {device, single}) {
      test({37, depth, 9, format, false, true, VectorStore::bf16, size});
      test({41, depth, 17, format, false, true, VectorStore::add_f32, size});
      test({has_groups(format) ? 24 : 19, depth, 33, format, false, true, VectorStore::swiglu, size});
    }
    test({5, depth, 1, format, false, false, VectorStore::f32, device});
    test({37, depth, 8, format, false, true, VectorStore::f32, device});
    test({41, depth, 64, format, false, false, VectorStore::f32, device});
    // More rows than a tile, also of pairs; several items per block; shared memory for 16 or 32 vectors at a time.
    test({299, 64, 9, format, false, true, VectorStore::f32, {2, 227 << 10}});
    test({531, 64, 9, format, false, true, VectorStore::bf16, {2, 227 << 10}});
    test({format == BF16 ? 131 : 136, 160, 9, format, false, true, VectorStore::swiglu, single});
    test({19, 352, 35, format, false, true, VectorStore::add_f32, small});
    test_skinny_alone(format, VectorStore::bf16);
  }
  test_skinny_alone(INT4, VectorStore::swiglu);
  // Steps by the ring's longest way round, and by two stages.
  test({3, 4104, 9, BF16, false, true, VectorStore::f32, {1, 227 << 10}, 6});
  test({3, 4096, 9, INT4, false, true, VectorStore::f32, {1, 227 << 10}, 2});
  test({1, 8, 1, BF16, false, true, VectorStore::f32, device});
  test_bad_logits(true, 3);
  test_bad_logits(true, 1);
  const auto refuses = [](int64_t depth, int32_t batch, WeightFormat format, VectorStore store = VectorStore::f32,
                          int64_t shared_bytes = 99 << 10, const float *hidden = nullptr) {
    float room = 0;
    VectorProduct product{};
    product.depth = depth, product.outputs = 12, product.batch = batch, product.format = format, product.store = store,
    product.hidden = hidden, product.device = {1, static_cast<int32_t>(shared_bytes)};
    return launch_skinny_product(product, &room, test_stream().get()) == cudaErrorInvalidValue;
  };
  expect(refuses(12, 9, BF16), "a depth of 12 is refused");
  expect(refuses(24, 9, INT8), "a depth of 24 of int8 weights is refused");
  expect(refuses(48, 9, INT4), "a depth of 48 of weights in groups is refused");
  expect(refuses(32, 9, WeightFormat::scaled8, VectorStore::swiglu), "12 pairs of rows in groups are refused");
  expect(refuses(16, 0, BF16) && refuses(16, 65, BF16), "0 and 65 vectors are refused");
  expect(refuses(32, 9, INT4, VectorStore::f32, 64 << 10), "64 KB of shared memory are refused");
  const float hidden = 0;
  expect(refuses(16, 9, BF16, VectorStore::f32, 99 << 10, &hidden), "hidden states are refused");
  VectorProduct split{};
  split.depth = 4096, split.outputs = 12, split.batch = 9, split.device = device;
  expect(skinny_partial_floats(split) > 0 &&
             launch_skinny_product(split, nullptr, test_stream().get()) == cudaErrorInvalidValue,
         "splits without room for their sums are refused");
}

}  // namespace

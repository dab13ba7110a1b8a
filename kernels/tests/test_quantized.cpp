// Blocks of GGUF files: dequantisation against the values of the Python package gguf (test/golden/gguf), products from
// blocks against their plain twin on every instruction set, and the scan for scales that are not numbers.
#include <algorithm>
#include <fstream>
#include <iterator>

#include "check.h"
#include "core/gguf_blocks.h"
#include "core/packed_weights.h"
#include "cpu/layer_ops.h"
#include "quantized_values.h"
#include "simd_variants.h"

using namespace duo;

namespace {

// fp32 sums over the depth of a product: a few units of rounding.
constexpr double TOLERANCE = 2e-6;

std::vector<uint8_t> read_golden(Dtype dtype, const char *ending) {
  std::ifstream file(std::string(DUO_GOLDEN_FOLDER "/") + dtype_name(dtype) + ending, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void test_golden(Dtype dtype) {
  const std::string name = dtype_name(dtype);
  const auto blocks = read_golden(dtype, ".blocks"), bytes = read_golden(dtype, ".f32");
  std::vector<float> expected(bytes.size() / 4), values(expected.size());
  std::memcpy(expected.data(), bytes.data(), bytes.size());
  expect(
      expected.size() == 512 && static_cast<int64_t>(blocks.size()) == 512 / block_elements(dtype) * block_bytes(dtype),
      name + " golden sizes");
  dequantize(dtype, blocks.data(), 512, values.data());
  expect(std::memcmp(values.data(), expected.data(), bytes.size()) == 0, name + " has the values of the package gguf");
  Random random(3);
  for (int i = 0; i < 200; i++) {
    const int64_t begin = random.integer(0, 511), count = random.integer(0, 512 - begin);
    Guarded piece(count);
    dequantize_range(dtype, blocks.data(), begin, count, piece.data());
    expect(std::equal(piece.data(), piece.data() + count, values.begin() + begin) && piece.is_intact(),
           name + " range");
  }
  expect(find_non_finite_block(dtype, blocks.data(), 512 / block_elements(dtype)) == 512 / block_elements(dtype),
         name + " is finite");
}

void test_linear(const CpuContext &context, Random &random, int64_t rows, int64_t out, int64_t in, Dtype dtype) {
  const std::string name = std::string(context.ops.name) + " linear " + std::to_string(rows) + "x" +
                           std::to_string(out) + "x" + std::to_string(in) + " " + dtype_name(dtype);
  const auto bytes = draw_blocks(random, dtype, out * in);
  const auto x = random.values(rows * in), dy = random.values(rows * out);
  const Linear linear{{bytes.data(), dtype, out, in}, random.integer(0, 1) ? random.values(out) : std::vector<float>{}};
  for (const bool accumulate : {false, true}) {
    Guarded y(rows * out), dx(rows * in);
    std::vector<float> y_ref = random.values(rows * out), dx_ref = random.values(rows * in);
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

void test_embedding(const CpuContext &context, Random &random, Dtype dtype) {
  const auto bytes = draw_blocks(random, dtype, 5 * 512);
  const Tensor embedding{bytes.data(), dtype, 5, 512};
  const int32_t tokens[] = {4, 0, 4};
  std::vector<float> out(3 * 512), expected(5 * 512);
  dequantize(dtype, bytes.data(), 5 * 512, expected.data());
  embed_tokens(context, embedding, tokens, 3, out.data());
  for (int64_t row = 0; row < 3; row++) {
    expect(std::equal(out.begin() + row * 512, out.begin() + (row + 1) * 512, expected.begin() + tokens[row] * 512),
           std::string("embedding ") + dtype_name(dtype));
  }
}

// Every float16 field of every type, set to infinity in the last block.
void test_non_finite(Dtype dtype) {
  const auto blocks = read_golden(dtype, ".blocks");
  int64_t found = 0;
  std::vector<float> values(512);
  const int64_t count = 512 / block_elements(dtype), at = count - 1;
  for (int64_t offset = 0; offset + 1 < block_bytes(dtype); offset += 2) {
    auto damaged = blocks;
    uint8_t *block = damaged.data() + at * block_bytes(dtype);
    block[offset] = 0, block[offset + 1] = 0x7c;
    dequantize(dtype, damaged.data(), 512, values.data());
    const bool is_finite = std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
    expect((find_non_finite_block(dtype, damaged.data(), count) == count) == is_finite,
           std::string(dtype_name(dtype)) + " infinity at byte " + std::to_string(offset));
    found += !is_finite;
  }
  expect(found >= 1, std::string(dtype_name(dtype)) + " has a scale");
}

// What a GPU keeps of blocks: the values themselves, but for a K-quant's products of two scales, which fp16 rounds by
// 2^-11 at most.
void test_packing(Dtype dtype) {
  const auto blocks = read_golden(dtype, ".blocks");
  std::vector<float> values(512);
  dequantize(dtype, blocks.data(), 512, values.data());
  const bool is_exact = block_elements(dtype) == 32;
  for (const WeightFormat format : {format_of_blocks(dtype), WeightFormat::affine8}) {
    for (const int64_t rows : {1, 2}) {
      const PackedShape shape{format, rows, 512 / rows};
      const std::string name = std::string(dtype_name(dtype)) + " in " + std::to_string(rows) + " rows, format " +
                               std::to_string(static_cast<int>(format));
      std::vector<uint8_t> codes(static_cast<size_t>(shape.code_bytes()) + 1, 0xaa);
      std::vector<uint32_t> scales(static_cast<size_t>(shape.scale_words()) + 1, 0xaaaaaaaa);
      expect(pack_blocks(dtype, shape, blocks.data(), codes.data(), scales.data()), name + " is within fp16");
      expect(codes.back() == 0xaa && scales.back() == 0xaaaaaaaa, name + " stays inside");
      double worst = 0;
      for (int64_t row = 0; row < rows; row++) {
        std::vector<double> got(static_cast<size_t>(shape.columns));
        unpack_row(shape, codes.data(), scales.data(), row, got.data());
        // A group's terms are each as large as its largest value twice over at most: scale·code and minimum.
        for (int64_t begin = 0; begin < shape.columns; begin += 16) {
          const float *wanted = values.data() + row * shape.columns + begin;
          double largest = 0;
          for (int i = 0; i < 16; i++) largest = std::max(largest, std::fabs(static_cast<double>(wanted[i])));
          for (int i = 0; i < 16; i++) {
            const double error = std::fabs(got[static_cast<size_t>(begin + i)] - static_cast<double>(wanted[i]));
            worst = std::max(worst, is_exact ? error / (std::fabs(static_cast<double>(wanted[i])) + 1e-9)
                                             : error / (largest + 1e-9));
          }
        }
      }
      expect_within(worst, is_exact ? 0x1p-22 : 3 * 0x1p-11, name);
    }
  }
  auto large = blocks;
  const bool has_product = !is_exact;
  if (has_product) {
    for (int64_t i = 1; i < block_bytes(dtype); i += 2) {
      if (is_scale_byte(dtype, i)) large[static_cast<size_t>(i)] = 0x7b;  // near 65504
    }
    const PackedShape shape{format_of_blocks(dtype), 1, 512};
    std::vector<uint8_t> codes(static_cast<size_t>(shape.code_bytes()));
    std::vector<uint32_t> scales(static_cast<size_t>(shape.scale_words()));
    expect(!pack_blocks(dtype, shape, large.data(), codes.data(), scales.data()),
           std::string(dtype_name(dtype)) + ": scales past fp16 are seen");
  }
}

}  // namespace

int main() {
  for (const Dtype dtype : QUANTIZED_TYPES) {
    test_packing(dtype);
    test_golden(dtype);
    test_non_finite(dtype);
  }
  for (const auto &[format, eighths] : {std::pair<WeightFormat, int64_t>{WeightFormat::int4, 5},
                                        {WeightFormat::scaled8, 9},
                                        {WeightFormat::affine8, 10}}) {
    const PackedShape shape{format, 16, 4096};
    expect(shape.code_bytes() + 4 * shape.scale_words() == 16 * 4096 * eighths / 8,
           "a weight takes " + std::to_string(eighths) + " eighths of a byte");
  }
  ThreadPool one(1), three(3);
  for (const SimdOps *ops : list_simd_ops()) {
    const CpuContext context{three, *ops, DUO_COMPUTE_ACCURATE};
    Random random(11);
    for (const Dtype dtype : QUANTIZED_TYPES) {
      const int64_t step = block_elements(dtype);
      const int64_t shapes[][3] = {
          {1, 9, step}, {1, 33, 3 * step}, {8, 5, step}, {9, 7, 2 * step}, {13, ops->tile_columns + 1, 3 * step},
          {20, 70, 512}};
      for (const auto &shape : shapes) test_linear(context, random, shape[0], shape[1], shape[2], dtype);
      test_embedding(context, random, dtype);
      const auto x = random.values(40 * 512);
      const auto weights = draw_blocks(random, dtype, 90 * 512);
      std::vector<float> a(40 * 90), b(40 * 90);
      const Linear linear{{weights.data(), dtype, 90, 512}, {}};
      multiply_linear({one, *ops, DUO_COMPUTE_ACCURATE}, linear, x.data(), 512, 40, a.data(), 90, false);
      multiply_linear(context, linear, x.data(), 512, 40, b.data(), 90, false);
      expect(std::memcmp(a.data(), b.data(), a.size() * 4) == 0,
             std::string(ops->name) + " product differs between 1 and 3 threads");
    }
  }
  return finish("test_quantized");
}

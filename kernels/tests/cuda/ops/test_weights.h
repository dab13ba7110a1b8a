// Random weights in every format, on the device and as fp64 values.
#pragma once
#include "cuda/matvec.h"
#include "cuda/packed_weights.h"
#include "op_test.h"

namespace duo::test {

inline std::string name_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::int8: return " int8";
    case WeightFormat::int4: return " int4";
    case WeightFormat::scaled8: return " scaled8";
    case WeightFormat::affine8: return " affine8";
    default: return "";
  }
}

struct TestWeights {
  WeightFormat format;
  int64_t rows, columns;
  std::vector<double> values;  // [rows, columns]
  DeviceBuffer<uint8_t> bytes;
  DeviceBuffer<uint32_t> scales;
  DeviceBuffer<float> row_scale;

  TestWeights(Random &random, WeightFormat given, int64_t num_rows, int64_t num_columns)
      : format(given), rows(num_rows), columns(num_columns) {
    values.resize(static_cast<size_t>(rows * columns));
    if (format == WeightFormat::bf16) {
      const auto drawn = round_bf16(random.values(rows * columns));
      const auto narrowed = to_bf16(drawn);
      std::copy(drawn.begin(), drawn.end(), values.begin());
      const auto *raw = reinterpret_cast<const uint8_t *>(narrowed.data());
      bytes = upload(std::vector<uint8_t>(raw, raw + narrowed.size() * sizeof(uint16_t)));
      return;
    }
    if (format == WeightFormat::int8) {
      std::vector<uint8_t> codes;
      std::vector<float> scale;
      for (int64_t row = 0; row < rows; row++) scale.push_back(0.01f * (1.0f + random.value() / 2));
      for (auto &value : values) {
        const auto code = static_cast<int8_t>(random.integer(-127, 127));
        value = static_cast<double>(code) *
                static_cast<double>(scale[static_cast<size_t>(&value - values.data()) / static_cast<size_t>(columns)]);
        codes.push_back(static_cast<uint8_t>(code));
      }
      bytes = upload(codes), row_scale = upload(scale);
      return;
    }
    // Scales of unlike size, and of either sign; what lies past the columns and rows is zero.
    const PackedShape shape{format, rows, columns};
    std::vector<uint8_t> codes(static_cast<size_t>(shape.code_bytes()));
    std::vector<uint32_t> words(static_cast<size_t>(shape.scale_words()));
    for (auto &code : codes) code = static_cast<uint8_t>(random.integer(0, 255));
    for (auto &word : words) {
      const float low = 0.05f * random.value(),
                  high = format == WeightFormat::scaled8 ? 0.01f + 0.05f * random.value() : 0.3f * random.value();
      word = static_cast<uint32_t>(float_to_f16(low)) | static_cast<uint32_t>(float_to_f16(high)) << 16;
    }
    for (int64_t row = 0; row < rows; row++)
      unpack_row(shape, codes.data(), words.data(), row, values.data() + row * columns);
    bytes = upload(codes), scales = upload(words);
  }
  cuda::PackedMatrix packed() const {
    return format == WeightFormat::int8
               ? cuda::PackedMatrix::of_int8(rows, columns, reinterpret_cast<const int8_t *>(bytes.data()),
                                             row_scale.data())
               : cuda::PackedMatrix::of({format, rows, columns}, bytes.data(), scales.data());
  }
  void set(cuda::VectorProduct &product) const {
    product.weight = bytes.data(), product.format = format, product.row_scale = row_scale.data(),
    product.scales = scales.data();
  }
};

}  // namespace duo::test

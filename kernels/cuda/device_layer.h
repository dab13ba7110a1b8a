// A layer's weights in device memory: matrices in one of WeightFormat's, products of one input joined into one matrix.
#pragma once
#include <array>

#include "cuda/packed_weights.h"
#include "cuda/runtime.h"

namespace duo::cuda {

// Weights as f16: value = unit · f16, unit a power of two that puts the greatest near 2^14, so that what bf16 holds
// stays exact down to 2^-28 of it.
struct F16Matrix {
  DeviceBuffer<uint16_t> values;
  float unit = 1.0f;
};

// y = x·Wᵀ + bias. Weights [rows, columns] in one of WeightFormat's.
struct DeviceMatrix {
  int64_t rows = 0, columns = 0;
  WeightFormat format = WeightFormat::bf16;
  DeviceBuffer<bf16> values;      // of bf16
  DeviceBuffer<uint8_t> codes;    // of the others
  DeviceBuffer<float> row_scale;  // of int8
  DeviceBuffer<uint32_t> scales;  // of formats with groups
  DeviceBuffer<float> bias;       // empty where there is none
  F16Matrix f16;                  // empty until CudaModel::require_f16
  int64_t bytes() const { return values.bytes() + codes.bytes() + row_scale.bytes() + scales.bytes() + bias.bytes(); }
  PackedShape shape() const { return {format, rows, columns}; }
  // Of any format but bf16.
  PackedMatrix packed() const {
    return format == WeightFormat::int8
               ? PackedMatrix::of_int8(rows, columns, reinterpret_cast<const int8_t *>(codes.data()), row_scale.data())
               : PackedMatrix::of(shape(), codes.data(), scales.data());
  }
};

struct DeviceLayer {
  DeviceBuffer<float> input_norm, post_attention_norm, query_norm, key_norm;
  DeviceMatrix qkv;      // [(H + 2G)·D, C]: query rows, key rows, value rows
  DeviceMatrix output;   // [C, H·D]
  DeviceMatrix gate_up;  // [2·I, C]: gate rows, up rows
  DeviceMatrix down;     // [C, I]
  std::array<DeviceMatrix *, 4> matrices() { return {&qkv, &output, &gate_up, &down}; }
  std::array<const DeviceMatrix *, 4> matrices() const { return {&qkv, &output, &gate_up, &down}; }
  int64_t bytes() const {
    int64_t bytes = input_norm.bytes() + post_attention_norm.bytes() + query_norm.bytes() + key_norm.bytes();
    for (const DeviceMatrix *matrix : matrices()) bytes += matrix->bytes();
    return bytes;
  }
};

}  // namespace duo::cuda

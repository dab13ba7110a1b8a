// Linear layers over weights in panels (block_panels.h): fp32 activations as they are, or rounded to int8 in blocks of
// 32.
#pragma once
#include <cstdint>

#include "cpu/linear.h"

namespace duo {

// Whether multiply_blocks is the path for this many rows: all of them where activations become int8, else few.
bool takes_blocks(const CpuContext &context, const Linear &linear, int64_t rows);

// Each output's y [rows, out] = (or +=) x·Wᵀ + bias, of layers with panels that share x. Activations are rounded once
// for all.
void multiply_blocks(const CpuContext &context, const float *x, int64_t x_stride, int64_t rows,
                     const LinearOutput *outputs, int64_t num_outputs);

// panel[k][tile_columns] = fp32 weights of rows [column, column + tile_columns) at depth [begin, begin + length), 0 for
// rows beyond the last.
void dequantize_tile(const CpuContext &context, const BlockPanels &panels, int64_t column, int64_t begin,
                     int64_t length, float *panel);

}  // namespace duo

// Items are runs of panels by runs of rows; what an item computes does not depend on how the work is cut.
#include "cpu/linear_blocks.h"

#include <algorithm>

#include "cpu/cpu_features.h"
#include "cpu/scratch.h"

namespace duo {
namespace {

// Up to here fp32 activations meet each panel as it is unpacked; beyond, tiles of weights are widened once for many
// rows.
constexpr int64_t MAX_F32_ROWS = 8;
// Rows of an item, so that their codes stay in the second-level cache; a multiple of every tile of rows.
constexpr int64_t ITEM_ROWS = 256;
// Rows that are rounded by one item.
constexpr int64_t ROUNDED_ROWS = 16;
// Items a thread should find, so that all end together, and panels an item has at most.
constexpr int64_t ITEMS_A_THREAD = 8, MAX_ITEM_PANELS = 64;

// x of all rows, ready for the products; memory is the caller's thread's.
struct Activations {
  Int8Rows int8;
  F32Rows f32;
  bool is_int8;
};

Activations prepare(const CpuContext &context, const BlockOps &ops, const float *x, int64_t x_stride, int64_t rows,
                    int64_t depth) {
  const bool is_int8 = context.compute == DUO_COMPUTE_INT8;
  const int64_t num_scales = rows * (depth / DEPTH_CHUNK), num_sums = rows * (depth / 16),
                num_codes = is_int8 ? (rows * depth + 3) / 4 : 0;
  float *sums = thread_scratch(ScratchUse::activations, num_sums + num_scales + num_codes), *scales = sums + num_sums;
  int8_t *codes = reinterpret_cast<int8_t *>(scales + num_scales);
  const int64_t num_items = (rows + ROUNDED_ROWS - 1) / ROUNDED_ROWS;
  context.run(num_items, [&](int64_t item, int64_t) {
    for (int64_t row = item * ROUNDED_ROWS; row < std::min(rows, (item + 1) * ROUNDED_ROWS); row++) {
      float *row_sums = sums + row * (depth / 16);
      if (is_int8) {
        ops.quantize(x + row * x_stride, depth, codes + row * depth, scales + row * (depth / DEPTH_CHUNK), row_sums);
      } else {
        ops.sum_sixteens(x + row * x_stride, depth, row_sums);
      }
    }
  });
  return {{codes, scales, sums, depth}, {x, x_stride, sums, depth}, is_int8};
}

void multiply_panel(const BlockOps &ops, const LinearOutput &output, int64_t index, const Activations &x, int64_t first,
                    int64_t rows) {
  const Linear &linear = *output.linear;
  const int64_t column = index * PANEL_ROWS, columns = std::min(PANEL_ROWS, linear.out() - column), depth = linear.in();
  const BlockPanel panel = linear.panels.panel(index);
  float *y = output.y + first * output.y_stride + column;
  if (x.is_int8) {
    const Int8Rows from{x.int8.codes + first * depth, x.int8.scales + first * (depth / DEPTH_CHUNK),
                        x.int8.sums + first * (depth / 16), depth};
    ops.multiply_int8(panel, from, rows, y, output.y_stride, columns, output.accumulate);
  } else {
    const F32Rows from{x.f32.values + first * x.f32.stride, x.f32.stride, x.f32.sums + first * (depth / 16), depth};
    ops.multiply_f32(panel, from, rows, y, output.y_stride, columns, output.accumulate);
  }
  if (linear.bias.empty()) return;
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t i = 0; i < columns; i++) y[row * output.y_stride + i] += linear.bias[static_cast<size_t>(column + i)];
  }
}

}  // namespace

bool takes_blocks(const CpuContext &context, const Linear &linear, int64_t rows) {
  return !linear.panels.empty() && (context.compute == DUO_COMPUTE_INT8 || rows <= MAX_F32_ROWS);
}

void multiply_blocks(const CpuContext &context, const float *x, int64_t x_stride, int64_t rows,
                     const LinearOutput *outputs, int64_t num_outputs) {
  const BlockOps &ops = choose_block_ops(context.ops);
  const Activations activations = prepare(context, ops, x, x_stride, rows, outputs[0].linear->in());
  int64_t num_panels = 0;
  for (int64_t i = 0; i < num_outputs; i++) num_panels += outputs[i].linear->panels.count();
  const int64_t num_row_blocks = (rows + ITEM_ROWS - 1) / ITEM_ROWS,
                wanted = ITEMS_A_THREAD * context.pool.num_threads();
  const int64_t step = std::max<int64_t>(1, std::min(MAX_ITEM_PANELS, num_panels * num_row_blocks / wanted));
  context.run((num_panels + step - 1) / step * num_row_blocks, [&](int64_t item, int64_t) {
    const int64_t first = item % num_row_blocks * ITEM_ROWS, begin = item / num_row_blocks * step;
    int64_t before = 0;  // panels of the outputs before this one
    for (int64_t i = 0; i < num_outputs; i++) {
      const int64_t count = outputs[i].linear->panels.count();
      for (int64_t index = std::max(begin, before); index < std::min(begin + step, before + count); index++) {
        multiply_panel(ops, outputs[i], index - before, activations, first, std::min(ITEM_ROWS, rows - first));
      }
      before += count;
    }
  });
}

void dequantize_tile(const CpuContext &context, const BlockPanels &panels, int64_t column, int64_t begin,
                     int64_t length, float *panel) {
  const BlockOps &ops = choose_block_ops(context.ops);
  const int64_t tile = context.ops.tile_columns;
  for (int64_t at = 0; at < tile; at += PANEL_ROWS) {
    const int64_t index = (column + at) / PANEL_ROWS;
    if (index >= panels.count()) {
      for (int64_t k = 0; k < length; k++)
        std::fill(panel + k * tile + at, panel + k * tile + std::min(tile, at + PANEL_ROWS), 0.0f);
    } else if (tile % PANEL_ROWS == 0) {
      ops.dequantize(panels.panel(index), begin, length, panel + at, tile);
    } else {
      // A tile narrower than a panel takes its part of the lanes.
      float *whole = thread_scratch(ScratchUse::widened, length * PANEL_ROWS);
      ops.dequantize(panels.panel(index), begin, length, whole, PANEL_ROWS);
      for (int64_t k = 0; k < length; k++)
        std::copy_n(whole + k * PANEL_ROWS + column % PANEL_ROWS, tile, panel + k * tile);
    }
  }
}

}  // namespace duo

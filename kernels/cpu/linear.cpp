// Blocked matrix products over packed panels (the scheme of BLIS): x is packed once in row panels, each block of weight
// columns once per block of rows, widened to fp32 on the way (blocks of quantised weights too); a register tile
// multiplies panels. The depth is cut at fixed places, so that a sum's order depends on the shape alone.
#include "cpu/linear.h"

#include <algorithm>

#include "cpu/cpu_features.h"
#include "cpu/linear_blocks.h"
#include "cpu/scratch.h"

namespace duo {
namespace {

// Depth of a panel. Measured against 256 and 512 on 2048×512×2048 with AVX-512: longer panels write the result less
// often, shorter ones (tile_columns·DEPTH·4 bytes, 48 KB here) stay nearer to the core.
constexpr int64_t DEPTH = 384;
// Rows of x packed at once: MAX_ROWS·DEPTH·4 bytes (774 KB), which pass through the second-level cache once for each
// panel of weights.
constexpr int64_t MAX_ROWS = 504;
// Columns of y an item computes: DEPTH·COLUMN_BLOCK·4 bytes of packed weights in the second-level cache.
constexpr int64_t COLUMN_BLOCK = 256;
// Up to here the matrix-vector path reads weights once without packing.
constexpr int64_t MAX_VECTOR_ROWS = 8;
// Weight rows that are dequantised together: as many as multiply_vectors takes side by side, and no more than the
// first-level cache holds.
constexpr int64_t QUANTIZED_ROWS = 4;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Only where elements have an address of their own.
const char *weight_at(const Tensor &weight, int64_t row, int64_t column) {
  return reinterpret_cast<const char *>(weight.data) + (row * weight.columns + column) * dtype_bytes(weight.dtype);
}

struct Product {
  const Linear &linear;
  bool transposed;  // multiply by W instead of Wᵀ
  int64_t depth, columns;
  bool is_rounded;      // x is rounded to bf16 first
  const Bf16Ops *bf16;  // null: fp32 products; else panels hold pairs, and depth counts them
};

// DUO_COMPUTE_BF16 rounds x where the weights are bf16. Pairs need an even depth, and weight rows of an even length to
// be seen as pairs.
Product make_product(const CpuContext &context, const Linear &linear, bool transposed) {
  Product product{linear, transposed, transposed ? linear.out() : linear.in(), transposed ? linear.in() : linear.out(),
                  false,  nullptr};
  product.is_rounded = context.compute == DUO_COMPUTE_BF16 && linear.weight.dtype == Dtype::bf16;
  if (product.is_rounded && product.depth % 2 == 0) product.bf16 = choose_bf16_ops(context.ops);
  if (product.bf16 != nullptr) product.depth /= 2;
  return product;
}

// Panels of x: for each depth block, for each row panel, [depth][tile_rows].
void pack_rows(const CpuContext &context, const Product &product, const float *x, int64_t x_stride, int64_t rows,
               float *packed) {
  const int64_t tile = context.ops.tile_rows, num_panels = (rows + tile - 1) / tile, padded = num_panels * tile,
                depth = product.depth;
  context.run(num_panels, [&](int64_t panel, int64_t) {
    const int64_t row = panel * tile, count = std::min(tile, rows - row);
    const float *from = x + row * x_stride;
    int64_t stride = x_stride;
    if (product.is_rounded) {
      stride = depth;
      float *rounded = thread_scratch(ScratchUse::rounded, tile * depth);
      for (int64_t i = 0; i < count; i++) {
        if (product.bf16 != nullptr) {
          product.bf16->round(from + i * x_stride, 2 * depth, reinterpret_cast<uint16_t *>(rounded + i * stride));
        } else {
          for (int64_t k = 0; k < depth; k++)
            rounded[i * stride + k] = bf16_to_float(float_to_bf16(from[i * x_stride + k]));
        }
      }
      from = rounded;
    }
    for (int64_t begin = 0; begin < depth; begin += DEPTH) {
      const int64_t length = std::min(DEPTH, depth - begin);
      context.ops.pack_transposed(DUO_DTYPE_F32, from + begin, stride, count, length, tile,
                                  packed + begin * padded + panel * length * tile);
    }
  });
}

// The same from blocks: the piece of each weight row is dequantised to fp32, then packed as fp32 weights are.
void pack_quantized(const SimdOps &ops, const Product &product, int64_t column, int64_t width, int64_t begin,
                    int64_t length, float *panel) {
  const Tensor &weight = product.linear.weight;
  const int64_t rows = product.transposed ? length : width, row = product.transposed ? begin : column;
  const int64_t count = product.transposed ? width : length, first = product.transposed ? column : begin;
  float *widened = thread_scratch(ScratchUse::widened, rows * count);
  for (int64_t i = 0; i < rows; i++)
    dequantize_range(weight.dtype, weight.data + (row + i) * weight.row_bytes(), first, count, widened + i * count);
  (product.transposed ? ops.pack_straight : ops.pack_transposed)(DUO_DTYPE_F32, widened, count, width, length,
                                                                 ops.tile_columns, panel);
}

// Columns [column, column + width) of the weights at depth [begin, begin + length).
void pack_weights(const CpuContext &context, const Product &product, int64_t column, int64_t width, int64_t begin,
                  int64_t length, float *panel) {
  const SimdOps &ops = context.ops;
  const Tensor &weight = product.linear.weight;
  if (!product.transposed && !product.linear.panels.empty())
    return dequantize_tile(context, product.linear.panels, column, begin, length, panel);
  if (is_quantized(weight.dtype)) return pack_quantized(ops, product, column, width, begin, length, panel);
  const int32_t dtype = static_cast<int32_t>(weight.dtype);
  if (product.bf16 == nullptr) {
    if (product.transposed) {
      ops.pack_straight(dtype, weight_at(weight, begin, column), weight.columns, width, length, ops.tile_columns,
                        panel);
    } else {
      ops.pack_transposed(dtype, weight_at(weight, column, begin), weight.columns, width, length, ops.tile_columns,
                          panel);
    }
    return;
  }
  if (!product.transposed) {
    // A pair of neighbours in a weight row is one 32-bit element.
    ops.pack_transposed(DUO_DTYPE_F32, weight_at(weight, column, 2 * begin), weight.columns / 2, width, length,
                        ops.tile_columns, panel);
    return;
  }
  for (int64_t k = 0; k < length; k++) {
    product.bf16->interleave(weight_at(weight, 2 * (begin + k), column), weight_at(weight, 2 * (begin + k) + 1, column),
                             width, ops.tile_columns, panel + k * ops.tile_columns);
  }
}

// One item: rows [row_begin, row_end) of the packed chunk by columns [column_begin, column_end).
void multiply_block(const CpuContext &context, const Product &product, const float *packed, int64_t rows,
                    int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end, float *y,
                    int64_t y_stride, bool accumulate) {
  const SimdOps &ops = context.ops;
  const int64_t tile_rows = ops.tile_rows, tile_columns = ops.tile_columns, padded = round_up(rows, tile_rows);
  const auto multiply_tile = product.bf16 != nullptr ? product.bf16->multiply_tile : ops.multiply_tile;
  float *panel = thread_scratch(ScratchUse::weights, DEPTH * tile_columns);
  for (int64_t column = column_begin; column < column_end; column += tile_columns) {
    const int64_t width = std::min(tile_columns, column_end - column);
    for (int64_t begin = 0; begin < product.depth; begin += DEPTH) {
      const int64_t length = std::min(DEPTH, product.depth - begin);
      pack_weights(context, product, column, width, begin, length, panel);
      const bool add = accumulate || begin > 0;
      for (int64_t row = row_begin; row < row_end; row += tile_rows) {
        multiply_tile(length, packed + begin * padded + row / tile_rows * length * tile_rows, panel,
                      y + row * y_stride + column, y_stride, std::min(tile_rows, row_end - row), width, add);
      }
    }
    if (product.transposed || product.linear.bias.empty()) continue;
    for (int64_t row = row_begin; row < row_end; row++) {
      for (int64_t i = 0; i < width; i++)
        y[row * y_stride + column + i] += product.linear.bias[static_cast<size_t>(column + i)];
    }
  }
}

void multiply_packed(const CpuContext &context, const Product &product, const float *x, int64_t x_stride, int64_t rows,
                     float *y, int64_t y_stride, bool accumulate) {
  const int64_t tile_rows = context.ops.tile_rows;
  const int64_t max_rows = std::max<int64_t>(1, MAX_ROWS / tile_rows) * tile_rows;
  const int64_t chunk = std::min(max_rows, round_up(rows, tile_rows));
  ScratchBuffer packed(chunk * product.depth);
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t count = std::min(chunk, rows - first);
    pack_rows(context, product, x + first * x_stride, x_stride, count, packed.data());
    // Enough items to keep every thread busy; how the output is cut does not change any sum.
    const int64_t wanted = 4 * context.pool.num_threads();
    int64_t block = std::min(COLUMN_BLOCK, round_up(product.columns, context.ops.tile_columns));
    while (block > context.ops.tile_columns && (product.columns + block - 1) / block < wanted)
      block = round_up(block / 2, context.ops.tile_columns);
    const int64_t num_columns = (product.columns + block - 1) / block;
    int64_t row_block = round_up(count, tile_rows);
    while (row_block > 16 * tile_rows && num_columns * ((count + row_block - 1) / row_block) < wanted)
      row_block = round_up(row_block / 2, tile_rows);
    const int64_t num_rows = (count + row_block - 1) / row_block;
    context.run(num_rows * num_columns, [&](int64_t item, int64_t) {
      const int64_t row = item % num_rows * row_block, column = item / num_rows * block;
      multiply_block(context, product, packed.data(), count, row, std::min(count, row + row_block), column,
                     std::min(product.columns, column + block), y + first * y_stride, y_stride, accumulate);
    });
  }
}

// y[·, column … column + count) of few rows: a weight row is dequantised to fp32, then multiplied as an fp32 row is.
void multiply_quantized_rows(const SimdOps &ops, const Tensor &weight, int64_t column, int64_t count, const float *x,
                             int64_t x_stride, int64_t rows, float *y, int64_t y_stride, bool accumulate) {
  float *widened = thread_scratch(ScratchUse::widened, QUANTIZED_ROWS * weight.columns);
  for (int64_t first = 0; first < count; first += QUANTIZED_ROWS) {
    const int64_t here = std::min(QUANTIZED_ROWS, count - first);
    dequantize(weight.dtype, weight.data + (column + first) * weight.row_bytes(), here * weight.columns, widened);
    ops.multiply_vectors(DUO_DTYPE_F32, x, x_stride, rows, widened, here, weight.columns, y + column + first, y_stride,
                         accumulate);
  }
}

// Columns [column, column + count) of one output.
void multiply_few_columns(const CpuContext &context, const LinearOutput &output, const float *x, int64_t x_stride,
                          int64_t rows, int64_t column, int64_t count) {
  const Linear &linear = *output.linear;
  if (is_quantized(linear.weight.dtype)) {
    multiply_quantized_rows(context.ops, linear.weight, column, count, x, x_stride, rows, output.y, output.y_stride,
                            output.accumulate);
  } else {
    context.ops.multiply_vectors(static_cast<int32_t>(linear.weight.dtype), x, x_stride, rows,
                                 weight_at(linear.weight, column, 0), count, linear.in(), output.y + column,
                                 output.y_stride, output.accumulate);
  }
  if (linear.bias.empty()) return;
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t i = 0; i < count; i++)
      output.y[row * output.y_stride + column + i] += linear.bias[static_cast<size_t>(column + i)];
  }
}

// Columns of an item: about 64 KB of weights, long enough to stream, and the second pass over rows 5 to 8 finds them in
// the cache. Smaller layers are cut finer, so that threads end together.
int64_t choose_columns(const CpuContext &context, const LinearOutput *outputs, int64_t num_outputs) {
  int64_t bytes = 0, row_bytes = 1;
  for (int64_t i = 0; i < num_outputs; i++) {
    bytes += outputs[i].linear->weight.bytes();
    row_bytes = std::max(row_bytes, outputs[i].linear->weight.row_bytes());
  }
  const int64_t item_bytes = std::min(int64_t{1} << 16, bytes / (8 * context.pool.num_threads()));
  return std::max<int64_t>(8, round_up(item_bytes / row_bytes, 4));
}

// Few rows: every weight row is read once, by whoever claims its block of columns.
void multiply_few_rows(const CpuContext &context, const float *x, int64_t x_stride, int64_t rows,
                       const LinearOutput *outputs, int64_t num_outputs) {
  ScratchBuffer rounded;
  const int64_t depth = outputs[0].linear->in();
  const bool rounds = context.compute == DUO_COMPUTE_BF16;
  if (rounds) {
    rounded.resize(rows * depth);
    for (int64_t row = 0; row < rows; row++) {
      for (int64_t k = 0; k < depth; k++)
        rounded.data()[row * depth + k] = bf16_to_float(float_to_bf16(x[row * x_stride + k]));
    }
  }
  const int64_t block = choose_columns(context, outputs, num_outputs);
  int64_t num_items = 0;
  for (int64_t i = 0; i < num_outputs; i++) num_items += (outputs[i].linear->out() + block - 1) / block;
  context.run(num_items, [&](int64_t item, int64_t) {
    const LinearOutput *output = outputs;
    for (; item >= (output->linear->out() + block - 1) / block; output++)
      item -= (output->linear->out() + block - 1) / block;
    const int64_t column = item * block, count = std::min(block, output->linear->out() - column);
    if (rounds && output->linear->weight.dtype == Dtype::bf16) {
      multiply_few_columns(context, *output, rounded.data(), depth, rows, column, count);
    } else {
      multiply_few_columns(context, *output, x, x_stride, rows, column, count);
    }
  });
}

}  // namespace

void multiply_linears(const CpuContext &context, const float *x, int64_t x_stride, int64_t rows,
                      std::initializer_list<LinearOutput> outputs) {
  if (rows <= 0) return;
  const LinearOutput *all = outputs.begin();
  const auto count = static_cast<int64_t>(outputs.size());
  const auto takes = [&](const LinearOutput &output) { return takes_blocks(context, *output.linear, rows); };
  if (std::all_of(outputs.begin(), outputs.end(), takes))
    return multiply_blocks(context, x, x_stride, rows, all, count);
  if (rows <= MAX_VECTOR_ROWS && std::none_of(outputs.begin(), outputs.end(), takes)) {
    return multiply_few_rows(context, x, x_stride, rows, all, count);
  }
  for (const LinearOutput &output : outputs) {
    if (takes(output)) {
      multiply_blocks(context, x, x_stride, rows, &output, 1);
    } else if (rows <= MAX_VECTOR_ROWS) {
      multiply_few_rows(context, x, x_stride, rows, &output, 1);
    } else {
      multiply_packed(context, make_product(context, *output.linear, false), x, x_stride, rows, output.y,
                      output.y_stride, output.accumulate);
    }
  }
}

void multiply_linear(const CpuContext &context, const Linear &linear, const float *x, int64_t x_stride, int64_t rows,
                     float *y, int64_t y_stride, bool accumulate) {
  multiply_linears(context, x, x_stride, rows, {{&linear, y, y_stride, accumulate}});
}

void multiply_linear_transposed(const CpuContext &context, const Linear &linear, const float *dy, int64_t dy_stride,
                                int64_t rows, float *dx, int64_t dx_stride, bool accumulate) {
  if (rows <= 0) return;
  multiply_packed(context, make_product(context, linear, true), dy, dy_stride, rows, dx, dx_stride, accumulate);
}

}  // namespace duo

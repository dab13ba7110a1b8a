// Attention of one layer: packs keys and values once, gathers query tiles, and hands them to the instruction set's tile
// loops. An item is one tile of one KV head, so results do not depend on which thread computes it.
#include "cpu/attention.h"

#include <algorithm>
#include <cmath>

namespace duo {
namespace {

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

}  // namespace

void LayerPanels::pack(const CpuContext &context, const HeadShape &shape, const float *key, const float *value,
                       int64_t num_keys, bool for_backward) {
  const int64_t tile = context.ops.tile_rows, width = shape.kv_heads * shape.head_dim;
  const int64_t row_panels = (num_keys + tile - 1) / tile;
  num_keys_ = num_keys;
  rows_stride_ = round_up(num_keys, tile) * shape.head_dim;
  straight_stride_ = round_up(shape.head_dim, tile) * num_keys;
  const auto reserve = [&](ScratchBuffer &buffer, int64_t stride) {
    if (buffer.count() < stride * shape.kv_heads) buffer.resize(stride * shape.kv_heads);
  };
  reserve(key_rows_, rows_stride_);
  reserve(value_straight_, straight_stride_);
  if (for_backward) {
    reserve(value_rows_, rows_stride_);
    reserve(key_straight_, straight_stride_);
  }
  // Blocks of 8 row panels, so that a long text of few heads still spreads over the threads.
  const int64_t block = 8 * tile, num_blocks = (row_panels + 7) / 8;
  context.run(shape.kv_heads * num_blocks, [&](int64_t item, int64_t) {
    const int64_t head = item / num_blocks, begin = item % num_blocks * block, end = std::min(num_keys, begin + block);
    const auto pack_one = [&](const float *from, float *rows, float *straight) {
      from += head * shape.head_dim;
      for (int64_t row = begin; rows != nullptr && row < end; row += tile) {
        context.ops.pack_transposed(DUO_DTYPE_F32, from + row * width, width, std::min(tile, end - row), shape.head_dim,
                                    tile, rows + head * rows_stride_ + row * shape.head_dim);
      }
      for (int64_t d = 0; straight != nullptr && d < shape.head_dim; d += tile) {
        context.ops.pack_straight(DUO_DTYPE_F32, from + begin * width + d, width, std::min(tile, shape.head_dim - d),
                                  end - begin, tile,
                                  straight + head * straight_stride_ + (d / tile * num_keys + begin) * tile);
      }
    };
    pack_one(key, key_rows_.data(), for_backward ? key_straight_.data() : nullptr);
    pack_one(value, for_backward ? value_rows_.data() : nullptr, value_straight_.data());
  });
}

KeyValuePanels LayerPanels::head(int64_t kv_head) const {
  const auto at = [kv_head](const ScratchBuffer &buffer, int64_t stride) {
    return buffer.data() == nullptr ? nullptr : buffer.data() + kv_head * stride;
  };
  return {at(key_rows_, rows_stride_), at(value_straight_, straight_stride_), at(value_rows_, rows_stride_),
          at(key_straight_, straight_stride_), num_keys_};
}

int64_t count_tiles(const CpuContext &context, const HeadShape &shape, int64_t num_queries) {
  return (num_queries * shape.group() + context.ops.tile_columns - 1) / context.ops.tile_columns;
}

QueryTile::QueryTile(const CpuContext &context, const HeadShape &shape, const Queries &queries, int64_t kv_head,
                     int64_t tile)
    : shape_(shape), kv_head_(kv_head), columns_(context.ops.tile_columns), first_(tile * columns_) {
  count_ = std::min(columns_, queries.count * shape.group() - first_);
  for (int64_t lane = 0; lane < columns_; lane++) {
    positions[lane] = queries.positions[(first_ + std::min(lane, count_ - 1)) / shape.group()];
  }
}

int64_t QueryTile::row_offset(int64_t lane) const {
  const int64_t row = first_ + lane;
  return (row / shape_.group() * shape_.heads + kv_head_ * shape_.group() + row % shape_.group()) * shape_.head_dim;
}

void QueryTile::gather(const float *values, float scale, float *rows) const {
  for (int64_t lane = 0; lane < columns_; lane++) {
    float *to = rows + lane * shape_.head_dim;
    const float *from = lane < count_ ? values + row_offset(lane) : nullptr;
    for (int64_t d = 0; d < shape_.head_dim; d++) to[d] = from == nullptr ? 0.0f : from[d] * scale;
  }
}

void QueryTile::scatter(const float *columns, float scale, float *values) const {
  for (int64_t lane = 0; lane < count_; lane++) {
    float *to = values + row_offset(lane);
    for (int64_t d = 0; d < shape_.head_dim; d++) to[d] = columns[d * columns_ + lane] * scale;
  }
}

void attend(const CpuContext &context, const HeadShape &shape, const Queries &queries, const LayerPanels &panels,
            const HeadWindows &windows, const BranchNeeds &needs, float *full, float *stream, float *full_lse,
            float *stream_lse) {
  const int64_t num_tiles = count_tiles(context, shape, queries.count), columns = context.ops.tile_columns,
                size = columns * shape.head_dim;
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
  // The last tiles see the most keys: first to be claimed, so that no long item is left at the end.
  context.run(shape.kv_heads * num_tiles, [&](int64_t item, int64_t) {
    const int64_t head = item % shape.kv_heads, tile = num_tiles - 1 - item / shape.kv_heads;
    const bool want_full = needs.full[static_cast<size_t>(head)], want_stream = needs.stream[static_cast<size_t>(head)];
    if (!want_full && !want_stream) return;
    const QueryTile query_tile(context, shape, queries, head, tile);
    float *scratch = thread_scratch(ScratchUse::attention, 4 * size);
    float *rows = scratch, *query = rows + size, *full_out = query + size, *stream_out = full_out + size;
    query_tile.gather(queries.values, scale, rows);
    context.ops.pack_transposed(DUO_DTYPE_F32, rows, shape.head_dim, columns, shape.head_dim, columns, query);
    AttentionForwardTile arguments{};
    arguments.head_dim = shape.head_dim;
    arguments.positions = query_tile.positions;
    arguments.panels = panels.head(head);
    arguments.query = query;
    const int64_t lse_at = (head * num_tiles + tile) * columns;
    if (want_full) {
      arguments.full_out = full_out;
      arguments.full_lse = full_lse + lse_at;
    }
    if (want_stream) {
      arguments.sink = windows.sink;
      arguments.recent = windows.recent[head];
      arguments.stream_out = stream_out;
      arguments.stream_lse = stream_lse + lse_at;
    }
    context.ops.attend_tile(arguments);
    if (want_full) query_tile.scatter(full_out, 1.0f, full);
    if (want_stream) query_tile.scatter(stream_out, 1.0f, stream);
  });
}

void sum_gate_gradient(const CpuContext &context, const HeadShape &shape, int64_t num_queries, const float *d_out,
                       const float *full, const float *stream, double *d_gates) {
  const int64_t width = shape.group() * shape.head_dim;
  constexpr int64_t BLOCK = 64;
  const int64_t num_blocks = (num_queries + BLOCK - 1) / BLOCK;
  std::vector<double> partial(static_cast<size_t>(shape.kv_heads * num_blocks));
  context.run(shape.kv_heads * num_blocks, [&](int64_t item, int64_t) {
    const int64_t head = item / num_blocks, begin = item % num_blocks * BLOCK,
                  end = std::min(num_queries, begin + BLOCK);
    double sum = 0;
    for (int64_t query = begin; query < end; query++) {
      const int64_t at = (query * shape.heads + head * shape.group()) * shape.head_dim;
      double lanes[8] = {};
      for (int64_t i = 0; i < width; i++) {
        lanes[i % 8] += static_cast<double>(d_out[at + i]) *
                        (static_cast<double>(full[at + i]) - static_cast<double>(stream[at + i]));
      }
      for (const double lane : lanes) sum += lane;
    }
    partial[static_cast<size_t>(item)] = sum;
  });
  for (int64_t head = 0; head < shape.kv_heads; head++) {
    d_gates[head] = 0;
    for (int64_t block = 0; block < num_blocks; block++)
      d_gates[head] += partial[static_cast<size_t>(head * num_blocks + block)];
  }
}

}  // namespace duo

// Backward of gated attention. The tiles of a KV head are cut into at most MAX_SEGMENTS runs, each with its own sums of
// d_key and d_value, which are added in order: parallel, and the same bits for any number of threads.
#include <algorithm>
#include <cmath>

#include "cpu/attention.h"

namespace duo {
namespace {

constexpr int64_t MAX_SEGMENTS = 4;
// A shorter run than this many tiles does not pay for its own sums.
constexpr int64_t MIN_SEGMENT_TILES = 16;

struct Segments {
  int64_t count;
  std::vector<int64_t> begins;  // [count + 1], tiles
};

// Causal work up to tile t grows as t², so equal shares end at square roots.
Segments cut_segments(int64_t num_tiles) {
  Segments segments;
  segments.count = std::max<int64_t>(1, std::min(MAX_SEGMENTS, num_tiles / MIN_SEGMENT_TILES));
  for (int64_t i = 0; i <= segments.count; i++) {
    const double share = std::sqrt(static_cast<double>(i) / static_cast<double>(segments.count));
    segments.begins.push_back(i == segments.count ? num_tiles
                                                  : static_cast<int64_t>(share * static_cast<double>(num_tiles)));
  }
  return segments;
}

// Scratch of one tile, in floats: eight [D][tile_columns] blocks (padded to whole panels) and two rows of deltas.
struct TileScratch {
  float *rows, *query, *query_straight, *d_out, *d_out_straight, *d_query, *full_delta, *stream_delta;

  TileScratch(int64_t columns, int64_t head_dim) {
    const int64_t size = columns * ((head_dim + columns - 1) / columns * columns);
    float *at = thread_scratch(ScratchUse::attention, 6 * size + 2 * columns);
    for (float **part : {&rows, &query, &query_straight, &d_out, &d_out_straight, &d_query}) {
      *part = at;
      at += size;
    }
    full_delta = at;
    stream_delta = at + columns;
  }
};

void pack_tile(const CpuContext &context, const float *rows, int64_t head_dim, float *lanes, float *straight) {
  const int64_t columns = context.ops.tile_columns;
  context.ops.pack_transposed(DUO_DTYPE_F32, rows, head_dim, columns, head_dim, columns, lanes);
  for (int64_t d = 0; d < head_dim; d += columns) {
    context.ops.pack_straight(DUO_DTYPE_F32, rows + d, head_dim, std::min(columns, head_dim - d), columns, columns,
                              straight + d * columns);
  }
}

// ⟨d_out, branch⟩ of every lane.
void compute_deltas(const CpuContext &context, const QueryTile &tile, const float *rows, int64_t head_dim,
                    const float *branch, float *deltas) {
  for (int64_t lane = 0; lane < context.ops.tile_columns; lane++) {
    deltas[lane] =
        lane < tile.count() ? context.ops.dot(rows + lane * head_dim, branch + tile.row_offset(lane), head_dim) : 0.0f;
  }
}

}  // namespace

void attend_backward(const CpuContext &context, const HeadShape &shape, const Queries &queries,
                     const LayerPanels &panels, int64_t num_keys, const HeadWindows &windows,
                     const AttentionGradient &gradient) {
  const int64_t columns = context.ops.tile_columns, head_dim = shape.head_dim,
                num_tiles = count_tiles(context, shape, queries.count);
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
  const Segments segments = cut_segments(num_tiles);
  const int64_t size = num_keys * head_dim;
  ScratchBuffer sums(2 * shape.kv_heads * segments.count * size);
  context.run(shape.kv_heads * segments.count, [&](int64_t item, int64_t) {
    // The last segment of every head first: it has the longest tiles.
    const int64_t head = item % shape.kv_heads, segment = segments.count - 1 - item / shape.kv_heads;
    float *d_key = sums.data() + 2 * (head * segments.count + segment) * size, *d_value = d_key + size;
    std::fill(d_key, d_key + 2 * size, 0.0f);
    const TileScratch scratch(columns, head_dim);
    for (int64_t tile = segments.begins[static_cast<size_t>(segment)];
         tile < segments.begins[static_cast<size_t>(segment) + 1]; tile++) {
      if (context.task != nullptr) context.task->check_abort();
      const QueryTile query_tile(context, shape, queries, head, tile);
      query_tile.gather(queries.values, scale, scratch.rows);
      pack_tile(context, scratch.rows, head_dim, scratch.query, scratch.query_straight);
      query_tile.gather(gradient.d_out, 1.0f, scratch.rows);
      pack_tile(context, scratch.rows, head_dim, scratch.d_out, scratch.d_out_straight);
      AttentionBackwardTile arguments{};
      arguments.head_dim = head_dim;
      arguments.positions = query_tile.positions;
      arguments.sink = windows.sink;
      arguments.recent = windows.recent[head];
      arguments.panels = panels.head(head);
      arguments.query = scratch.query;
      arguments.query_straight = scratch.query_straight;
      arguments.d_out = scratch.d_out;
      arguments.d_out_straight = scratch.d_out_straight;
      arguments.full_weight = gradient.full_is_constant ? 0.0f : gradient.gates[head];
      arguments.stream_weight = 1.0f - gradient.gates[head];
      const int64_t lse_at = (head * num_tiles + tile) * columns;
      if (arguments.full_weight != 0.0f) {
        compute_deltas(context, query_tile, scratch.rows, head_dim, gradient.full, scratch.full_delta);
        arguments.full_lse = gradient.full_lse + lse_at;
        arguments.full_delta = scratch.full_delta;
      }
      if (arguments.stream_weight != 0.0f) {
        compute_deltas(context, query_tile, scratch.rows, head_dim, gradient.stream, scratch.stream_delta);
        arguments.stream_lse = gradient.stream_lse + lse_at;
        arguments.stream_delta = scratch.stream_delta;
      }
      arguments.d_query = scratch.d_query;
      arguments.d_key = d_key;
      arguments.d_value = d_value;
      context.ops.attend_tile_backward(arguments);
      query_tile.scatter(scratch.d_query, scale, gradient.d_query);
    }
  });
  constexpr int64_t BLOCK = 64;
  const int64_t num_blocks = (num_keys + BLOCK - 1) / BLOCK;
  context.run(shape.kv_heads * num_blocks, [&](int64_t item, int64_t) {
    const int64_t head = item / num_blocks, begin = item % num_blocks * BLOCK, end = std::min(num_keys, begin + BLOCK);
    for (int64_t key = begin; key < end; key++) {
      float *to_key = gradient.d_key + (key * shape.kv_heads + head) * head_dim,
            *to_value = gradient.d_value + (key * shape.kv_heads + head) * head_dim;
      for (int64_t segment = 0; segment < segments.count; segment++) {
        const float *from = sums.data() + 2 * (head * segments.count + segment) * size + key * head_dim;
        for (int64_t d = 0; d < head_dim; d++) to_key[d] = segment == 0 ? from[d] : to_key[d] + from[d];
        for (int64_t d = 0; d < head_dim; d++)
          to_value[d] = segment == 0 ? from[size + d] : to_value[d] + from[size + d];
      }
    }
  });
}

}  // namespace duo

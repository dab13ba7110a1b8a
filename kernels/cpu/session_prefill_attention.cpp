// Prefill: tiles of queries of one KV head against tiles of keys, online softmax, the keys of a tile widened once for
// all its queries.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/session_attention.h"

namespace duo {
namespace {

constexpr int64_t KEY_TILE = 64;
// Query rows (tokens times heads of the group) that share the work of widening a key tile.
constexpr int64_t QUERY_ROWS = 128;
constexpr int64_t MIN_QUERY_TOKENS = 16;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// What one item works with: queries [M, D], scores [M, KEY_TILE], sums of values [M, width], a key tile [D, KEY_TILE],
// a value tile [KEY_TILE, width], maxima and sums [M]; width is D rounded up to whole vectors.
struct TileScratch {
  float *queries, *scores, *weighted, *keys, *values, *max, *sum;
  int64_t width;
};

TileScratch cut_scratch(int64_t rows, int64_t head_dim) {
  const int64_t width = round_up(head_dim, 16);
  float *at =
      thread_scratch(ScratchUse::cache, rows * (head_dim + KEY_TILE + width + 2) + KEY_TILE * (head_dim + width));
  const auto take = [&](int64_t count) {
    float *taken = at;
    at += count;
    return taken;
  };
  TileScratch scratch;
  scratch.keys = take(KEY_TILE * head_dim);
  scratch.values = take(KEY_TILE * width);
  scratch.scores = take(rows * KEY_TILE);
  scratch.weighted = take(rows * width);
  scratch.queries = take(rows * head_dim);
  scratch.max = take(rows);
  scratch.sum = take(rows);
  scratch.width = width;
  return scratch;
}

// Keys and values of positions [begin, end) of one head, at most KEY_TILE of them, from the cache before the chunk's
// start and from the chunk after.
void load_tile(const CpuContext &context, const ModelConfig &config, int64_t layer, int64_t head,
               const ChunkAttention &chunk, int64_t begin, int64_t end, const TileScratch &scratch) {
  const CacheOps &ops = *context.ops.cache;
  int64_t position = begin;
  while (position < std::min(end, chunk.start)) {
    // As many as lie in neighbouring slots: the ring wraps at most once in a tile.
    const int64_t slot = chunk.cache->slot(layer, head, position);
    int64_t count = 1;
    while (position + count < std::min(end, chunk.start) &&
           chunk.cache->slot(layer, head, position + count) == slot + count)
      count++;
    const CacheView &view = chunk.cache->view(layer, head);
    ops.read_keys(view, slot, count, scratch.keys + (position - begin), KEY_TILE);
    ops.read_values(view, slot, count, scratch.values + (position - begin) * scratch.width, scratch.width);
    position += count;
  }
  if (position < end) {
    const int64_t head_dim = config.head_dim, from = position - chunk.start;
    const auto *keys = reinterpret_cast<const uint8_t *>(chunk.keys + head * chunk.count * head_dim);
    const CacheView view{DUO_DTYPE_F32, head_dim, chunk.count, keys, nullptr, nullptr, nullptr};
    ops.read_keys(view, from, end - position, scratch.keys + (position - begin), KEY_TILE);
    for (int64_t i = 0; i < end - position; i++) {
      std::memcpy(scratch.values + (position - begin + i) * scratch.width,
                  chunk.values + ((from + i) * config.kv_heads + head) * head_dim,
                  static_cast<size_t>(head_dim) * sizeof(float));
    }
  }
}

// Queries [first, last) of the chunk, all heads of one group.
struct QueryTile {
  int64_t head, first, last;
  Window window;  // of a streaming head
};

// What limits a segment of keys beyond causality.
enum class Visibility { causal, windowed };

void attend_segment(const CpuContext &context, const ModelConfig &config, int64_t layer, const ChunkAttention &chunk,
                    const QueryTile &tile, int64_t begin, int64_t end, Visibility visibility,
                    const TileScratch &scratch) {
  const int64_t group = config.group(), head_dim = config.head_dim, rows = (tile.last - tile.first) * group;
  const int64_t first_query = chunk.start + tile.first, last_query = chunk.start + tile.last - 1;
  const CacheOps &ops = *context.ops.cache;
  for (int64_t from = begin; from < end;) {
    if (context.task != nullptr) context.task->check_abort();
    // A tile ends where the chunk begins, so that the chunk's blocks are read whole.
    int64_t to = std::min(end, from + KEY_TILE);
    if (from < chunk.start) to = std::min(to, chunk.start);
    const int64_t count = to - from, columns = round_up(count, 16);
    load_tile(context, config, layer, tile.head, chunk, from, to, scratch);
    for (int64_t d = 0; count < columns && d < head_dim; d++) {
      std::fill(scratch.keys + d * KEY_TILE + count, scratch.keys + d * KEY_TILE + columns, 0.0f);
    }
    ops.multiply_small(scratch.queries, head_dim, scratch.keys, KEY_TILE, scratch.scores, KEY_TILE, rows, columns,
                       head_dim, false);
    const bool is_open =
        to - 1 <= first_query && (visibility == Visibility::causal || last_query - from < tile.window.recent);
    for (int64_t row = 0; row < rows; row++) {
      float *scores = scratch.scores + row * KEY_TILE;
      std::fill(scores + count, scores + columns, MASKED_SCORE);
      if (!is_open) {
        const int64_t query = first_query + row / group;
        const int64_t oldest = visibility == Visibility::windowed ? query - tile.window.recent + 1 : 0;
        for (int64_t i = 0; i < std::min(count, oldest - from); i++) scores[i] = MASKED_SCORE;
        for (int64_t i = std::max<int64_t>(0, query + 1 - from); i < count; i++) scores[i] = MASKED_SCORE;
      }
      const float factor = ops.update_softmax(scores, columns, scratch.max + row, scratch.sum + row);
      if (factor != 1.0f) ops.scale(scratch.weighted + row * scratch.width, scratch.width, factor);
    }
    ops.multiply_small(scratch.scores, KEY_TILE, scratch.values, scratch.width, scratch.weighted, scratch.width, rows,
                       scratch.width, count, true);
    from = to;
  }
}

void attend_query_tile(const CpuContext &context, const ModelConfig &config, int64_t layer, const ChunkAttention &chunk,
                       const QueryTile &tile) {
  const int64_t group = config.group(), head_dim = config.head_dim, query_width = config.query_width();
  const int64_t rows = (tile.last - tile.first) * group;
  const TileScratch scratch = cut_scratch(rows, head_dim);
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
  for (int64_t row = 0; row < rows; row++) {
    const float *from =
        chunk.queries + (tile.first + row / group) * query_width + (tile.head * group + row % group) * head_dim;
    for (int64_t d = 0; d < head_dim; d++) scratch.queries[row * head_dim + d] = from[d] * scale;
  }
  std::fill(scratch.max, scratch.max + rows, MASKED_SCORE);
  std::fill(scratch.sum, scratch.sum + rows, 0.0f);
  std::fill(scratch.weighted, scratch.weighted + rows * scratch.width, 0.0f);
  std::fill(scratch.values, scratch.values + KEY_TILE * scratch.width, 0.0f);  // the columns beyond D stay 0

  const int64_t first_query = chunk.start + tile.first, end = chunk.start + tile.last;
  const bool is_full = chunk.cache->is_retrieval(layer, tile.head) ||
                       chunk.start + chunk.count <= chunk.cache->capacity(layer, tile.head);
  if (is_full) {
    attend_segment(context, config, layer, chunk, tile, 0, end, Visibility::causal, scratch);
  } else {
    const int64_t sink = tile.window.sink, recent = tile.window.recent;
    attend_segment(context, config, layer, chunk, tile, 0, std::min(sink, end), Visibility::causal, scratch);
    int64_t oldest = std::max(sink, (chunk.chunked ? chunk.start - recent : first_query - recent + 1));
    // Whole blocks of the chunk are read at once; the mask hides what is too old.
    if (oldest > chunk.start && !chunk.chunked)
      oldest = std::max(sink, chunk.start + (oldest - chunk.start) / KEY_BLOCK * KEY_BLOCK);
    attend_segment(context, config, layer, chunk, tile, oldest, end,
                   chunk.chunked ? Visibility::causal : Visibility::windowed, scratch);
  }
  for (int64_t row = 0; row < rows; row++) {
    float *to = chunk.out + (tile.first + row / group) * query_width + (tile.head * group + row % group) * head_dim;
    const float inverse = 1.0f / scratch.sum[row];
    for (int64_t d = 0; d < head_dim; d++) to[d] = scratch.weighted[row * scratch.width + d] * inverse;
  }
}

}  // namespace

void round_chunk(const CpuContext &context, const ModelConfig &config, Dtype dtype, int64_t count, const float *keys,
                 const float *values, float *transposed, float *rounded_values) {
  const int64_t head_dim = config.head_dim, width = config.kv_width();
  context.run(config.kv_heads, [&](int64_t head, int64_t) {
    const auto *to = reinterpret_cast<const uint8_t *>(transposed + head * count * head_dim);
    const CacheView view{DUO_DTYPE_F32, head_dim, count, to, nullptr, nullptr, nullptr};
    for (int64_t token = 0; token < count; token++) {
      const int64_t at = token * width + head * head_dim;
      float *rounded = rounded_values + at;  // the key passes through the value's place
      std::copy(keys + at, keys + at + head_dim, rounded);
      round_to_cache(key_dtype(dtype), rounded, head_dim);
      store_key(view, token, rounded);
      std::copy(values + at, values + at + head_dim, rounded);
      round_to_cache(value_dtype(dtype), rounded, head_dim);
    }
  });
}

void attend_chunk(const CpuContext &context, const ModelConfig &config, int64_t layer, const ChunkAttention &chunk) {
  const int64_t tokens = std::max(MIN_QUERY_TOKENS, QUERY_ROWS / config.group());
  const int64_t num_tiles = (chunk.count + tokens - 1) / tokens;
  // The last tiles see the most keys: they go first, so that threads end together.
  context.run(num_tiles * config.kv_heads, [&](int64_t item, int64_t) {
    const int64_t head = item % config.kv_heads, first = (num_tiles - 1 - item / config.kv_heads) * tokens;
    attend_query_tile(context, config, layer, chunk,
                      {head, first, std::min(chunk.count, first + tokens), chunk.cache->window(layer, head)});
  });
}

}  // namespace duo

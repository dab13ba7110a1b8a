// Attention tiles of one instruction set; see attention_ops.h. Included by simd_body.h after the register-tile product.
// A tile's scratch (scores, probabilities, their gradient) lives on the stack: 3·KEY_BLOCK·TILE_COLUMNS floats, 36 KB
// with AVX-512.
#pragma once
#include "cpu/simd/attention_ops.h"

namespace duo {
namespace {

constexpr int64_t KEY_BLOCK = 8 * TILE_ROWS;
// Stands for "no key seen yet": far below any score, and safe to subtract from itself.
constexpr float NO_SCORE = -1e30f;

struct Lanes {
  IntVector position[TILE_VECTORS];
  int64_t first, last;  // smallest and largest position
};

DUO_INLINE Lanes read_lanes(const int32_t *positions) {
  Lanes lanes;
  __builtin_memcpy(lanes.position, positions, sizeof lanes.position);
  lanes.first = positions[0];
  lanes.last = positions[TILE_COLUMNS - 1];
  return lanes;
}

DUO_INLINE int32_t clamp_int(int64_t value) { return value > (1 << 30) ? 1 << 30 : static_cast<int32_t>(value); }

template <bool STREAMING>
DUO_INLINE IntVector is_visible(IntVector position, int32_t key, int32_t sink, int32_t recent) {
  const IntVector causal = position >= key;
  if constexpr (!STREAMING) return causal;
  if (key < sink) return causal;
  return causal & (position - key < recent);
}

// Which keys [begin, begin + count) the streaming branch of any lane sees.
DUO_INLINE bool streaming_touches(const Lanes &lanes, int64_t begin, int64_t count, int64_t sink, int64_t recent) {
  return begin < sink || begin + count > lanes.first - recent + 1;
}
DUO_INLINE bool streaming_sees_all(const Lanes &lanes, int64_t begin, int64_t count, int64_t sink, int64_t recent) {
  return begin + count - 1 <= lanes.first && (begin + count <= sink || begin > lanes.last - recent);
}

DUO_INLINE void compute_scores(int64_t head_dim, const float *row_panels, const float *columns, int64_t begin,
                               int64_t count, float *scores) {
  for (int64_t key = 0; key < count; key += TILE_ROWS) {
    multiply_tile(head_dim, row_panels + (begin + key) * head_dim, columns, scores + key * TILE_COLUMNS, TILE_COLUMNS,
                  count - key < TILE_ROWS ? count - key : TILE_ROWS, TILE_COLUMNS, false);
  }
}

// out[D][lanes] += panels[D][keys]·weights[keys][lanes]
DUO_INLINE void add_weighted(int64_t head_dim, const float *straight_panels, int64_t num_keys, int64_t begin,
                             int64_t count, const float *weights, float *out) {
  for (int64_t d = 0; d < head_dim; d += TILE_ROWS) {
    multiply_tile(count, straight_panels + (d / TILE_ROWS * num_keys + begin) * TILE_ROWS, weights,
                  out + d * TILE_COLUMNS, TILE_COLUMNS, head_dim - d < TILE_ROWS ? head_dim - d : TILE_ROWS,
                  TILE_COLUMNS, true);
  }
}

struct RunningSoftmax {
  Vector maximum[TILE_VECTORS], sum[TILE_VECTORS];
};

// One step of the online softmax; probabilities of keys a lane does not see are 0.
template <bool STREAMING, bool MASKED>
DUO_INLINE void update_softmax(const AttentionTile &tile, const Lanes &lanes, const float *scores, int64_t begin,
                               int64_t count, RunningSoftmax &state, float *out, float *probabilities) {
  const int32_t sink = clamp_int(tile.sink), recent = clamp_int(tile.recent);
  for (int64_t v = 0; v < TILE_VECTORS; v++) {
    Vector best = state.maximum[v];
    for (int64_t key = 0; key < count; key++) {
      Vector score = load(scores + key * TILE_COLUMNS + v * WIDTH);
      if constexpr (MASKED) {
        score = select(is_visible<STREAMING>(lanes.position[v], static_cast<int32_t>(begin + key), sink, recent), score,
                       broadcast(NO_SCORE));
      }
      best = maximum(score, best);
    }
    Vector sum = {};
    for (int64_t key = 0; key < count; key++) {
      Vector value = exponential(load(scores + key * TILE_COLUMNS + v * WIDTH) - best);
      if constexpr (MASKED) {
        value = select(is_visible<STREAMING>(lanes.position[v], static_cast<int32_t>(begin + key), sink, recent), value,
                       Vector{});
      }
      sum += value;
      store(probabilities + key * TILE_COLUMNS + v * WIDTH, value);
    }
    const Vector factor = exponential(state.maximum[v] - best);
    state.sum[v] = state.sum[v] * factor + sum;
    state.maximum[v] = best;
    for (int64_t d = 0; d < tile.head_dim; d++) {
      float *at = out + d * TILE_COLUMNS + v * WIDTH;
      store(at, load(at) * factor);
    }
  }
  add_weighted(tile.head_dim, tile.panels.value_straight, tile.panels.num_keys, begin, count, probabilities, out);
}

DUO_INLINE void start_softmax(RunningSoftmax &state, int64_t head_dim, float *out) {
  for (int64_t v = 0; v < TILE_VECTORS; v++) {
    state.maximum[v] = broadcast(NO_SCORE);
    state.sum[v] = Vector{};
  }
  for (int64_t i = 0; i < head_dim * TILE_COLUMNS; i += WIDTH) store(out + i, Vector{});
}

// Every query sees itself, so the sum is at least its own exponential.
DUO_INLINE void finish_softmax(const RunningSoftmax &state, int64_t head_dim, float *out, float *lse) {
  for (int64_t v = 0; v < TILE_VECTORS; v++) {
    const Vector inverse = 1.0f / state.sum[v];
    for (int64_t d = 0; d < head_dim; d++) {
      float *at = out + d * TILE_COLUMNS + v * WIDTH;
      store(at, load(at) * inverse);
    }
    for (int64_t lane = 0; lane < WIDTH; lane++)
      lse[v * WIDTH + lane] = state.maximum[v][lane] + __builtin_logf(state.sum[v][lane]);
  }
}

void attend_tile(const AttentionForwardTile &tile) {
  alignas(64) float scores[KEY_BLOCK * TILE_COLUMNS], probabilities[KEY_BLOCK * TILE_COLUMNS];
  const Lanes lanes = read_lanes(tile.positions);
  RunningSoftmax full, stream;
  if (tile.full_out != nullptr) start_softmax(full, tile.head_dim, tile.full_out);
  if (tile.stream_out != nullptr) start_softmax(stream, tile.head_dim, tile.stream_out);
  for (int64_t begin = 0; begin <= lanes.last; begin += KEY_BLOCK) {
    const int64_t count = lanes.last + 1 - begin < KEY_BLOCK ? lanes.last + 1 - begin : KEY_BLOCK;
    const bool in_stream = tile.stream_out != nullptr && streaming_touches(lanes, begin, count, tile.sink, tile.recent);
    if (tile.full_out == nullptr && !in_stream) {
      // Jump to the block where the window of the first lane begins.
      const int64_t window = (lanes.first - tile.recent + 1) / KEY_BLOCK * KEY_BLOCK;
      if (window > begin + KEY_BLOCK) begin = window - KEY_BLOCK;
      continue;
    }
    compute_scores(tile.head_dim, tile.panels.key_rows, tile.query, begin, count, scores);
    if (tile.full_out != nullptr) {
      if (begin + count - 1 <= lanes.first) {
        update_softmax<false, false>(tile, lanes, scores, begin, count, full, tile.full_out, probabilities);
      } else {
        update_softmax<false, true>(tile, lanes, scores, begin, count, full, tile.full_out, probabilities);
      }
    }
    if (in_stream) {
      if (streaming_sees_all(lanes, begin, count, tile.sink, tile.recent)) {
        update_softmax<true, false>(tile, lanes, scores, begin, count, stream, tile.stream_out, probabilities);
      } else {
        update_softmax<true, true>(tile, lanes, scores, begin, count, stream, tile.stream_out, probabilities);
      }
    }
  }
  if (tile.full_out != nullptr) finish_softmax(full, tile.head_dim, tile.full_out, tile.full_lse);
  if (tile.stream_out != nullptr) finish_softmax(stream, tile.head_dim, tile.stream_out, tile.stream_lse);
}

// c[rows, columns] += aᵀ-free product with a held as [row][TILE_COLUMNS]: c[r][·] += Σ_lane a[r][lane]·b[lane][·].
DUO_INLINE void add_lane_product(const float *a, const float *b_panel, float *c, int64_t c_stride, int64_t rows,
                                 int64_t columns) {
  Vector sum[TILE_ROWS][TILE_VECTORS] = {};
  for (int64_t lane = 0; lane < TILE_COLUMNS; lane++) {
    Vector b[TILE_VECTORS];
#pragma GCC unroll 4
    for (int64_t v = 0; v < TILE_VECTORS; v++) b[v] = load(b_panel + lane * TILE_COLUMNS + v * WIDTH);
#pragma GCC unroll 16
    for (int64_t r = 0; r < TILE_ROWS; r++) {
      const Vector value = broadcast(a[r * TILE_COLUMNS + lane]);
#pragma GCC unroll 4
      for (int64_t v = 0; v < TILE_VECTORS; v++) sum[r][v] += value * b[v];
    }
  }
  float spill[TILE_ROWS][TILE_COLUMNS];
  const bool whole = columns == TILE_COLUMNS;
#pragma GCC unroll 16
  for (int64_t r = 0; r < TILE_ROWS; r++) {
    if (whole && r < rows) {
#pragma GCC unroll 4
      for (int64_t v = 0; v < TILE_VECTORS; v++)
        store(c + r * c_stride + v * WIDTH, load(c + r * c_stride + v * WIDTH) + sum[r][v]);
    } else {
#pragma GCC unroll 4
      for (int64_t v = 0; v < TILE_VECTORS; v++) store(&spill[r][v * WIDTH], sum[r][v]);
    }
  }
  if (whole) return;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t column = 0; column < columns; column++) c[r * c_stride + column] += spill[r][column];
  }
}

// d[keys, D] += weights[keys][lanes]·straight[lanes][D]
void add_to_keys(int64_t head_dim, const float *weights, const float *straight, int64_t begin, int64_t count,
                 float *d) {
  for (int64_t column = 0; column < head_dim; column += TILE_COLUMNS) {
    const float *panel = straight + column * TILE_COLUMNS;
    const int64_t columns = head_dim - column < TILE_COLUMNS ? head_dim - column : TILE_COLUMNS;
    for (int64_t key = 0; key < count; key += TILE_ROWS) {
      add_lane_product(weights + key * TILE_COLUMNS, panel, d + (begin + key) * head_dim + column, head_dim,
                       count - key < TILE_ROWS ? count - key : TILE_ROWS, columns);
    }
  }
}

// From scores and d_out·value: mixed probabilities and the gradient of the scores, both branches at once.
template <bool FULL, bool STREAM>
DUO_INLINE void differentiate_block(const AttentionBackwardTile &tile, const Lanes &lanes, int64_t begin, int64_t count,
                                    const float *scores, const float *d_probabilities, float *mixed, float *d_scores) {
  const int32_t sink = clamp_int(tile.sink), recent = clamp_int(tile.recent);
  for (int64_t v = 0; v < TILE_VECTORS; v++) {
    Vector full_lse{}, full_delta{}, stream_lse{}, stream_delta{};
    if constexpr (FULL) {
      full_lse = load(tile.full_lse + v * WIDTH);
      full_delta = load(tile.full_delta + v * WIDTH);
    }
    if constexpr (STREAM) {
      stream_lse = load(tile.stream_lse + v * WIDTH);
      stream_delta = load(tile.stream_delta + v * WIDTH);
    }
    for (int64_t key = 0; key < count; key++) {
      const int64_t at = key * TILE_COLUMNS + v * WIDTH;
      const Vector score = load(scores + at), d_probability = load(d_probabilities + at);
      Vector probability{}, d_score{};
      if constexpr (FULL) {
        const Vector value =
            select(is_visible<false>(lanes.position[v], static_cast<int32_t>(begin + key), sink, recent),
                   tile.full_weight * exponential(score - full_lse), Vector{});
        probability += value;
        d_score += value * (d_probability - full_delta);
      }
      if constexpr (STREAM) {
        const Vector value =
            select(is_visible<true>(lanes.position[v], static_cast<int32_t>(begin + key), sink, recent),
                   tile.stream_weight * exponential(score - stream_lse), Vector{});
        probability += value;
        d_score += value * (d_probability - stream_delta);
      }
      store(mixed + at, probability);
      store(d_scores + at, d_score);
    }
  }
}

void attend_tile_backward(const AttentionBackwardTile &tile) {
  alignas(64) float scores[KEY_BLOCK * TILE_COLUMNS] = {}, d_probabilities[KEY_BLOCK * TILE_COLUMNS] = {};
  const Lanes lanes = read_lanes(tile.positions);
  const bool has_full = tile.full_weight != 0.0f;
  for (int64_t i = 0; i < tile.head_dim * TILE_COLUMNS; i += WIDTH) store(tile.d_query + i, Vector{});
  for (int64_t begin = 0; begin <= lanes.last; begin += KEY_BLOCK) {
    const int64_t count = lanes.last + 1 - begin < KEY_BLOCK ? lanes.last + 1 - begin : KEY_BLOCK;
    const bool in_stream = tile.stream_weight != 0.0f && streaming_touches(lanes, begin, count, tile.sink, tile.recent);
    if (!has_full && !in_stream) continue;
    compute_scores(tile.head_dim, tile.panels.key_rows, tile.query, begin, count, scores);
    compute_scores(tile.head_dim, tile.panels.value_rows, tile.d_out, begin, count, d_probabilities);
    // Element by element, so the results may take the place of the inputs.
    if (has_full && in_stream) {
      differentiate_block<true, true>(tile, lanes, begin, count, scores, d_probabilities, scores, d_probabilities);
    } else if (has_full) {
      differentiate_block<true, false>(tile, lanes, begin, count, scores, d_probabilities, scores, d_probabilities);
    } else {
      differentiate_block<false, true>(tile, lanes, begin, count, scores, d_probabilities, scores, d_probabilities);
    }
    add_weighted(tile.head_dim, tile.panels.key_straight, tile.panels.num_keys, begin, count, d_probabilities,
                 tile.d_query);
    add_to_keys(tile.head_dim, d_probabilities, tile.query_straight, begin, count, tile.d_key);
    add_to_keys(tile.head_dim, scores, tile.d_out_straight, begin, count, tile.d_value);
  }
}

}  // namespace
}  // namespace duo

// Which key tiles a run of query rows needs, in which order: first those that hold a key the streaming branch sees,
// then those that hold one it does not. Full attention is the streaming branch carried on: one running softmax takes in
// the seen keys, gives the streaming branch, takes in the rest and gives the full one. Only the tiles at the window's
// edge are computed twice.
#pragma once
#include "cuda/attention.h"

namespace duo::cuda {

constexpr int32_t FAR = 1 << 30;  // stands for any larger sink or window; positions are below it (4M at most)

// R of a KV head's streaming branch, FAR at most.
__device__ __forceinline__ int32_t window_of(const AttentionShape &shape, int kv_head) {
  return static_cast<int32_t>(shape.recent[kv_head] < FAR ? shape.recent[kv_head] : FAR);
}

// Of one row of one phase: keys j ≤ last with j < hidden_begin or j ≥ hidden_end.
struct Visible {
  int32_t last, hidden_begin, hidden_end;
};

template <int KEYS>
struct TilePlan {
  int32_t low, high, sink, recent;  // positions of the first and last row
  int32_t chunk_window;             // first window key of every row of a chunk-causal prefill, or −1
  int32_t num_sink, window_tile, num_seen, rest_tile, num_rest;
  bool is_split;  // false: full attention alone, whose one phase is the rest and holds every key

  __device__ TilePlan(int64_t sink_tokens, int32_t window, int32_t low_position, int32_t high_position, bool is_chunked,
                      int64_t chunk_start, bool wants_seen, bool wants_rest)
      : low(low_position), high(high_position), recent(window), is_split(wants_seen) {
    sink = static_cast<int32_t>(sink_tokens < FAR ? sink_tokens : FAR);
    chunk_window = -1;
    if (is_chunked) chunk_window = static_cast<int32_t>(chunk_start > recent ? chunk_start - recent : 0);
    const int32_t num_tiles = high / KEYS + 1;
    num_sink = sink == 0 ? 0 : (sink - 1) / KEYS + 1;
    num_sink = num_sink < num_tiles ? num_sink : num_tiles;
    window_tile = window_start(low) / KEYS;
    window_tile = window_tile > num_sink ? window_tile : num_sink;
    num_seen = num_sink + num_tiles - window_tile;
    // The rest: keys sink … window_start(high) − 1.
    rest_tile = sink / KEYS;
    num_rest = window_start(high) > sink ? (window_start(high) - 1) / KEYS + 1 - rest_tile : 0;
    if (!wants_seen)
      num_seen = 0, rest_tile = 0, num_rest = num_tiles;  // full attention alone: every tile once, in order
    if (!wants_rest) num_rest = 0;
  }
  __device__ int32_t window_start(int32_t position) const {
    return chunk_window >= 0 ? chunk_window : position + 1 > recent ? position + 1 - recent : 0;
  }
  __device__ int32_t steps() const { return num_seen + num_rest; }
  __device__ int32_t tile_of(int32_t step) const {
    return step < num_sink && step < num_seen ? step
           : step < num_seen                  ? window_tile + step - num_sink
                                              : rest_tile + step - num_seen;
  }
  // The keys of a row in the phase of the seen, or that of the rest.
  __device__ Visible visible_to(int32_t position, bool is_seen_phase) const {
    Visible visible;
    visible.last = is_seen_phase || !is_split ? position : window_start(position) - 1;
    visible.hidden_begin = is_seen_phase ? sink : 0;
    visible.hidden_end = is_seen_phase ? window_start(position) : is_split ? sink : 0;
    return visible;
  }
  // Whether every row of the run has all keys of a tile in the phase.
  __device__ bool is_whole(int32_t first_key, bool is_seen_phase) const {
    if (is_seen_phase)
      return first_key + KEYS - 1 <= low && (first_key + KEYS <= sink || first_key >= window_start(high));
    return is_split ? first_key >= sink && first_key + KEYS <= window_start(low) : first_key + KEYS - 1 <= low;
  }
  // Whether some row's streaming branch sees a key of the tile.
  __device__ bool is_seen(int32_t first_key) const { return first_key < sink || first_key + KEYS > window_start(low); }
};

}  // namespace duo::cuda

// Which key tiles a run of query rows needs, in which order: first those that hold a key the streaming branch sees,
// then those that hold one it does not. Full attention is the streaming branch carried on: one running softmax takes in
// the seen keys, gives the streaming branch, takes in the rest and gives the full one. Only the tiles at the window's
// edge are computed twice.
#pragma once
#include "cuda/visibility.h"

namespace duo::cuda {

template <int KEYS>
struct TilePlan {
  Window window;
  int32_t low, high;  // positions of the first and last row
  int32_t num_sink, window_tile, num_seen, rest_tile, num_rest;
  bool is_split;  // false: full attention alone, whose one phase is the rest and holds every key

  __device__ TilePlan(const Window &of, int32_t low_position, int32_t high_position, bool is_chunked,
                      int64_t chunk_start, bool wants_seen, bool wants_rest)
      : window(of), low(low_position), high(high_position), is_split(wants_seen) {
    if (is_chunked)
      window.chunk_window = static_cast<int32_t>(chunk_start > window.recent ? chunk_start - window.recent : 0);
    const int32_t num_tiles = high / KEYS + 1, sink = window.sink, window_end = window.start(high);
    num_sink = sink == 0 ? 0 : (sink - 1) / KEYS + 1;
    num_sink = num_sink < num_tiles ? num_sink : num_tiles;
    window_tile = window.start(low) > 0 ? window.start(low) / KEYS : 0;
    window_tile = window_tile > num_sink ? window_tile : num_sink;
    num_seen = num_sink + num_tiles - window_tile;
    // The rest: keys sink … window.start(high) − 1.
    rest_tile = sink / KEYS;
    num_rest = window_end > sink ? (window_end - 1) / KEYS + 1 - rest_tile : 0;
    if (!wants_seen)
      num_seen = 0, rest_tile = 0, num_rest = num_tiles;  // full attention alone: every tile once, in order
    if (!wants_rest) num_rest = 0;
  }
  __device__ int32_t steps() const { return num_seen + num_rest; }
  __device__ int32_t tile_of(int32_t step) const {
    return step < num_sink && step < num_seen ? step
           : step < num_seen                  ? window_tile + step - num_sink
                                              : rest_tile + step - num_seen;
  }
  // The keys of a row in the phase of the seen, or that of the rest.
  __device__ Visible visible_to(int32_t position, bool is_seen_phase) const {
    return is_seen_phase ? window.seen(position) : is_split ? window.rest(position) : window.full(position);
  }
  // Whether every row of the run has all keys of a tile in the phase.
  __device__ bool is_whole(int32_t first_key, bool is_seen_phase) const {
    if (is_seen_phase) return window.shows(first_key, KEYS, low, high);
    return is_split ? window.hides(first_key, KEYS, low) : first_key + KEYS - 1 <= low;
  }
};

}  // namespace duo::cuda

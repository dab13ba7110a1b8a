// One tile of attention: tile_columns query rows side by side, one per lane, against the keys of one KV head, scores held
// transposed ([key][lane]) so that softmax runs down the lanes without a horizontal sum. Both branches of a head share
// the scores.
#pragma once
#include <cstdint>

namespace duo {

// Keys and values of one KV head, packed for the register tile. "rows" panels:
// [ceil(num_keys/tile_rows)][D][tile_rows]; "straight" panels: [ceil(D/tile_rows)][num_keys][tile_rows]. Padding is
// zero.
struct KeyValuePanels {
  const float *key_rows, *value_straight;
  const float *value_rows, *key_straight;  // backward only
  int64_t num_keys;
};

struct AttentionTile {
  int64_t head_dim;
  const int32_t *positions;  // [tile_columns] ascending; unused lanes repeat the last
  int64_t sink, recent;      // streaming: key j visible iff j <= i and (j < sink or i − j < recent)
  KeyValuePanels panels;
  const float *query;  // [D][tile_columns], scaled by 1/sqrt(D), 0 in unused lanes
};

struct AttentionForwardTile : AttentionTile {
  float *full_out, *stream_out;  // [D][tile_columns], written; null = branch not wanted
  float *full_lse, *stream_lse;  // [tile_columns], written: log of the sum of exponentials
};

struct AttentionBackwardTile : AttentionTile {
  float full_weight, stream_weight;        // gate and 1 − gate
  const float *query_straight;             // [ceil(D/tile_columns)][tile_columns lanes][tile_columns]
  const float *d_out, *d_out_straight;     // as query, query_straight; 0 in unused lanes
  const float *full_lse, *stream_lse;      // [tile_columns]
  const float *full_delta, *stream_delta;  // [tile_columns]: ⟨d_out, branch's output⟩ of each lane
  float *d_query;                          // [D][tile_columns], written; still to be scaled by 1/sqrt(D)
  float *d_key, *d_value;                  // [num_keys, D], added to
};

}  // namespace duo

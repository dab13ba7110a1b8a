// Gated attention of one layer in tiles: full and streaming branch from one pass over the scores, and their backward.
// The scores of a tile never leave the cache; nothing of size T×T exists. Source: arXiv 2410.10819 (section 2.3), arXiv
// 2205.14135.
#pragma once
#include <cstdint>
#include <vector>

#include "core/backend.h"
#include "cpu/linear.h"
#include "cpu/scratch.h"

namespace duo {

struct HeadShape {
  int64_t heads, kv_heads, head_dim;
  int64_t group() const { return heads / kv_heads; }
};

// Keys and values [T, G, D] of one layer, packed for the tiles of every head.
class LayerPanels {
 public:
  void pack(const CpuContext &context, const HeadShape &shape, const float *key, const float *value, int64_t num_keys,
            bool for_backward);
  KeyValuePanels head(int64_t kv_head) const;

 private:
  ScratchBuffer key_rows_, value_straight_, value_rows_, key_straight_;
  int64_t rows_stride_ = 0, straight_stride_ = 0, num_keys_ = 0;
};

// What each KV head is asked for, and its gate.
struct BranchNeeds {
  std::vector<bool> full, stream;  // [G]
};

// Queries [num_queries, H, D] after RoPE, at ascending positions [num_queries].
struct Queries {
  const float *values;
  const int32_t *positions;
  int64_t count;
};

// Which rows of [num_queries, H, D] a tile holds: row = query·g + member of the group, tile_columns rows in a row, one
// a lane.
class QueryTile {
 public:
  QueryTile(const CpuContext &context, const HeadShape &shape, const Queries &queries, int64_t kv_head, int64_t tile);
  int64_t count() const { return count_; }
  int64_t row_offset(int64_t lane) const;
  // rows [tile_columns, D] = values of the lanes, scaled; 0 in unused lanes.
  void gather(const float *values, float scale, float *rows) const;
  // values of the lanes = columns [D, tile_columns], scaled.
  void scatter(const float *columns, float scale, float *values) const;

  int32_t positions[64];  // [tile_columns]; unused lanes repeat the last

 private:
  HeadShape shape_;
  int64_t kv_head_, columns_, first_, count_;
};

// Number of tiles of one KV head; log-sum-exp arrays are [G, num_tiles·tile_columns].
int64_t count_tiles(const CpuContext &context, const HeadShape &shape, int64_t num_queries);

// windows of the layer's heads [G], read where a streaming branch is needed. full, stream [num_queries, H, D], written
// where needed; full_lse, stream_lse [G, num_tiles·tile_columns], likewise.
void attend(const CpuContext &context, const HeadShape &shape, const Queries &queries, const LayerPanels &panels,
            const HeadWindows &windows, const BranchNeeds &needs, float *full, float *stream, float *full_lse,
            float *stream_lse);

struct AttentionGradient {
  const float *gates;          // [G]
  bool full_is_constant;       // the full branch is the teacher's: no gradient passes through it
  const float *d_out;          // [num_queries, H, D]: gradient of the mixed output
  const float *full, *stream;  // [num_queries, H, D], outputs of both branches
  const float *full_lse, *stream_lse;
  float *d_query;          // [num_queries, H, D], written
  float *d_key, *d_value;  // [num_keys, G, D], written
};

// Memory: at most four copies of d_key and d_value, for sums that do not depend on the number of threads.
void attend_backward(const CpuContext &context, const HeadShape &shape, const Queries &queries,
                     const LayerPanels &panels, int64_t num_keys, const HeadWindows &windows,
                     const AttentionGradient &gradient);

// d_gates [G], written: Σ over queries of ⟨d_out, full − stream⟩ of the head's group, fp64 in a fixed order.
void sum_gate_gradient(const CpuContext &context, const HeadShape &shape, int64_t num_queries, const float *d_out,
                       const float *full, const float *stream, double *d_gates);

// Plain twin of attend for one branch, fp64 inside: streaming false = full causal.
void attend_ref(const HeadShape &shape, const Queries &queries, const float *key, const float *value,
                const HeadWindows &windows, bool streaming, float *out);
// Plain twin of attend_backward from the definition, fp64 inside; d_gates [G] too.
void attend_backward_ref(const HeadShape &shape, const Queries &queries, const float *key, const float *value,
                         int64_t num_keys, const HeadWindows &windows, const float *gates, const float *d_out,
                         float *d_query, float *d_key, float *d_value, double *d_gates);

}  // namespace duo

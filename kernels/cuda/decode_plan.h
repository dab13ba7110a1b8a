// How one decode step's cache reads are shared out: per layer, all entries that the step sees, in tiles, laid one after
// another over the (session, KV head) pairs, and cut into equal splits, one per block of the attention kernel. Heads of
// any window mix as they come: each counts by the entries that it holds. Made on the device at the start of a step,
// from the lengths there; a split depends on lengths and the number of blocks alone.
#pragma once
#include "cuda/decode_table.h"

namespace duo::cuda {

// What a step reads of one session's KV head.
struct DecodeHead {
  uint8_t *key, *value;
  uint32_t *key_scale, *value_scale;  // or null
  uint8_t *const *pages;              // as in HeadCache
  int32_t page_stride;
  int32_t entries;     // 1 or more
  int32_t fresh;       // slot of this step's own entry
  int32_t first_tile;  // place on the line that is cut into splits
};

constexpr int DECODE_TILE = 32;  // entries, of one page
static_assert(PAGE_ENTRIES % DECODE_TILE == 0);
constexpr int DECODE_HEAD_TILES = 12;  // tiles whose time goes to beginning and ending a head: counted before its first

__host__ __device__ inline int32_t count_tiles(int32_t entries) { return (entries + DECODE_TILE - 1) / DECODE_TILE; }
// Tiles per block, of a layer whose plan ends with `last`.
__host__ __device__ inline int32_t tiles_a_block(const DecodeHead &last, int32_t blocks) {
  return static_cast<int32_t>(ceil_divide(last.first_tile - DECODE_HEAD_TILES, blocks));
}

// heads [L, batch·G + 1] written; the last of a layer holds only where a next head would begin.
cudaError_t launch_decode_plan(const DecodeMember *members, int32_t batch, int32_t layers, int32_t kv_heads,
                               DecodeHead *heads, cudaStream_t stream);

}  // namespace duo::cuda

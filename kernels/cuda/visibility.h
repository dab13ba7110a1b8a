// Which keys a query sees, for every kernel that asks: of the full branch key j is visible to query i where j ≤ i; of
// the streaming branch where also j < S or i − j < w, with w the window of its KV head (docs/semantics.md). In a
// chunk-causal prefill the window of all rows begins w keys before the chunk.
#pragma once
#include "cuda/attention.h"

namespace duo::cuda {

constexpr int32_t FAR = 1 << 30;  // replaces any larger sink or window; positions are below it (4M at most)

// Of one row: keys j ≤ last with j < hidden_begin or j ≥ hidden_end.
struct Visible {
  int32_t last, hidden_begin, hidden_end;
  __device__ __forceinline__ bool sees(int32_t key) const {
    return key <= last && (key < hidden_begin || key >= hidden_end);
  }
  // The same for keys counted from `base` on.
  __device__ __forceinline__ Visible after(int32_t base) const {
    return {last - base, hidden_begin - base, hidden_end - base};
  }
};

// The streaming branch of a KV head.
struct Window {
  int32_t sink, recent;
  int32_t chunk_window = -1;  // first window key of every row of a chunk-causal prefill, or −1

  __device__ __forceinline__ Window(const AttentionShape &shape, int kv_head)
      : sink(static_cast<int32_t>(shape.sink < FAR ? shape.sink : FAR)),
        recent(static_cast<int32_t>(shape.recent[kv_head] < FAR ? shape.recent[kv_head] : FAR)) {}
  // That of a kernel without the branch: all keys.
  __device__ __forceinline__ Window() : sink(0), recent(FAR) {}

  // First key of a row's window; below 0 where the window is longer than what lies before.
  __device__ __forceinline__ int32_t start(int32_t position) const {
    return chunk_window >= 0 ? chunk_window : position + 1 - recent;
  }
  // What a row sees in the full branch, in the streaming branch, and in the full branch alone.
  __device__ __forceinline__ Visible full(int32_t position) const { return {position, 0, 0}; }
  __device__ __forceinline__ Visible seen(int32_t position) const { return {position, sink, start(position)}; }
  __device__ __forceinline__ Visible rest(int32_t position) const { return {start(position) - 1, 0, sink}; }

  // Of rows from `low` to `high`, whether every one sees all keys first_key … first_key + count − 1 in the streaming
  // branch; and whether none sees any of them there, and every one all of them in the full branch.
  __device__ __forceinline__ bool shows(int32_t first_key, int32_t count, int32_t low, int32_t high) const {
    return first_key + count - 1 <= low && (first_key + count <= sink || first_key >= start(high));
  }
  __device__ __forceinline__ bool hides(int32_t first_key, int32_t count, int32_t low) const {
    return first_key >= sink && first_key + count <= start(low);
  }
};

// The first of the ascending `positions` that is at least `bound`.
__device__ __forceinline__ int64_t first_at_least(const int32_t *positions, int64_t count, int64_t bound) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (positions[middle] < bound) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Rows begin … end − 1 see one of the keys first_key … first_key + count − 1: from the diagonal on; without the full
// branch, of keys behind the sinks, to the end of the last one's window.
struct SeeingRows {
  int64_t begin, end;
  __device__ __forceinline__ SeeingRows(const int32_t *positions, int64_t num_rows, const Window &window,
                                        int64_t first_key, int count, bool has_full)
      : begin(first_at_least(positions, num_rows, first_key)),
        end(has_full || first_key < window.sink
                ? num_rows
                : first_at_least(positions, num_rows, first_key + count - 1 + window.recent)) {}
};

}  // namespace duo::cuda

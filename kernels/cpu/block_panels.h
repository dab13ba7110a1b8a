// Quantised weights laid out for products (simd/block_ops.h): the same codes and scales as in the file, PANEL_ROWS rows
// side by side.
#pragma once
#include <cstdint>

#include "core/weight_map.h"
#include "cpu/simd/block_ops.h"
#include "cpu/thread_pool.h"

namespace duo {

// A view of the panels of one matrix; empty where its weights are not in panels. Rows beyond the last are zero.
struct BlockPanels {
  const uint8_t *data = nullptr;
  Dtype dtype = Dtype::stored;
  int64_t rows = 0, columns = 0;

  bool empty() const { return data == nullptr; }
  int64_t count() const { return (rows + PANEL_ROWS - 1) / PANEL_ROWS; }
  // Of one panel, codes and scales, a multiple of 64.
  int64_t panel_bytes() const;
  BlockPanel panel(int64_t index) const;
};

// Bytes that pack_panels writes for a quantised matrix.
int64_t count_panel_bytes(const Tensor &weight);

// Lay a quantised matrix out at `to`, aligned to 64 bytes and zeroed.
BlockPanels pack_panels(ThreadPool &pool, const Tensor &weight, uint8_t *to);

}  // namespace duo

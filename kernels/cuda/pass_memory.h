// The device memory of a pass over one sample, laid out once: what runs and what is estimated are the same list of
// buffers. In bytes per token of a llama-3-8b shape: 117 KiB of working buffers in distillation, 8 KiB per layer for its
// input, 16.3 KiB per layer for its branches.
#pragma once
#include <vector>

#include "core/config.h"
#include "cuda/workspace.h"

namespace duo::cuda {

// forward: results only. probe: both branches of a layer stay, to be mixed again. distill: and inputs of all layers,
// and backward. sketch: backward of layers whose inputs are kept elsewhere, for several gradients by turns.
enum class PassRole { forward, probe, distill, sketch };

struct PassSize {
  int64_t tokens, rows;  // rows: positions that are looked at
  PassRole role = PassRole::forward;
  int64_t kept_layers = 0;  // the topmost layers whose branches stay from forward to backward; the rest attend again
  bool teacher_branch = false;  // the teacher's full branch of every layer stays
  bool side_by_side = false;    // teacher and student take each layer in turn
};

// What attention leaves for a layer's gradient. Rows are the layer's own.
struct BranchOutputs {
  bf16 *mixed, *difference;      // [rows, H, D]
  float *full_lse, *stream_lse;  // [H, rows]
};

struct PassMemory {
  int64_t chunk_rows;                        // rows of the buffers that hold a chunk
  int32_t *tokens, *all_positions, *wanted;  // [T], [T], [P]
  int32_t *kv_lists;                         // [L, G]: heads of each layer, full alone, then streaming alone, then both
  float *gates;                              // [L, G]
  int64_t *recent;  // [L, G]: windows of the streaming branches; not written where every head is full
  float *mlp_peaks, *projection_peaks;       // [L] each, together: what f16 has to hold of each layer
  float *cosine, *sine;                      // [T, D/2]
  float *residual;                           // [T, C] the stream; in backward its gradient
  float *last;                               // [P, C] the last layer's
  bf16 *normed, *qkv, *query, *key, *value;  // [T, …]
  bf16 *selected, *query_raw;                // [P, …] of the last layer
  bf16 *mixed;                               // [T, H, D]
  bf16 *chunk_normed, *gate_up, *activated;  // [chunk, …]
  float *full, *stream;                      // [T, H, D] branches; in backward d_query, and d_key with d_value
  BranchOutputs again;                       // of a layer that attends again
  // distill
  std::vector<bf16 *> inputs;                              // [L][T, C]
  std::vector<BranchOutputs> kept;                         // [L], null below the kept layers
  std::vector<float *> teacher_full;                       // [L], or empty
  float *teacher_residual, *teacher_last;                  // [T, C], [P, C] side by side, else null
  int32_t *teacher_lists;                                  // [L, G] side by side, else null
  float *teacher_hidden, *student_hidden, *last_gradient;  // [P, C]
  // distill, sketch
  float *middle;              // [chunk, C]
  bf16 *d_normed, *d_qkv;     // [chunk, C], [T, (H + 2G)·D]
  bf16 *d_mixed, *d_gate_up;  // distill: [T, H, D]; sketch: [chunk, 2I]
  float *deltas;              // [3, H, T]
  double *gate_sums, *loss_sums, *loss;
  float *d_gates;  // [L, G]

  void lay_out(Layout &layout, const ModelConfig &config, const PassSize &size);
  // Bytes that a layout of `size` takes.
  static int64_t count_bytes(const ModelConfig &config, const PassSize &size);
};

}  // namespace duo::cuda

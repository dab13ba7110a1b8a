// Tensor names of GGUF files as Hugging Face names, and the row order of q and k that llama.cpp's converter changes.
#pragma once
#include <cstdint>
#include <string>

namespace duo {

// "blk.0.attn_q.weight" → "model.layers.0.self_attn.q_proj.weight"; "" for a tensor that is not of the four
// architectures.
std::string translate_gguf_name(const std::string &name);

// Whether the rows of a tensor (its Hugging Face name) are stored in pairs in files of this architecture: rows 2i and
// 2i + 1 of a head for i and i + D/2, as rotation of neighbours wants them. Only `llama` files have them so, in the
// weights and biases of q and k.
bool has_paired_rows(const std::string &architecture, const std::string &name);

// Copy the rows of whole heads back to halves: row i of a head from row 2i, row i + D/2 from row 2i + 1. Rows are moved
//   as bytes,
// so that blocks stay as they are.   from, to [rows, row_bytes], not overlapping; rows is a multiple of head_dim,
//   head_dim is even.
void unpair_rows(const uint8_t *from, int64_t rows, int64_t row_bytes, int64_t head_dim, uint8_t *to);

}  // namespace duo

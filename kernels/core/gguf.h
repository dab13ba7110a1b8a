// Reader of one GGUF file: magic, version, metadata, tensor list, then aligned data. Every count is bounded before it
// is used, and only the few fields that weights need are kept; configuration and tokenizer are read in TypeScript
// (src/model/gguf.ts). Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3,
// little-endian. Fuzzed by tests/fuzz_gguf.cpp.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace duo {

struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;  // rows first (the file has the row length first); 1 to 4 axes, each 1 … 2^40
  uint32_t type;               // the number in ggml
  Dtype dtype;                 // Dtype::stored for a type that duo does not compute
  int64_t begin, end;          // bytes inside the file; end = begin where the size of a type is not known here
};

struct GgufFile {
  std::string architecture;  // general.architecture; "" where absent, as in all but the first file of a split model
  std::vector<GgufTensor> tensors;
};

// Whether the bytes begin as a GGUF file does.
bool is_gguf(const uint8_t *data, size_t size);

// Name of a ggml type, "type 99" for a number that ggml has not given.
std::string ggml_type_name(uint32_t type);

// Limits: 2^16 metadata fields and bytes of a key, 2^20 tensors, 2^24 elements of an array, 2^26 bytes of a string, 4
// axes. Refused: other versions, big-endian files, nested arrays, fields or tensors that occur twice, overlapping or
// out-of-range data, a shape whose rows are not whole blocks. `path` only names the file in errors (Error FORMAT).
GgufFile parse_gguf(const uint8_t *data, size_t size, const std::string &path);

}  // namespace duo

// Reader of one safetensors header: 8 bytes of length, a JSON object, raw data. Every size is bounded before it is
// used. Format: https://github.com/huggingface/safetensors#format. Fuzzed by tests/fuzz_safetensors.cpp.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace duo {

struct SafetensorsEntry {
  std::string name, dtype;     // dtype as spelled: "F32", "BF16", …
  std::vector<int64_t> shape;  // each 0 … 2^40
  int64_t begin, end;          // bytes inside the file, begin <= end <= file size
};

// Limits: the header is at most 100 MB as in the reference reader, a shape has at most 8 axes. Refused: duplicate
// names, overlapping or out-of-range data, a length that shape and dtype contradict, anything that is not JSON. `path`
// only names the file in errors (Error FORMAT).
std::vector<SafetensorsEntry> parse_safetensors(const uint8_t *data, size_t size, const std::string &path);

}  // namespace duo

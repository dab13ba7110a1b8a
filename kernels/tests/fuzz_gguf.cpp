// libFuzzer target: any bytes as a GGUF file give tensors inside the file or a FORMAT error. run-sanitizers.sh builds
// it with clang++ -fsanitize=fuzzer,address,undefined; for ten minutes: FUZZ_SECONDS=600
// kernels/tests/run-sanitizers.sh
#include <cstdlib>

#include "core/error.h"
#include "core/gguf.h"
#include "core/gguf_blocks.h"
#include "core/gguf_names.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  try {
    for (const auto &tensor : duo::parse_gguf(data, size, "fuzz").tensors) {
      if (tensor.begin < 24 || tensor.begin > tensor.end || tensor.end > static_cast<int64_t>(size)) std::abort();
      duo::translate_gguf_name(tensor.name);
      int64_t elements = 1;
      for (const int64_t axis : tensor.shape) elements *= axis;
      if (tensor.dtype == duo::Dtype::stored) continue;
      if (elements / duo::block_elements(tensor.dtype) * duo::block_bytes(tensor.dtype) != tensor.end - tensor.begin)
        std::abort();
      // What the bounds promise can be read.
      float values[duo::K_BLOCK];
      duo::dequantize(tensor.dtype, data + tensor.end - duo::block_bytes(tensor.dtype),
                      duo::block_elements(tensor.dtype), values);
    }
  } catch (const duo::Error &error) {
    if (error.status() != DUO_STATUS_FORMAT) std::abort();
  }
  return 0;
}

#ifdef DUO_FUZZ_STANDALONE
#include "fuzz_main.h"

int main(int count, char **paths) {
  std::vector<std::string> pieces{"GGUF", "general.alignment", "general.architecture"};
  for (const uint64_t value : {0ull, 1ull, 7ull, 8ull, 9ull, 12ull, 32ull, 255ull, 1ull << 20, 1ull << 31, 1ull << 32,
                               1ull << 40, 1ull << 62, 1ull << 63, ~0ull}) {
    for (const size_t bytes : {size_t{1}, size_t{4}, size_t{8}}) {
      std::string piece;
      for (size_t i = 0; i < bytes; i++) piece += static_cast<char>(value >> (8 * i));
      pieces.push_back(piece);
    }
  }
  return duo::run_fuzz("fuzz_gguf", count, paths, pieces);
}
#endif

// libFuzzer target: any bytes as a safetensors file give entries inside the file or a FORMAT error. run-sanitizers.sh
// builds it with clang++ -fsanitize=fuzzer,address,undefined; for ten minutes: FUZZ_SECONDS=600
// kernels/tests/run-sanitizers.sh
#include <cstdlib>

#include "core/error.h"
#include "core/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  try {
    for (const auto &entry : duo::parse_safetensors(data, size, "fuzz")) {
      if (entry.begin < 8 || entry.begin > entry.end || entry.end > static_cast<int64_t>(size)) std::abort();
    }
  } catch (const duo::Error &error) {
    if (error.status() != DUO_STATUS_FORMAT) std::abort();
  }
  return 0;
}

#ifdef DUO_FUZZ_STANDALONE
#include "fuzz_main.h"

int main(int count, char **paths) {
  std::vector<std::string> pieces;
  for (const char c : std::string("{}[]\":,0129\\u")) pieces.emplace_back(1, c);
  return duo::run_fuzz("fuzz_safetensors", count, paths, pieces);
}
#endif

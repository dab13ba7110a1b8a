// libFuzzer target: any bytes as a safetensors file give entries inside the file or a FORMAT error. run-sanitizers.sh builds it with
// clang++ -fsanitize=fuzzer,address,undefined; for ten minutes: FUZZ_SECONDS=600 kernels/tests/run-sanitizers.sh
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
// Without libFuzzer: random mutations of the corpus files named on the command line, for DUO_FUZZ_SECONDS (default 10).
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

int main(int count, char **paths) {
  std::vector<std::vector<uint8_t>> corpus;
  for (int i = 1; i < count; i++) {
    std::ifstream file(paths[i], std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (corpus.empty()) return 2;
  const char *limit = std::getenv("DUO_FUZZ_SECONDS");
  const double seconds = limit != nullptr ? std::atof(limit) : 10;
  const auto start = std::chrono::steady_clock::now();
  uint64_t state = 88172645463325252ull, rounds = 0;
  const auto next = [&state] { return state ^= state << 13, state ^= state >> 7, state ^= state << 17; };
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) {
    auto input = corpus[next() % corpus.size()];
    for (uint64_t edits = next() % 8; edits > 0 && !input.empty(); edits--) {
      const size_t at = next() % input.size();
      switch (next() % 4) {
        case 0: input[at] = static_cast<uint8_t>(next()); break;
        case 1: input.erase(input.begin() + static_cast<std::ptrdiff_t>(at)); break;
        case 2: input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), "{}[]\":,0129\\u"[next() % 13]); break;
        default: {
          const auto &other = corpus[next() % corpus.size()];
          const size_t from = next() % (other.size() + 1), length = next() % (other.size() - from + 1);
          const std::vector<uint8_t> piece(other.begin() + static_cast<std::ptrdiff_t>(from), other.begin() + static_cast<std::ptrdiff_t>(from + length));
          input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), piece.begin(), piece.end());
        }
      }
    }
    LLVMFuzzerTestOneInput(input.data(), input.size());
    rounds++;
  }
  std::printf("fuzz_safetensors: %llu inputs without a finding\n", static_cast<unsigned long long>(rounds));
  return 0;
}
#endif

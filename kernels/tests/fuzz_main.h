// Drives a libFuzzer target without libFuzzer: random mutations of the corpus files named on the command line, for
// DUO_FUZZ_SECONDS (default 10) or DUO_FUZZ_INPUTS inputs, whichever ends first.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

namespace duo {

// `pieces`: byte strings that mean something in the format, inserted or written over at random places.
inline int run_fuzz(const char *name, int count, char **paths, const std::vector<std::string> &pieces) {
  std::vector<std::vector<uint8_t>> corpus;
  for (int i = 1; i < count; i++) {
    std::ifstream file(paths[i], std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (corpus.empty()) return 2;
  const char *time_limit = std::getenv("DUO_FUZZ_SECONDS"), *input_limit = std::getenv("DUO_FUZZ_INPUTS");
  const double seconds = time_limit != nullptr ? std::atof(time_limit) : 10;
  const uint64_t inputs = input_limit != nullptr ? std::strtoull(input_limit, nullptr, 10) : UINT64_MAX;
  const auto start = std::chrono::steady_clock::now();
  uint64_t state = 88172645463325252ull, rounds = 0;
  const auto next = [&state] { return state ^= state << 13, state ^= state >> 7, state ^= state << 17; };
  while (rounds < inputs && std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) {
    auto input = corpus[next() % corpus.size()];
    for (uint64_t edits = next() % 8; edits > 0 && !input.empty(); edits--) {
      const size_t at = next() % input.size();
      const auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
      const std::string &piece = pieces[next() % pieces.size()];
      switch (next() % 5) {
        case 0: input[at] = static_cast<uint8_t>(next()); break;
        case 1: input.erase(place); break;
        case 2: input.insert(place, piece.begin(), piece.end()); break;
        case 3:
          for (size_t i = 0; i < piece.size() && at + i < input.size(); i++)
            input[at + i] = static_cast<uint8_t>(piece[i]);
          break;
        default: {
          const auto &other = corpus[next() % corpus.size()];
          const size_t from = next() % (other.size() + 1), length = next() % (other.size() - from + 1);
          const std::vector<uint8_t> part(other.begin() + static_cast<std::ptrdiff_t>(from),
                                          other.begin() + static_cast<std::ptrdiff_t>(from + length));
          input.insert(place, part.begin(), part.end());
        }
      }
    }
    LLVMFuzzerTestOneInput(input.data(), input.size());
    rounds++;
  }
  std::printf("%s: %llu inputs without a finding\n", name, static_cast<unsigned long long>(rounds));
  return 0;
}

}  // namespace duo

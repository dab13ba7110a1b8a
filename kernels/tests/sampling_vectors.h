// The draws of sampling_vectors.txt, which TypeScript reads as well.
#pragma once
#include <fstream>
#include <sstream>

#include "check.h"
#include "core/backend.h"

namespace duo {

struct SamplingVector {
  Sampling sampling;
  int64_t length;
  int32_t token;
};
struct SamplingVectors {
  std::vector<float> logits;
  std::vector<SamplingVector> draws;
};

inline SamplingVectors read_sampling_vectors() {
  SamplingVectors read;
  std::ifstream file(DUO_SAMPLING_VECTORS);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    if (line.rfind("#", 0) == 0) continue;
    if (line.rfind("logits ", 0) == 0) {
      std::string word;
      words >> word;
      while (words >> word) read.logits.push_back(std::stof(word));
      continue;
    }
    SamplingVector draw{};
    words >> draw.sampling.temperature >> draw.sampling.top_k >> draw.sampling.top_p >> draw.sampling.seed >>
        draw.length >> draw.token;
    read.draws.push_back(draw);
  }
  expect(read.draws.size() > 150 && read.logits.size() == 97, "sampling_vectors.txt is read");
  return read;
}

}  // namespace duo

// How many rows go through an MLP at once.
#pragma once
#include <cstdint>

namespace duo {

// A multiple of every register tile's rows; three buffers of MLP_ROWS·intermediate floats bound the working set (99 MB
// at 8192).
constexpr int64_t MLP_ROWS = 1008;

}  // namespace duo

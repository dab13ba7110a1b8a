// How long the device takes for what is queued on a stream.
#pragma once
#include <functional>

#include "cuda/runtime.h"

namespace duo::cuda {

// Seconds between two events around what `body` queues; waits for its end.
double time_seconds(const Stream &stream, const std::function<void()> &body);

}  // namespace duo::cuda

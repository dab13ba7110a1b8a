#include "cuda/decode_steps.h"

namespace duo::cuda {
namespace {

// Rows that memory is taken for: few sizes, so that a growing batch does not allocate again with each session.
int64_t rows_for(int64_t batch) {
  return batch == 1 ? 1 : batch <= MAX_VECTOR_ROWS ? MAX_VECTOR_ROWS : MAX_STEP_SESSIONS;
}

}  // namespace

int64_t DecodeSteps::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  int64_t bytes = 0;
  for (const auto &[rows, buffers] : buffers_) bytes += buffers->bytes();
  return bytes;
}

DecodeStep &DecodeSteps::find(const DecodeKind &kind) {
  std::unique_ptr<DecodeStep> &step = steps_[kind];
  if (!step) {
    std::unique_ptr<DecodeBuffers> &buffers = buffers_[rows_for(kind.batch)];
    if (!buffers) {
      buffers = std::make_unique<DecodeBuffers>(model_, rows_for(kind.batch), stream_);
      stream_.scratch(model_.algebra().workspace_bytes());  // of matrix products: not to be taken during a capture
    }
    step = std::make_unique<DecodeStep>(model_, kind, *buffers);
  }
  return *step;
}

}  // namespace duo::cuda

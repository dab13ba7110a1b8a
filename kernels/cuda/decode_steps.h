// The decode steps of a model's sessions: one for each number of sessions and kind of cache that came, made when it
// first comes, with the memory that they share. One step of a model runs at a time; sessions of several threads take
// turns.
#pragma once
#include <map>
#include <memory>
#include <mutex>

#include "cuda/decode_step.h"

namespace duo::cuda {

class DecodeSteps {
 public:
  explicit DecodeSteps(const CudaModel &model) : model_(model) {}
  int64_t bytes() const;

 private:
  friend class DecodeTurn;
  DecodeStep &find(const DecodeKind &kind);

  const CudaModel &model_;
  mutable std::mutex mutex_;
  std::map<int64_t, std::unique_ptr<DecodeBuffers>> buffers_;  // by rows
  std::map<DecodeKind, std::unique_ptr<DecodeStep>> steps_;
  Stream stream_;  // last: its destructor waits before the memory above goes
};

// The right to run steps, for as long as it lives. The holder waits for the stream before what a step reads or
// writes is used elsewhere.
class DecodeTurn {
 public:
  explicit DecodeTurn(DecodeSteps &steps) : steps_(steps), lock_(steps.mutex_) {}
  ~DecodeTurn() { cudaStreamSynchronize(steps_.stream_.get()); }
  DecodeTurn(const DecodeTurn &) = delete;
  DecodeTurn &operator=(const DecodeTurn &) = delete;
  DecodeStep &step(const DecodeKind &kind) { return steps_.find(kind); }
  const Stream &stream() const { return steps_.stream_; }

 private:
  DecodeSteps &steps_;
  std::lock_guard<std::mutex> lock_;
};

}  // namespace duo::cuda

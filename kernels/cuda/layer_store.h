// Where the weights of a model's layers are: all in device memory, or in pinned host memory with two layers' worth of
// device memory, into which a stream of its own copies the layer that comes next while the one before it computes.
// Code that computes asks a LayerReader for a layer and does not see the difference. Norms and biases are always on the
// device.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/task.h"
#include "cuda/device_layer.h"

namespace duo::cuda {

// The layer that a pass takes after its current one.
struct LayerOrder {
  int64_t step;  // 1 or -1
  int64_t then;  // after the first or last layer; -1: not known
};

class LayerStore {
 public:
  LayerStore() = default;
  ~LayerStore();
  LayerStore(const LayerStore &) = delete;
  LayerStore &operator=(const LayerStore &) = delete;

  // The next layer, to stay on the device.
  void add(DeviceLayer layer);
  // The next layer, whose matrices go to pinned host memory. Layers whose tensors lie at the same addresses (`tensors`)
  // share it: the layer is only its norms and biases then, and is_shared is true. Throws MEMORY.
  void add_to_host(DeviceLayer layer, const std::vector<const uint8_t *> &tensors, const Stream &stream);
  bool is_shared(const std::vector<const uint8_t *> &tensors) const { return blocks_by_tensors_.count(tensors) > 0; }
  // After the last layer: takes the device memory. Throws MEMORY.
  void finish();

  bool streams() const { return !blocks_.empty(); }
  int64_t count() const { return static_cast<int64_t>(layers_.size()); }
  // A layer's shapes and formats; its norms and biases are there, its matrices where nothing streams.
  const DeviceLayer &description(int64_t index) const { return layers_[static_cast<size_t>(index)]; }
  int64_t device_bytes() const;    // weights of layers in device memory, room for two streamed ones included
  int64_t pinned_bytes() const;    // host memory
  int64_t streamed_bytes() const;  // what a pass through all layers copies
  int64_t copied_bytes() const { return copied_bytes_; }  // so far

  // Keep the f16 twins (f16_weights.cu) of each layer in turn, in the order of its matrices(); then call finish_f16.
  // For a streamed layer, twins derived from what the device holds are made again with every copy; the others are
  // copied too. Throws MEMORY.
  void keep_f16(std::vector<F16Matrix> twins, const std::vector<bool> &is_derived, const Stream &stream);
  void finish_f16();
  int64_t num_f16() const { return num_f16_; }  // layers whose twins are kept

  // What comes next; without it nothing is copied ahead.
  void expect(LayerOrder order) { order_ = order; }

 private:
  friend class LayerReader;
  friend class LayerTurn;
  struct HostBlock {
    PinnedBuffer<uint8_t> memory;
    int64_t bytes;
  };
  struct Twins {
    std::vector<float> units;
    std::vector<bool> is_derived;
    std::unique_ptr<HostBlock> block;  // of those that are not
  };
  struct Slot {
    int64_t index = -1;
    DeviceLayer layer;                  // views of `memory`
    DeviceBuffer<uint8_t> memory, f16;  // as bytes of the largest layer
    cudaEvent_t copied = nullptr, used = nullptr;
    std::vector<cudaStream_t> readers;  // whose work may use it
  };
  const DeviceLayer &use(int64_t index, cudaStream_t reader);
  void forget(cudaStream_t reader);
  Slot *find(int64_t index);
  Slot &fill(int64_t index);
  void make_f16(const Twins &twins, Slot &slot);
  std::unique_ptr<HostBlock> allocate(int64_t bytes);

  std::vector<DeviceLayer> layers_;
  std::vector<std::shared_ptr<HostBlock>> blocks_;  // of each layer; empty where nothing streams
  std::map<std::vector<const uint8_t *>, std::shared_ptr<HostBlock>> blocks_by_tensors_;
  std::vector<Twins> twins_;
  int64_t num_f16_ = 0;
  bool has_f16_ = false;
  LayerOrder order_{1, -1};
  std::atomic<int64_t> copied_bytes_{0};
  int64_t current_ = -1;
  Slot slots_[2];
  DeviceBuffer<float> widened_;  // a slice of a matrix on its way to f16
  std::timed_mutex mutex_;
  Stream copies_;  // last: its destructor waits before the memory above goes
};

// The right to use a model's layers, for one call: a streamed model computes one at a time, because two would take each
// other's layers; calls on a resident one run side by side. Readers live within it.
class LayerTurn {
 public:
  // Throws ABORTED while it waits.
  LayerTurn(LayerStore &store, Task &task);

 private:
  std::unique_lock<std::timed_mutex> lock_;
};

// Layers for the work of one stream: what the stream is given after use(index), and before the use of another layer by
// any reader of the call, finds the layer's weights in the device memory that it names.
class LayerReader {
 public:
  LayerReader(LayerStore &store, const Stream &stream) : store_(store), stream_(stream.get()) {}
  ~LayerReader();  // waits for the stream where layers are streamed
  LayerReader(const LayerReader &) = delete;
  LayerReader &operator=(const LayerReader &) = delete;
  const DeviceLayer &use(int64_t index) { return store_.use(index, stream_); }

 private:
  LayerStore &store_;
  cudaStream_t stream_;
};

}  // namespace duo::cuda

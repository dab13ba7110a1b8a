// Two slots of device memory, filled in turn. A copy waits for the work of those who read what was in its slot; readers
// wait for the copy. Both by events, so that the host waits for neither.
#include "cuda/layer_store.h"

#include <algorithm>
#include <chrono>

#include "cuda/f16_weights.h"
#include "cuda/workspace.h"

namespace duo::cuda {
namespace {

constexpr auto TURN_POLL = std::chrono::milliseconds(20);  // an abort is seen within 100 ms

// visit(buffer of `from`, the same of `to`) for each buffer of a matrix that is copied.
template <typename Visit>
void visit_parts(const DeviceMatrix &from, DeviceMatrix &to, const Visit &visit) {
  visit(from.values, to.values);
  visit(from.codes, to.codes);
  visit(from.row_scale, to.row_scale);
  visit(from.scales, to.scales);
}

template <typename T>
DeviceBuffer<T> take_view(Layout &layout, int64_t count) {
  return DeviceBuffer<T>::view(layout.take<T>(count), count);
}

// The parts of a layer that are copied, laid out one after another.
void lay_out(Layout &layout, const DeviceLayer &from, DeviceLayer &to) {
  for (size_t i = 0; i < from.matrices().size(); i++) {
    const DeviceMatrix &matrix = *from.matrices()[i];
    DeviceMatrix &view = *to.matrices()[i];
    view.rows = matrix.rows, view.columns = matrix.columns, view.format = matrix.format;
    visit_parts(matrix, view, [&](const auto &part, auto &there) {
      there = take_view<std::decay_t<decltype(*part.data())>>(layout, part.count());
    });
  }
}

void lay_out_f16(Layout &layout, DeviceLayer &to, const std::vector<float> &units) {
  for (size_t i = 0; i < to.matrices().size(); i++) {
    DeviceMatrix &matrix = *to.matrices()[i];
    matrix.f16.values = take_view<uint16_t>(layout, matrix.rows * matrix.columns);
    matrix.f16.unit = units[i];
  }
}

int64_t count_streamed(const DeviceLayer &layer) {
  Layout layout(nullptr);
  DeviceLayer views;
  lay_out(layout, layer, views);
  return layout.bytes();
}

int64_t count_f16(const DeviceLayer &layer) {
  int64_t bytes = 0;
  for (const DeviceMatrix *matrix : layer.matrices()) {
    Layout layout(nullptr);
    layout.take<uint16_t>(matrix->rows * matrix->columns);
    bytes += layout.bytes();
  }
  return bytes;
}

void copy(void *to, const void *from, int64_t bytes, cudaMemcpyKind kind, const Stream &stream) {
  if (bytes > 0)
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), kind, stream.get()), "copying weights of a layer");
}

}  // namespace

LayerStore::~LayerStore() {
  cudaStreamSynchronize(copies_.get());
  for (Slot &slot : slots_) {
    if (slot.copied != nullptr) cudaEventDestroy(slot.copied);
    if (slot.used != nullptr) cudaEventDestroy(slot.used);
  }
}

void LayerStore::add(DeviceLayer layer) { layers_.push_back(std::move(layer)); }

std::unique_ptr<LayerStore::HostBlock> LayerStore::allocate(int64_t bytes) {
  auto block = std::make_unique<HostBlock>();
  block->bytes = bytes;
  try {
    block->memory.resize(bytes);
  } catch (const Error &error) {
    if (error.status() != DUO_STATUS_MEMORY) throw;
    fail(DUO_STATUS_MEMORY,
         "Expected %.2f GB more of pinned host memory for weights that are streamed to the device, got none after %.2f "
         "GB: raise the limit of locked memory (ulimit -l), free host memory, or hold the weights in 8 or 4 bits",
         static_cast<double>(bytes) * 1e-9, static_cast<double>(pinned_bytes()) * 1e-9);
  }
  return block;
}

void LayerStore::add_to_host(DeviceLayer layer, const std::vector<const uint8_t *> &tensors, const Stream &stream) {
  std::shared_ptr<HostBlock> &shared = blocks_by_tensors_[tensors];
  if (shared == nullptr) {
    const int64_t bytes = count_streamed(layer);
    try {
      shared = allocate(bytes);
    } catch (...) {
      blocks_by_tensors_.erase(tensors);
      throw;
    }
    Layout host(shared->memory.data());
    for (const DeviceMatrix *matrix : layer.matrices()) {
      DeviceMatrix none;
      visit_parts(*matrix, none, [&](const auto &part, auto &) {
        copy(host.take<std::decay_t<decltype(*part.data())>>(part.count()), part.data(), part.bytes(),
             cudaMemcpyDeviceToHost, stream);
      });
    }
    stream.wait();
  } else {
    const auto same = std::find(blocks_.begin(), blocks_.end(), shared) - blocks_.begin();
    const DeviceLayer &first = layers_[static_cast<size_t>(same)];
    for (size_t i = 0; i < first.matrices().size(); i++) {
      DeviceMatrix &matrix = *layer.matrices()[i];
      matrix.rows = first.matrices()[i]->rows, matrix.columns = first.matrices()[i]->columns;
      matrix.format = first.matrices()[i]->format;
      visit_parts(*first.matrices()[i], matrix, [](const auto &part, auto &there) {
        there = std::decay_t<decltype(there)>::view(nullptr, part.count());
      });
    }
  }
  blocks_.push_back(shared);
  // The matrices keep their sizes.
  for (DeviceMatrix *matrix : layer.matrices()) {
    visit_parts(*matrix, *matrix, [](const auto &part, auto &there) {
      const int64_t count = part.count();
      there = std::decay_t<decltype(there)>::view(nullptr, count);
    });
  }
  layers_.push_back(std::move(layer));
}

void LayerStore::finish() {
  if (!streams()) return;
  int64_t most = 0;
  for (const auto &block : blocks_) most = std::max(most, block->bytes);
  for (Slot &slot : slots_) {
    slot.memory.resize(most);
    check(cudaEventCreate(&slot.copied), "creating an event");
    check(cudaEventCreate(&slot.used), "creating an event");
  }
}

int64_t LayerStore::device_bytes() const {
  int64_t bytes = widened_.bytes();
  for (const DeviceLayer &layer : layers_) {
    bytes += layer.bytes();
    if (!streams()) continue;
    for (const DeviceMatrix *matrix : layer.matrices()) bytes -= matrix->bytes() - matrix->bias.bytes();
  }
  for (const Slot &slot : slots_) bytes += slot.memory.bytes() + slot.f16.bytes();
  return bytes;
}

int64_t LayerStore::pinned_bytes() const {
  int64_t bytes = 0;
  for (const auto &[tensors, block] : blocks_by_tensors_) bytes += block == nullptr ? 0 : block->bytes;
  for (const Twins &twins : twins_) bytes += twins.block == nullptr ? 0 : twins.block->bytes;
  return bytes;
}

int64_t LayerStore::streamed_bytes() const {
  int64_t bytes = 0;
  for (const auto &block : blocks_) bytes += block->bytes;
  for (const Twins &twins : twins_) bytes += twins.block == nullptr ? 0 : twins.block->bytes;
  return bytes;
}

void LayerStore::keep_f16(std::vector<F16Matrix> twins, const std::vector<bool> &is_derived, const Stream &stream) {
  if (!streams()) {
    const auto matrices = layers_[static_cast<size_t>(num_f16_++)].matrices();
    for (size_t i = 0; i < twins.size(); i++) matrices[i]->f16 = std::move(twins[i]);
    return;
  }
  Twins kept;
  kept.is_derived = is_derived;
  Layout size(nullptr);
  for (size_t i = 0; i < twins.size(); i++) {
    kept.units.push_back(twins[i].unit);
    if (!is_derived[i]) size.take<uint16_t>(twins[i].values.count());
  }
  if (size.bytes() > 0) {
    kept.block = allocate(size.bytes());
    Layout host(kept.block->memory.data());
    for (size_t i = 0; i < twins.size(); i++) {
      const DeviceBuffer<uint16_t> &values = twins[i].values;
      if (!is_derived[i])
        copy(host.take<uint16_t>(values.count()), values.data(), values.bytes(), cudaMemcpyDeviceToHost, stream);
    }
    stream.wait();
  }
  twins_.push_back(std::move(kept));
  num_f16_++;
}

void LayerStore::finish_f16() {
  if (!streams()) return;
  int64_t most = 0, widened = 0;
  for (size_t index = 0; index < layers_.size(); index++) {
    most = std::max(most, count_f16(layers_[index]));
    for (size_t i = 0; i < twins_[index].units.size(); i++) {
      if (twins_[index].is_derived[i]) widened = std::max(widened, count_widened(*layers_[index].matrices()[i]));
    }
  }
  check(cudaStreamSynchronize(copies_.get()), "waiting for weights");
  for (Slot &slot : slots_) slot.f16.resize(most);
  widened_.resize(widened);
  for (Slot &slot : slots_) slot.index = -1;
  current_ = -1;
  has_f16_ = true;
}

LayerStore::Slot *LayerStore::find(int64_t index) {
  for (Slot &slot : slots_) {
    if (slot.index == index) return &slot;
  }
  return nullptr;
}

// The slot that is not the current layer's, with layer `index` on its way into it.
LayerStore::Slot &LayerStore::fill(int64_t index) {
  Slot &slot = slots_[current_ >= 0 && slots_[0].index == current_ ? 1 : 0];
  slot.index = -1;
  for (const cudaStream_t reader : slot.readers) {
    check(cudaEventRecord(slot.used, reader), "recording an event");
    check(cudaStreamWaitEvent(copies_.get(), slot.used, 0), "waiting for a layer's readers");
  }
  slot.readers.clear();
  const DeviceLayer &described = layers_[static_cast<size_t>(index)];
  const HostBlock &block = *blocks_[static_cast<size_t>(index)];
  copy(slot.memory.data(), block.memory.data(), block.bytes, cudaMemcpyHostToDevice, copies_);
  Layout layout(slot.memory.data());
  slot.layer = DeviceLayer();
  lay_out(layout, described, slot.layer);
  const auto view = [](const DeviceBuffer<float> &from) {
    return DeviceBuffer<float>::view(from.data(), from.count());
  };
  slot.layer.input_norm = view(described.input_norm);
  slot.layer.post_attention_norm = view(described.post_attention_norm);
  slot.layer.query_norm = view(described.query_norm), slot.layer.key_norm = view(described.key_norm);
  for (size_t i = 0; i < described.matrices().size(); i++)
    slot.layer.matrices()[i]->bias = view(described.matrices()[i]->bias);
  if (has_f16_) make_f16(twins_[static_cast<size_t>(index)], slot);
  check(cudaEventRecord(slot.copied, copies_.get()), "recording an event");
  slot.index = index;
  copied_bytes_ += block.bytes;
  return slot;
}

void LayerStore::make_f16(const Twins &twins, Slot &slot) {
  Layout layout(slot.f16.data());
  lay_out_f16(layout, slot.layer, twins.units);
  Layout host(twins.block == nullptr ? nullptr : twins.block->memory.data());
  for (size_t i = 0; i < slot.layer.matrices().size(); i++) {
    DeviceMatrix &matrix = *slot.layer.matrices()[i];
    DeviceBuffer<uint16_t> &to = matrix.f16.values;
    if (twins.is_derived[i]) {
      check(launch_derive_f16(matrix, matrix.f16.unit, widened_.data(), to.data(), copies_.get()), "widening weights");
    } else {
      copy(to.data(), host.take<uint16_t>(to.count()), to.bytes(), cudaMemcpyHostToDevice, copies_);
      copied_bytes_ += to.bytes();
    }
  }
}

const DeviceLayer &LayerStore::use(int64_t index, cudaStream_t reader) {
  if (!streams()) return layers_[static_cast<size_t>(index)];
  Slot *slot = find(index);
  if (slot == nullptr) slot = &fill(index);
  if (std::find(slot->readers.begin(), slot->readers.end(), reader) == slot->readers.end()) {
    check(cudaStreamWaitEvent(reader, slot->copied, 0), "waiting for a layer's weights");
    slot->readers.push_back(reader);
  }
  if (current_ != index) {
    current_ = index;
    const int64_t beside = index + order_.step, next = beside >= 0 && beside < count() ? beside : order_.then;
    if (next >= 0 && find(next) == nullptr) fill(next);
  }
  return slot->layer;
}

void LayerStore::forget(cudaStream_t reader) {
  for (Slot &slot : slots_)
    slot.readers.erase(std::remove(slot.readers.begin(), slot.readers.end(), reader), slot.readers.end());
}

LayerTurn::LayerTurn(LayerStore &store, Task &task) {
  if (!store.streams()) return;
  lock_ = std::unique_lock<std::timed_mutex>(store.mutex_, std::defer_lock);
  while (!lock_.try_lock_for(TURN_POLL)) task.check_abort();
  store.expect({1, -1});
}

LayerReader::~LayerReader() {
  if (!store_.streams()) return;
  cudaStreamSynchronize(stream_);
  store_.forget(stream_);
}

}  // namespace duo::cuda

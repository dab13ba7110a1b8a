// Pages of KV caches (kv_formats.h), for all sessions of a model: taken when a text grows, given back when its session
// closes. The pool takes device memory in slabs and hands a slab back once none of its pages is in use.
#pragma once
#include <map>
#include <mutex>
#include <vector>

#include "cuda/runtime.h"

namespace duo::cuda {

// Safe from several threads.
class PagePool {
 public:
  // `count` pages of `page_bytes` each, ascending, side by side as far as they come from one slab. Throws MEMORY, and
  // then has taken none.
  std::vector<uint8_t *> take(int64_t page_bytes, int64_t count);
  void give_back(int64_t page_bytes, const std::vector<uint8_t *> &pages);
  // Pages that could be taken now: those that lie free, and those that fit the device's free memory less `spare_bytes`.
  int64_t count_available(int64_t page_bytes, int64_t spare_bytes) const;
  // Device memory of all slabs.
  int64_t bytes() const;
  // From now on slabs take no more than this; those that are there stay.
  void limit(int64_t most_bytes);

 private:
  struct Slab {
    DeviceBuffer<uint8_t> memory;
    int64_t count = 0;
    std::vector<uint8_t *> free;  // descending where sorted, so that the last is the lowest
    bool is_sorted = true;
  };
  using Shelf = std::map<uint8_t *, Slab>;  // by address
  int64_t count_bytes() const;
  void add_slab(Shelf &shelf, int64_t page_bytes, int64_t least);

  mutable std::mutex mutex_;
  int64_t most_bytes_ = INT64_MAX;
  std::map<int64_t, Shelf> shelves_;  // by bytes of a page
};

}  // namespace duo::cuda

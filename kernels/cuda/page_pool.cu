#include "cuda/page_pool.h"

#include <algorithm>
#include <functional>

namespace duo::cuda {
namespace {

// What a slab holds beyond the pages that are asked for, so that a decoding session does not wait for an allocation
// every 256 tokens: a quarter of what the pool has, from the granularity of device memory up.
constexpr int64_t MIN_SLAB_BYTES = int64_t{2} << 20, MAX_SPARE_BYTES = int64_t{256} << 20;

}  // namespace

void PagePool::add_slab(Shelf &shelf, int64_t page_bytes, int64_t least) {
  const int64_t held = count_bytes(),
                spare = std::max(MIN_SLAB_BYTES, std::min(MAX_SPARE_BYTES, held / 4)) / page_bytes;
  Slab slab;
  const auto allocate = [&](int64_t count) {
    if (count * page_bytes > most_bytes_ - held) fail(DUO_STATUS_MEMORY, "Expected pages within the limit of the pool");
    slab.memory.resize(count * page_bytes);
    slab.count = count;
  };
  try {
    allocate(std::max(least, spare));
  } catch (const Error &) {
    allocate(least);  // no room for spare pages, but perhaps for the needed ones
  }
  for (int64_t i = slab.count - 1; i >= 0; i--) slab.free.push_back(slab.memory.data() + i * page_bytes);
  uint8_t *const at = slab.memory.data();
  shelf.emplace(at, std::move(slab));
}

std::vector<uint8_t *> PagePool::take(int64_t page_bytes, int64_t count) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Shelf &shelf = shelves_[page_bytes];
  int64_t free = 0;
  for (const auto &[at, slab] : shelf) free += static_cast<int64_t>(slab.free.size());
  if (free < count) add_slab(shelf, page_bytes, count - free);
  std::vector<uint8_t *> pages;
  for (auto &[at, slab] : shelf) {
    if (!slab.is_sorted) std::sort(slab.free.begin(), slab.free.end(), std::greater<>()), slab.is_sorted = true;
    while (static_cast<int64_t>(pages.size()) < count && !slab.free.empty())
      pages.push_back(slab.free.back()), slab.free.pop_back();
  }
  return pages;
}

void PagePool::give_back(int64_t page_bytes, const std::vector<uint8_t *> &pages) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Shelf &shelf = shelves_[page_bytes];
  for (uint8_t *page : pages) {
    const auto at = std::prev(shelf.upper_bound(page));
    Slab &slab = at->second;
    slab.free.push_back(page);
    slab.is_sorted = false;
    if (static_cast<int64_t>(slab.free.size()) == slab.count) shelf.erase(at);
  }
}

int64_t PagePool::count_available(int64_t page_bytes, int64_t spare_bytes) const {
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
  const std::lock_guard<std::mutex> lock(mutex_);
  // Device memory comes in pieces of the least slab's size.
  const int64_t of_device =
      std::max<int64_t>(0, static_cast<int64_t>(free_bytes) - spare_bytes) / MIN_SLAB_BYTES * MIN_SLAB_BYTES;
  int64_t pages = std::min(of_device, std::max<int64_t>(0, most_bytes_ - count_bytes())) / page_bytes;
  if (const auto shelf = shelves_.find(page_bytes); shelf != shelves_.end()) {
    for (const auto &[at, slab] : shelf->second) pages += static_cast<int64_t>(slab.free.size());
  }
  return pages;
}

int64_t PagePool::count_bytes() const {
  int64_t bytes = 0;
  for (const auto &[page_bytes, shelf] : shelves_) {
    for (const auto &[at, slab] : shelf) bytes += slab.memory.bytes();
  }
  return bytes;
}

int64_t PagePool::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return count_bytes();
}

void PagePool::limit(int64_t most_bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  most_bytes_ = most_bytes;
}

}  // namespace duo::cuda

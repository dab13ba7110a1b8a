#include "cuda/cache_pages.h"

#include <algorithm>

namespace duo::cuda {
namespace {

constexpr int THREADS = 256;

// One block per page.
__global__ void copy_pages_kernel(uint8_t *const *from, uint8_t *const *to, int64_t page_bytes) {
  const auto *source = reinterpret_cast<const uint4 *>(from[blockIdx.x]);
  auto *target = reinterpret_cast<uint4 *>(to[blockIdx.x]);
  for (int64_t i = threadIdx.x; i < page_bytes / 16; i += THREADS) target[i] = source[i];
}

}  // namespace

cudaError_t launch_copy_pages(uint8_t *const *from, uint8_t *const *to, int64_t count, int64_t page_bytes,
                              cudaStream_t stream) {
  return launch({dim3(static_cast<unsigned>(count)), THREADS}, stream, copy_pages_kernel, from, to, page_bytes);
}

CachePages::CachePages(PagePool &pool, int64_t heads, int64_t page_bytes, int64_t max_tokens)
    : pool_(pool),
      heads_(heads),
      page_bytes_(page_bytes),
      max_columns_(ceil_divide(max_tokens, PAGE_ENTRIES)),
      table_(heads * (max_columns_ + 1)) {}

void CachePages::reserve(int64_t length, int64_t count, const Stream &stream) {
  if (heads_ == 0 || count == 0) return;
  const int64_t first = static_cast<int64_t>(columns_.size()),
                fresh = std::max<int64_t>(0, ceil_divide(length + count, PAGE_ENTRIES) - first);
  // The text continues inside this column, unless it is none of these.
  const int64_t inside = length / PAGE_ENTRIES;
  const bool has_copy = inside < first && is_shared(inside);
  if (fresh == 0 && !has_copy) return;
  // A head's pages side by side.
  const std::vector<uint8_t *> taken = pool_.take(page_bytes_, (fresh + has_copy) * heads_);
  std::vector<uint8_t *> rows(static_cast<size_t>(fresh * heads_));
  for (int64_t column = 0; column < fresh; column++) {
    uint8_t **row = rows.data() + column * heads_;
    for (int64_t head = 0; head < heads_; head++) row[head] = taken[static_cast<size_t>(head * fresh + column)];
    columns_.push_back(std::make_shared<const Column>(pool_, page_bytes_, std::vector<uint8_t *>(row, row + heads_)));
  }
  copy_to_device(table_.data() + first * heads_, rows.data(), static_cast<int64_t>(rows.size()), stream);
  if (has_copy) copy_column(inside, std::vector<uint8_t *>(taken.end() - heads_, taken.end()), stream);
}

void CachePages::copy_column(int64_t column, std::vector<uint8_t *> pages, const Stream &stream) {
  uint8_t **row = table_.data() + column * heads_, **spare = table_.data() + max_columns_ * heads_;
  copy_to_device(spare, pages.data(), heads_, stream);
  check(launch_copy_pages(row, spare, heads_, page_bytes_, stream.get()), "copying pages");
  check(cudaMemcpyAsync(row, spare, static_cast<size_t>(heads_) * sizeof(uint8_t *), cudaMemcpyDeviceToDevice,
                        stream.get()),
        "writing the page table");
  // Another session that has the old column may write to it once this one has released it.
  stream.wait();
  columns_[static_cast<size_t>(column)] = std::make_shared<const Column>(pool_, page_bytes_, std::move(pages));
}

void CachePages::trim(int64_t length) {
  columns_.resize(std::min(columns_.size(), static_cast<size_t>(ceil_divide(length, PAGE_ENTRIES))));
}

void CachePages::share(const CachePages &other, int64_t length, const Stream &stream) {
  columns_ = other.columns_;
  trim(length);
  const size_t bytes = columns_.size() * static_cast<size_t>(heads_) * sizeof(uint8_t *);
  if (bytes > 0)
    check(cudaMemcpyAsync(table_.data(), other.table_.data(), bytes, cudaMemcpyDeviceToDevice, stream.get()),
          "copying the page table");
}

int64_t CachePages::shared_bytes() const {
  int64_t shared = 0;
  for (int64_t column = 0; column < static_cast<int64_t>(columns_.size()); column++) shared += is_shared(column);
  return shared * heads_ * page_bytes_;
}

int64_t CachePages::count_room(int64_t length, int64_t spare_bytes) const {
  const int64_t held = static_cast<int64_t>(columns_.size()), inside = length / PAGE_ENTRIES;
  if (heads_ == 0) return max_columns_ * PAGE_ENTRIES - length;
  int64_t fresh = pool_.count_available(page_bytes_, spare_bytes) / heads_;
  if (inside < held && is_shared(inside)) {
    if (fresh == 0) return 0;
    fresh--;
  }
  return std::min(held + fresh, max_columns_) * PAGE_ENTRIES - length;
}

}  // namespace duo::cuda

// The pages of one session's retrieval heads, and the table in device memory by which kernels find them. All heads have
// seen as many tokens, so pages come and go by columns, one page of each head for 256 tokens. A fork shares its
// parent's columns; a session that writes to a shared one copies it first.
#pragma once
#include <memory>
#include <vector>

#include "cuda/kv_formats.h"
#include "cuda/page_pool.h"

namespace duo::cuda {

// to[i] = a copy of from[i], pages of page_bytes.   from, to [count] device
cudaError_t launch_copy_pages(uint8_t *const *from, uint8_t *const *to, int64_t count, int64_t page_bytes,
                              cudaStream_t stream);

class CachePages {
 public:
  // `heads`: of all layers; none is allowed.
  CachePages(PagePool &pool, int64_t heads, int64_t page_bytes, int64_t max_tokens);

  // The first page of head `index` in the table; its later ones lie stride() further each.
  uint8_t *const *pages_of(int64_t index) const { return table_.data() + index; }
  int64_t stride() const { return heads_; }

  // Pages for tokens length … length + count − 1, written from then on by work on `stream`. Throws MEMORY, and then has
  // taken none.
  void reserve(int64_t length, int64_t count, const Stream &stream);
  // Give back the columns that a text of `length` tokens does not reach.
  void trim(int64_t length);
  // Share the columns of `other`, a session of the same heads, as far as `length` tokens reach.
  void share(const CachePages &other, int64_t length, const Stream &stream);

  int64_t held_bytes() const { return static_cast<int64_t>(columns_.size()) * heads_ * page_bytes_; }
  // Of these, in columns that another session has too.
  int64_t shared_bytes() const;
  // Tokens that would still find a page after `length`, with `spare_bytes` of the device's memory left alone.
  int64_t count_room(int64_t length, int64_t spare_bytes) const;

 private:
  struct Column {
    Column(PagePool &of, int64_t bytes, std::vector<uint8_t *> taken)
        : pool(of), page_bytes(bytes), pages(std::move(taken)) {}
    ~Column() { pool.give_back(page_bytes, pages); }
    Column(const Column &) = delete;
    Column &operator=(const Column &) = delete;
    PagePool &pool;
    int64_t page_bytes;
    std::vector<uint8_t *> pages;  // [heads]
  };
  bool is_shared(int64_t column) const { return columns_[static_cast<size_t>(column)].use_count() > 1; }
  void copy_column(int64_t column, std::vector<uint8_t *> pages, const Stream &stream);

  PagePool &pool_;
  int64_t heads_, page_bytes_, max_columns_;
  std::vector<std::shared_ptr<const Column>> columns_;
  DeviceBuffer<uint8_t *> table_;  // [max_columns + 1, heads]; the last row is for a copy
};

}  // namespace duo::cuda

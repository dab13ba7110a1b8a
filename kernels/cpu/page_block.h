// Large blocks of memory straight from the system, on huge pages where it gives them.
#pragma once
#include <cstdint>

namespace duo {

// Zeroed memory straight from the system, on huge pages where it gives them; untouched pages cost nothing.
class PageBlock {
 public:
  explicit PageBlock(int64_t bytes);
  ~PageBlock();
  PageBlock(const PageBlock &) = delete;
  PageBlock &operator=(const PageBlock &) = delete;
  uint8_t *data() const { return data_; }

 private:
  uint8_t *data_ = nullptr;
  int64_t bytes_;
};

}  // namespace duo

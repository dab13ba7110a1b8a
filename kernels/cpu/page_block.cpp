#include "cpu/page_block.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace duo {

PageBlock::PageBlock(int64_t bytes) : bytes_(std::max<int64_t>(bytes, 1)) {
  void *block = mmap(nullptr, static_cast<size_t>(bytes_), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<uint8_t *>(block);
  madvise(block, static_cast<size_t>(bytes_), MADV_HUGEPAGE);
}

PageBlock::~PageBlock() { munmap(data_, static_cast<size_t>(bytes_)); }

}  // namespace duo

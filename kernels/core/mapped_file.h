// A file mapped read-only into memory for as long as the object lives.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace duo {

class MappedFile {
 public:
  explicit MappedFile(const std::string &path);  // throws Error FILE
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;
  const uint8_t *data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const uint8_t *data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace duo

// mmap of weight files. Pages come in as they are read; a file that shrinks while it is mapped would raise SIGBUS,
// which no reader can turn into an error, so weights must not be rewritten in place under a running process.
#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace duo {

MappedFile::MappedFile(const std::string &path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    fail(DUO_STATUS_FILE, "Expected to open weight file `%.700s`, got: %s", path.c_str(), std::strerror(errno));
  struct stat status {};
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(descriptor);
    fail(DUO_STATUS_FILE, "Expected `%.700s` to be a regular file", path.c_str());
  }
  size_ = static_cast<size_t>(status.st_size);
  if (size_ > 0) {
    void *address = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const int error = errno;
    if (address == MAP_FAILED) {
      close(descriptor);
      fail(DUO_STATUS_FILE, "Expected to map weight file `%.700s`, got: %s", path.c_str(), std::strerror(error));
    }
    data_ = static_cast<const uint8_t *>(address);
  }
  close(descriptor);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t *>(data_), size_);
}

}  // namespace duo

// Matrix products by cuBLASLt where it can be opened at run time, else by the project's own kernel.
#pragma once
#include <memory>
#include <string>

#include "cuda/gemm.h"
#include "cuda/runtime.h"

namespace duo::cuda {

class LinearAlgebra {
 public:
  // Looks for libcublasLt.so.13, .12, .so; environment DUO_CUBLASLT=0 keeps to the project's own kernel. Products are made
  // for this device and run on it: a cuBLASLt handle belongs to the device that is selected when it is created.
  explicit LinearAlgebra(int device_index);
  ~LinearAlgebra();
  // The description of one, without selecting a device.
  static std::string describe();
  // Safe from several threads; the result depends only on the product, not on the stream.
  void multiply(const Product &product, const Stream &stream);
  bool has_library() const { return library_ != nullptr; }
  // "cublasLt" or "own kernels (why)".
  const std::string &description() const { return description_; }
  // Device memory that products of one stream take in addition to their operands.
  int64_t workspace_bytes() const;

 private:
  struct Library;
  // Null where `description` says why.
  static std::unique_ptr<Library> open_library(std::string &description);
  std::string description_;
  std::unique_ptr<Library> library_;
};

}  // namespace duo::cuda

// The one exception type of the library: a DUO_STATUS code and a sentence. Thrown anywhere below the ABI, caught
// there (core/abi.h).
#pragma once
#include <cstdint>
#include <exception>
#include <string>

#include "duo.h"

namespace duo {

class Error : public std::exception {
 public:
  Error(int32_t status, std::string text) : status_(status), text_(std::move(text)) {}
  int32_t status() const noexcept { return status_; }
  const char *what() const noexcept override { return text_.c_str(); }

 private:
  int32_t status_;
  std::string text_;
};

// Throw an Error with a printf-style sentence of at most 1023 bytes.
[[noreturn]] void fail(int32_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace duo

// The library carries libstdc++ inside (-static-libstdc++), and the one of a new distribution asks glibc 2.36 for
// arc4random, for std::random_device, which duo never uses. Defined here, so that the library loads on glibc 2.35
// (Ubuntu 22.04). Hidden: nothing else sees it.
#if defined(__linux__)
#include <stdint.h>
#include <unistd.h>

// Not <stdlib.h>, whose declaration of arc4random would be a second one where glibc has it.
extern "C" void abort() noexcept __attribute__((noreturn));
extern "C" int getentropy(void *buffer, size_t length) noexcept;

extern "C" __attribute__((visibility("hidden"))) uint32_t arc4random() noexcept {
  uint32_t value = 0;
  if (getentropy(&value, sizeof value) != 0) abort();
  return value;
}
#endif

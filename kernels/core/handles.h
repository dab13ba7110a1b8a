// Opaque handles of the ABI: a handle is a number that is never reused and never dereferenced, so a closed one is
// detected, not followed.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/error.h"

namespace duo {

template <typename Handle, typename Object>
class HandleTable {
 public:
  Handle *insert(std::shared_ptr<Object> object) {
    std::lock_guard<std::mutex> lock(mutex_);
    const uintptr_t id = next_;
    next_ += 16;  // looks like an aligned address, which some FFIs insist on
    objects_.emplace(id, std::move(object));
    return reinterpret_cast<Handle *>(id);
  }
  std::shared_ptr<Object> find(const Handle *handle, const char *name) const {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(handle));
    if (found == objects_.end()) fail_closed(handle, name);
    return found->second;
  }
  // Take the object out; its destructor runs outside the lock, in the caller.
  std::shared_ptr<Object> remove(const Handle *handle, const char *name) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(handle));
    if (found == objects_.end()) fail_closed(handle, name);
    std::shared_ptr<Object> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }

 private:
  [[noreturn]] static void fail_closed(const Handle *handle, const char *name) {
    if (handle == nullptr) fail(DUO_STATUS_NULL, "Expected `%s` to be a handle, got null", name);
    fail(DUO_STATUS_HANDLE, "Expected `%s` to be an open handle, got one that is closed or was never opened", name);
  }

  mutable std::mutex mutex_;
  std::unordered_map<uintptr_t, std::shared_ptr<Object>> objects_;
  uintptr_t next_ = 0x10000;
};

}  // namespace duo

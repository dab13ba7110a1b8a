// Progress, abort and error text of one long call, shared between the calling thread and its observers.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "core/error.h"

namespace duo {

class Task {
 public:
  void abort() { aborted_.store(true, std::memory_order_relaxed); }
  bool is_aborted() const { return aborted_.load(std::memory_order_relaxed); }
  // Throw DUO_STATUS_ABORTED once abort() was called. Call it at least every 50 ms of work.
  void check_abort() const {
    if (is_aborted()) fail(DUO_STATUS_ABORTED, "the work was stopped on request");
  }
  void set_total(int64_t total) {
    done_.store(0, std::memory_order_relaxed);
    total_.store(total, std::memory_order_relaxed);
  }
  void add_done(int64_t amount = 1) { done_.fetch_add(amount, std::memory_order_relaxed); }
  int64_t done() const { return done_.load(std::memory_order_relaxed); }
  int64_t total() const { return total_.load(std::memory_order_relaxed); }
  void reset() {
    aborted_.store(false, std::memory_order_relaxed);
    set_total(0);
    set_error("");
  }
  void set_error(const std::string &text) {
    std::lock_guard<std::mutex> lock(mutex_);
    error_ = text;
  }
  std::string error() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return error_;
  }

 private:
  std::atomic<bool> aborted_{false};
  std::atomic<int64_t> done_{0}, total_{0};
  mutable std::mutex mutex_;
  std::string error_;
};

}  // namespace duo

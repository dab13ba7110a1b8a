// Fork-join over an atomic item counter; workers spin briefly before they sleep, since decode forks hundreds of times per
// token.
#include "cpu/thread_pool.h"

#include <sched.h>

namespace duo {
namespace {

// About 20 µs of polling: longer than the gap between two forks of a decode step, far shorter than a scheduler tick.
constexpr int SPIN_ROUNDS = 2000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int64_t num_threads) {
  for (int64_t worker = 1; worker < num_threads; worker++) threads_.emplace_back([this, worker] { work(worker); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  for (auto &thread : threads_) thread.join();
}

void ThreadPool::run(int64_t num_items, const Body &body) {
  if (num_items <= 0) return;
  std::lock_guard<std::mutex> turn(turn_);
  if (num_items == 1 || threads_.empty()) {
    for (int64_t item = 0; item < num_items; item++) body(item, 0);
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    body_ = &body;
    num_items_ = num_items;
    error_ = nullptr;
    next_item_.store(0);
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  drain(body, num_items, 0);
  std::unique_lock<std::mutex> lock(mutex_);
  // Who wakes up from here on finds nothing to do: a worker that the machine does not run holds nobody up.
  body_ = nullptr;
  if (num_busy_.load() != 0) {
    lock.unlock();
    for (int round = 0; round < SPIN_ROUNDS && num_busy_.load() != 0; round++) relax();
    lock.lock();
    finished_.wait(lock, [this] { return num_busy_.load() == 0; });
  }
  if (error_) std::rethrow_exception(error_);
}

void ThreadPool::drain(const Body &body, int64_t num_items, int64_t worker) {
  try {
    for (int64_t item; (item = next_item_.fetch_add(1)) < num_items;) body(item, worker);
  } catch (...) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!error_) error_ = std::current_exception();
    next_item_.store(num_items);
  }
}

void ThreadPool::work(int64_t worker) {
  uint64_t seen = 0;
  for (;;) {
    const Body *body = nullptr;
    int64_t num_items = 0;
    for (int round = 0; round < SPIN_ROUNDS && generation_.load() == seen; round++) relax();
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
      seen = generation_.load();
      if (stopping_) return;
      if (body_ == nullptr) continue;
      body = body_;
      num_items = num_items_;
      num_busy_.fetch_add(1);
    }
    drain(*body, num_items, worker);
    std::lock_guard<std::mutex> lock(mutex_);
    if (num_busy_.fetch_sub(1) == 1) finished_.notify_one();
  }
}

int64_t count_usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  const unsigned hardware = std::thread::hardware_concurrency();
  return hardware == 0 ? 1 : hardware;
}

}  // namespace duo

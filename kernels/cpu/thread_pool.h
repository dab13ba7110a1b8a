// Fork-join worker threads of one model. The caller takes part; items are claimed one by one, so results must not
// depend on who does which.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace duo {

class ThreadPool {
 public:
  // body(item, worker): item 0 … num_items−1, worker 0 … num_threads−1 (for per-worker scratch).
  using Body = std::function<void(int64_t item, int64_t worker)>;

  explicit ThreadPool(int64_t num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  int64_t num_threads() const { return static_cast<int64_t>(threads_.size()) + 1; }

  // Run every item and return when all are done. The first exception of a body is thrown here after the others have
  // stopped claiming. Calls from several threads take turns. A body must not call run() of the same pool.
  void run(int64_t num_items, const Body &body);

 private:
  void work(int64_t worker);
  void drain(const Body &body, int64_t num_items, int64_t worker);

  std::vector<std::thread> threads_;
  std::mutex turn_;  // one run() at a time
  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int64_t> next_item_{0}, num_busy_{0};
  int64_t num_items_ = 0;
  const Body *body_ = nullptr;  // null once the items of the running call are all claimed
  std::exception_ptr error_;
  bool stopping_ = false;
};

// CPUs this process may run on (its affinity mask), at least 1.
int64_t count_usable_cpus();

}  // namespace duo

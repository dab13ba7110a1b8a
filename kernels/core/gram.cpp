// Gram blocks: each entry is one fp64 sum in index order over sixteen interleaved lanes, added up in lane order at the end.
#include "core/gram.h"

#include <algorithm>

#include "cpu/thread_pool.h"

namespace duo {
namespace {

constexpr int64_t LANES = 16;

double dot_f64(const float *a, const float *b, int64_t length) {
  double lanes[LANES] = {};
  int64_t i = 0;
  for (; i + LANES <= length; i += LANES) {
    for (int64_t lane = 0; lane < LANES; lane++) lanes[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
  }
  double sum = 0;
  for (; i < length; i++) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

void accumulate_gram(const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length, double scale, int32_t num_threads,
                     Task &task, double *gram, int64_t gram_stride) {
  ThreadPool pool(num_threads == 0 ? count_usable_cpus() : num_threads);
  task.set_total(num_a);
  pool.run(num_a, [&](int64_t row, int64_t) {
    for (int64_t column = 0; column < num_b; column++) {
      task.check_abort();
      gram[row * gram_stride + column] += scale * dot_f64(a + row * length, b + column * length, length);
    }
    task.add_done();
  });
}

}  // namespace duo

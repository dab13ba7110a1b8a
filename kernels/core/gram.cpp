// Gram blocks: each entry is one fp64 sum in index order over sixteen interleaved lanes, added up in lane order at the
// end. Rows go in tiles and through chunks of their length, so that a chunk of the tile stays in the cache while every
// column passes; the order of a sum does not depend on it.
#include "core/gram.h"

#include <algorithm>
#include <vector>

#include "cpu/cpu_features.h"
#include "cpu/thread_pool.h"

namespace duo {
namespace {

constexpr int64_t TILE_ROWS = 16;
constexpr int64_t CHUNK = 1024;  // floats of a row: a tile's chunk is 64 KB
static_assert(CHUNK % GRAM_LANES == 0);

double add_lanes(const double *lanes, const float *a, const float *b, int64_t from, int64_t to) {
  double sum = 0;
  for (int64_t i = from; i < to; i++) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  for (int64_t lane = 0; lane < GRAM_LANES; lane++) sum += lanes[lane];
  return sum;
}

}  // namespace

void accumulate_gram(const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length, double scale,
                     int32_t num_threads, Task &task, double *gram, int64_t gram_stride) {
  const SimdOps &ops = choose_simd_ops("");
  const bool is_own = a == b && num_a == num_b;  // then the upper half is the lower one's mirror, to the bit
  const int64_t even = length / GRAM_LANES * GRAM_LANES;
  ThreadPool pool(num_threads == 0 ? count_usable_cpus() : num_threads);
  task.set_total(num_a);
  pool.run((num_a + TILE_ROWS - 1) / TILE_ROWS, [&](int64_t tile, int64_t) {
    const int64_t first = tile * TILE_ROWS, last = std::min(num_a, first + TILE_ROWS), columns = is_own ? last : num_b;
    std::vector<double> lanes(static_cast<size_t>((last - first) * columns * GRAM_LANES));
    const auto lanes_of = [&](int64_t row, int64_t column) {
      return lanes.data() + ((row - first) * columns + column) * GRAM_LANES;
    };
    for (int64_t begin = 0; begin < even; begin += CHUNK) {
      task.check_abort();
      const int64_t count = std::min(CHUNK, even - begin);
      // A few columns at a time: their chunk is read from memory once and stays for all rows of the tile.
      for (int64_t column = 0; column < columns; column += 4) {
        for (int64_t row = first; row < last; row++) {
          ops.add_products(a + row * length + begin, b + column * length + begin, length,
                           std::min<int64_t>(4, columns - column), count, lanes_of(row, column));
        }
      }
    }
    for (int64_t row = first; row < last; row++) {
      for (int64_t column = 0; column < (is_own ? row + 1 : columns); column++) {
        const double value =
            scale * add_lanes(lanes_of(row, column), a + row * length, b + column * length, even, length);
        gram[row * gram_stride + column] += value;
        if (is_own && column < row) gram[column * gram_stride + row] += value;
      }
      task.add_done();
    }
  });
}

}  // namespace duo

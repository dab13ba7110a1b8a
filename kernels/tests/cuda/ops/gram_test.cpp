// Gram blocks: the bits of the CPU's order of additions, at lengths around lanes and chunks and rows around tiles.
#include "cuda/gram.h"
#include "op_test.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

OP_TEST(reduction, launch_gram) {
  struct Case {
    int64_t num_a, num_b, length;
  };
  for (const Case &c : {Case{1, 1, 1}, Case{3, 17, 16}, Case{17, 5, 55}, Case{33, 18, 271}, Case{16, 16, 545}}) {
    Random random(static_cast<uint64_t>(c.length));
    // Of sizes far apart, so that fp64 sums are rounded and their order shows.
    const auto draw = [&](int64_t count) {
      std::vector<float> values = random.values(count);
      for (float &value : values) value = std::ldexp(value, static_cast<int>(random.below(24)));
      return values;
    };
    const std::vector<float> a = draw(c.num_a * c.length), b = draw(c.num_b * c.length);
    const auto left = upload(a), right = upload(b);
    const auto multiply = [&](const std::vector<float> &other, int64_t row, int64_t column) {
      const auto product = [&](int64_t i) {
        return static_cast<double>(a[static_cast<size_t>(row * c.length + i)]) *
               static_cast<double>(other[static_cast<size_t>(column * c.length + i)]);
      };
      double lanes[16] = {}, sum = 0;
      const int64_t even = c.length / 16 * 16;
      for (int64_t i = 0; i < even; i++) lanes[i % 16] += product(i);
      for (int64_t i = even; i < c.length; i++) sum += product(i);
      for (const double lane : lanes) sum += lane;
      return sum;
    };
    const std::string name =
        "gram " + std::to_string(c.num_a) + "x" + std::to_string(c.num_b) + "x" + std::to_string(c.length);
    const auto got = run_launch<double>(name, c.num_a * c.num_b, [&](double *sums, cudaStream_t stream) {
      return launch_gram(left.data(), c.num_a, right.data(), c.num_b, c.length, false, sums, stream);
    });
    bool is_same = true;
    for (int64_t row = 0; row < c.num_a; row++) {
      for (int64_t column = 0; column < c.num_b; column++)
        is_same = is_same && got[static_cast<size_t>(row * c.num_b + column)] == multiply(b, row, column);
    }
    expect(is_same, name + ": the bits of the CPU's order");
    const std::vector<double> before(static_cast<size_t>(c.num_a * c.num_a), -1.0);
    const auto own = run_launch<double>(
        name + ", own", c.num_a * c.num_a,
        [&](double *sums, cudaStream_t stream) {
          return launch_gram(left.data(), c.num_a, left.data(), c.num_a, c.length, true, sums, stream);
        },
        before);
    is_same = true;
    for (int64_t row = 0; row < c.num_a; row++) {
      for (int64_t column = 0; column <= row; column++)
        is_same = is_same && own[static_cast<size_t>(row * c.num_a + column)] == multiply(a, row, column);
    }
    expect(is_same, name + ": the lower half of its own");
  }
}

}  // namespace

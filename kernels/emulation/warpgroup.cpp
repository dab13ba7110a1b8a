// Matrix products of a warpgroup, as wgmma makes them: operands found through their 64-bit descriptors (128-byte
// swizzle), made when waited for.
#include <array>
#include <deque>
#include <vector>

#include "core/dtype.h"
#include "emulation/cuda_emulation.h"

namespace duo::emulation {

namespace {

constexpr unsigned SIZE = 128, MAX_GROUPS = 8;

struct Product {
  std::array<float *, SIZE> sums;
  std::array<std::array<uint32_t, 4>, SIZE> left;
  WarpgroupProduct shape;
};
struct Queue {
  std::vector<Product> open;
  std::deque<std::vector<Product>> groups;
};
std::array<Queue, MAX_GROUPS> queues;

Queue &own_queue() { return queues[threadIdx.x / SIZE]; }

// Element (row, column 0…15) of an operand whose rows lie along tile rows, or (row along the tile's columns, depth) of
// a deep one.
float read(uint64_t tile, int row, int depth, bool is_deep, bool is_f16) {
  const uint64_t start = (tile & 0x3fff) << 4, leading = (tile >> 16 & 0x3fff) << 4,
                 stride = (tile >> 32 & 0x3fff) << 4;
  uint64_t at = start;
  if (is_deep) {
    at += static_cast<uint64_t>(row / 64) * leading + static_cast<uint64_t>(depth / 8) * stride +
          static_cast<uint64_t>(depth % 8) * 128 + static_cast<uint64_t>(row % 64) * 2;
  } else {
    at += static_cast<uint64_t>(row / 8) * stride + static_cast<uint64_t>(row % 8) * 128 +
          static_cast<uint64_t>(depth) * 2;
  }
  at ^= (at >> 7 & 7) << 4;
  uint16_t word;
  std::memcpy(&word, current->shared + at, sizeof word);
  return is_f16 ? f16_to_float(word) : bf16_to_float(word);
}

void make(const Product &p) {
  const int columns = p.shape.num_sums * 2;
  float left[64][16];
  std::vector<float> right(static_cast<size_t>(columns) * 16);
  for (int row = 0; row < 64; row++) {
    for (int k = 0; k < 16; k++) {
      if (p.shape.left == nullptr) {
        left[row][k] = read(p.shape.left_tile, row, k, false, p.shape.is_f16);
      } else {
        const auto &words = p.left[static_cast<size_t>(row / 16 * 32 + row % 8 * 4 + k % 8 / 2)];
        const auto word = static_cast<uint16_t>(words[static_cast<size_t>(row % 16 / 8 + k / 8 * 2)] >> (k % 2 * 16));
        left[row][k] = p.shape.is_f16 ? f16_to_float(word) : bf16_to_float(word);
      }
    }
  }
  for (int column = 0; column < columns; column++) {
    for (int k = 0; k < 16; k++)
      right[static_cast<size_t>(k * columns + column)] =
          read(p.shape.right_tile, column, k, p.shape.is_deep, p.shape.is_f16);
  }
  // Where thread `thread` has its sum i.
  const auto place = [&](unsigned thread, int i) {
    const int lane = static_cast<int>(thread % 32), row = static_cast<int>(thread / 32) * 16 + lane / 4 + i % 4 / 2 * 8;
    return static_cast<size_t>(row * columns + i / 4 * 8 + lane % 4 * 2 + i % 2);
  };
  std::vector<float> sums(static_cast<size_t>(64 * columns));
  for (unsigned thread = 0; p.shape.adds && thread < SIZE; thread++) {
    for (int i = 0; i < p.shape.num_sums; i++) sums[place(thread, i)] = p.sums[thread][i];
  }
  // Columns innermost, so that the compiler takes several at once; the terms of each sum come in the order of the depth.
  for (int row = 0; row < 64; row++) {
    for (int k = 0; k < 16; k++) {
      for (int column = 0; column < columns; column++) {
        sums[static_cast<size_t>(row * columns + column)] +=
            left[row][k] * right[static_cast<size_t>(k * columns + column)];
      }
    }
  }
  for (unsigned thread = 0; thread < SIZE; thread++) {
    for (int i = 0; i < p.shape.num_sums; i++) p.sums[thread][i] = sums[place(thread, i)];
  }
}

}  // namespace

void queue_warpgroup_product(const WarpgroupProduct &product) {
  WarpgroupProduct operand = product;
  run_warpgroup_collective("wgmma", &operand, [](void **operands) {
    Product made;
    made.shape = *static_cast<WarpgroupProduct *>(operands[0]);
    for (unsigned thread = 0; thread < SIZE; thread++) {
      const auto *one = static_cast<WarpgroupProduct *>(operands[thread]);
      const WarpgroupProduct &first = made.shape;
      if (one->num_sums != first.num_sums || one->left_tile != first.left_tile || one->right_tile != first.right_tile ||
          one->is_deep != first.is_deep || one->adds != first.adds || one->is_f16 != first.is_f16) {
        report_fault("Expected one product of all threads of a warpgroup, thread " + std::to_string(thread) +
                     " brought another");
      }
      made.sums[thread] = one->sum;
      for (size_t i = 0; i < 4; i++) made.left[thread][i] = one->left == nullptr ? 0 : one->left[i];
    }
    own_queue().open.push_back(made);
  });
}

void commit_warpgroup_products() {
  run_warpgroup_collective("wgmma.commit_group", nullptr, [](void **) {
    own_queue().groups.push_back(std::move(own_queue().open));
    own_queue().open.clear();
  });
}

void wait_warpgroup_products(int groups_left) {
  run_warpgroup_collective("wgmma.wait_group", &groups_left, [](void **operands) {
    Queue &queue = own_queue();
    while (static_cast<int>(queue.groups.size()) > *static_cast<int *>(operands[0])) {
      for (const Product &product : queue.groups.front()) make(product);
      queue.groups.pop_front();
    }
  });
}

void forget_warpgroup_products() {
  for (Queue &queue : queues) queue = Queue{};
}

}  // namespace duo::emulation

// The matrix product of a warp, as mma.sync.m16n8k16 makes it; the fragments' layouts stand at mma_m16n8k16 in
// cuda/device.h.
#include "core/dtype.h"
#include "emulation/cuda_emulation.h"

namespace duo::emulation {

namespace {

template <float (*widen)(uint16_t)>
void multiply(void **lanes) {
  float left[16][16], right[16][8], sums[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const auto *one = static_cast<const WarpProduct *>(lanes[lane]);
    const int r = lane / 4, c = lane % 4 * 2;
    for (int i = 0; i < 4; i++) {
      left[r + i % 2 * 8][c + i / 2 * 8] = widen(static_cast<uint16_t>(one->a[i]));
      left[r + i % 2 * 8][c + i / 2 * 8 + 1] = widen(static_cast<uint16_t>(one->a[i] >> 16));
    }
    for (int i = 0; i < 2; i++) {
      right[c + i * 8][r] = widen(static_cast<uint16_t>(one->b[i]));
      right[c + i * 8 + 1][r] = widen(static_cast<uint16_t>(one->b[i] >> 16));
    }
    for (int i = 0; i < 4; i++) sums[r + i / 2 * 8][c + i % 2] = one->sum[i];
  }
  // Columns innermost, so that the compiler takes several at once; the terms of each sum come in the order of the depth.
  for (int row = 0; row < 16; row++) {
    for (int k = 0; k < 16; k++) {
      for (int column = 0; column < 8; column++) sums[row][column] += left[row][k] * right[k][column];
    }
  }
  for (int lane = 0; lane < 32; lane++) {
    float *sum = static_cast<const WarpProduct *>(lanes[lane])->sum;
    const int r = lane / 4, c = lane % 4 * 2;
    for (int i = 0; i < 4; i++) sum[i] = sums[r + i / 2 * 8][c + i % 2];
  }
}

}  // namespace

void multiply_bf16(void **lanes) { multiply<bf16_to_float>(lanes); }
void multiply_f16(void **lanes) { multiply<f16_to_float>(lanes); }

}  // namespace duo::emulation

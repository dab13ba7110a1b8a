// The scan for NaN and infinity: an exponent of all ones, whatever the dtype.
#include "core/weight_values.h"

#include <algorithm>
#include <cinttypes>
#include <cstring>

namespace duo {
namespace {

// Elements between two looks at the abort flag: a millisecond or so.
constexpr int64_t BLOCK = int64_t{1} << 20;

// Index of the first element whose exponent bits are all ones; count if none. Data may be unaligned, hence memcpy.
template <typename Bits>
int64_t find_non_finite(const uint8_t *data, int64_t count, Bits exponent) {
  Bits hit = 0;
  for (int64_t i = 0; i < count; i++) {
    Bits bits;
    std::memcpy(&bits, data + i * static_cast<int64_t>(sizeof bits), sizeof bits);
    hit |= static_cast<Bits>((bits & exponent) == exponent);
  }
  if (hit == 0) return count;
  for (int64_t i = 0;; i++) {
    Bits bits;
    std::memcpy(&bits, data + i * static_cast<int64_t>(sizeof bits), sizeof bits);
    if ((bits & exponent) == exponent) return i;
  }
}

int64_t find_non_finite(const uint8_t *data, int64_t count, Dtype dtype) {
  if (dtype == Dtype::f32) return find_non_finite<uint32_t>(data, count, 0x7f800000u);
  return find_non_finite<uint16_t>(data, count, dtype == Dtype::f16 ? 0x7c00u : 0x7f80u);
}

void check_finite_blocks(const std::string &name, const Tensor &tensor, Task &task) {
  const int64_t count = tensor.bytes() / block_bytes(tensor.dtype), step = BLOCK / block_elements(tensor.dtype);
  for (int64_t begin = 0; begin < count; begin += step) {
    task.check_abort();
    const int64_t size = std::min(step, count - begin);
    const int64_t at = find_non_finite_block(tensor.dtype, tensor.data + begin * block_bytes(tensor.dtype), size);
    if (at < size) {
      fail(DUO_STATUS_NUMERIC,
           "Expected finite numbers in tensor `%s`, got a NaN or infinity in the %s block at index %" PRId64
           "; download the file again or use another model",
           name.c_str(), dtype_name(tensor.dtype), (begin + at) * block_elements(tensor.dtype));
    }
  }
}

}  // namespace

void check_finite_values(const std::string &name, const Tensor &tensor, Task &task) {
  if (is_quantized(tensor.dtype)) return check_finite_blocks(name, tensor, task);
  const int64_t count = tensor.rows * tensor.columns;
  for (int64_t begin = 0; begin < count; begin += BLOCK) {
    task.check_abort();
    const int64_t size = std::min(BLOCK, count - begin);
    const int64_t at = find_non_finite(tensor.data + begin * dtype_bytes(tensor.dtype), size, tensor.dtype);
    if (at < size) {
      fail(DUO_STATUS_NUMERIC,
           "Expected finite numbers in tensor `%s`, got a NaN or infinity at index %" PRId64
           "; download the file again or use another model",
           name.c_str(), begin + at);
    }
  }
}

}  // namespace duo

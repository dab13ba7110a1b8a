// What the CUDA tests add to check.h: 16-bit floats, host and device copies, runs in every order of threads.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "check.h"
#include "core/dtype.h"
#include "cuda/runtime.h"

namespace duo::test {

inline std::vector<uint16_t> to_bf16(const std::vector<float> &values) {
  std::vector<uint16_t> out;
  for (const float value : values) out.push_back(float_to_bf16(value));
  return out;
}
inline std::vector<float> round_bf16(const std::vector<float> &values) {
  std::vector<float> out;
  for (const float value : values) out.push_back(bf16_to_float(float_to_bf16(value)));
  return out;
}
inline std::vector<float> from_bf16(const std::vector<uint16_t> &values) {
  std::vector<float> out;
  for (const uint16_t value : values) out.push_back(bf16_to_float(value));
  return out;
}

template <typename T>
cuda::DeviceBuffer<T> upload(const std::vector<T> &values, const cuda::Stream &stream) {
  cuda::DeviceBuffer<T> out(static_cast<int64_t>(values.size()));
  cuda::copy_to_device(out.data(), values.data(), out.count(), stream);
  stream.wait();
  return out;
}
template <typename T>
std::vector<T> download(const cuda::DeviceBuffer<T> &buffer, const cuda::Stream &stream) {
  std::vector<T> out(static_cast<size_t>(buffer.count()));
  cuda::copy_to_host(out.data(), buffer.data(), buffer.count(), stream);
  return out;
}

#ifdef DUO_EMULATION
// Run with the first warp ahead, the last ahead and threads taking turns as chance has it; the results must be the same
// bits, or a barrier is missing.
template <typename Result>
Result run_in_every_order(const std::string &what, const std::function<Result()> &body) {
  emulation::set_schedule(emulation::Schedule::first_ahead);
  const Result first = body();
  for (const auto schedule : {emulation::Schedule::last_ahead, emulation::Schedule::shuffled}) {
    emulation::set_schedule(schedule);
    expect(body() == first, what + ": the same bits in every order of threads");
  }
  emulation::set_schedule(emulation::Schedule::forward);
  return first;
}
#else
// On a GPU: the same bits from run to run.
template <typename Result>
Result run_in_every_order(const std::string &what, const std::function<Result()> &body) {
  const Result first = body();
  expect(body() == first, what + ": the same bits again");
  return first;
}
#endif

}  // namespace duo::test

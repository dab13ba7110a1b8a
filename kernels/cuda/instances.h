// The attention kernels that are compiled, in lists: dispatch of every launch, what a model may have when it is opened
// on CUDA, and the launch table of docs/kernels.md, which test_cuda_ops compares with these lists.
#pragma once
#include <string>
#include <type_traits>

#include "core/dtype.h"
#include "cuda/device.h"

namespace duo::cuda {

template <auto... VALUES>
struct Instances {
  template <typename Value>
  static constexpr bool contains(Value value) {
    return ((VALUES == value) || ...);
  }
  // what(std::integral_constant of the value), so that the value is a constant there; cudaErrorInvalidValue where the
  // list has none such.
  template <typename Value, typename What>
  static cudaError_t choose(Value value, const What &what) {
    cudaError_t result = cudaErrorInvalidValue;
    const auto attempt = [&](auto candidate) {
      if (value != candidate.value) return false;
      result = what(candidate);
      return true;
    };
    (void)(attempt(std::integral_constant<decltype(VALUES), VALUES>{}) || ...);
    return result;
  }
  // Of numbers: "32, 64, 128".
  static std::string list() {
    std::string text;
    ((text += (text.empty() ? "" : ", ") + std::to_string(VALUES)), ...);
    return text;
  }
  static constexpr int COUNT = sizeof...(VALUES);
};

// Head sizes of attention by mma, forward, backward and decode, and so of models.
using HeadDims = Instances<32, 64, 80, 96, 128, 192, 256>;
// Those that have wgmma kernels besides, taken on Hopper.
using HopperHeadDims = Instances<64, 128>;
// 16-bit floats of a forward pass: f16 when a model is measured.
using ForwardHalves = Instances<Half::bf16, Half::f16>;
// Stored formats that decode reads.
using DecodeFormats = Instances<Dtype::f32, Dtype::bf16, Dtype::int8, Dtype::fp8, Dtype::int4, Dtype::k8v4>;
// Tiles of 8 queries of a KV head that a decode warp holds (decode_piece.h says which group has which).
using DecodeQueryTiles = Instances<1, 2>;

}  // namespace duo::cuda

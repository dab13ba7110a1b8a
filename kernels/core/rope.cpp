// The rope types of transformers' modeling_rope_utils: default, linear, dynamic, llama3, yarn. Powers are taken in fp64
// and rounded to fp32 at each step where transformers holds an fp32 tensor.
#include "core/rope.h"

#include <algorithm>
#include <cmath>

namespace duo {
namespace {

constexpr double PI = 3.14159265358979323846;

// base^(2i/D) as transformers does: exponent and power each rounded to fp32, and the reciprocal below.
float default_power(double base, int64_t pair, int64_t head_dim) {
  const float exponent = static_cast<float>(2 * pair) / static_cast<float>(head_dim);
  return static_cast<float>(std::pow(base, static_cast<double>(exponent)));
}

std::vector<float> default_inverse(double base, int64_t head_dim) {
  std::vector<float> inverse(static_cast<size_t>(head_dim / 2));
  for (int64_t i = 0; i < head_dim / 2; i++) inverse[static_cast<size_t>(i)] = 1.0f / default_power(base, i, head_dim);
  return inverse;
}

void scale_llama3(const ModelConfig &config, std::vector<float> &inverse) {
  const double original = static_cast<double>(config.rope_original_max_positions);
  const double low_wavelength = original / config.rope_low_freq_factor,
               high_wavelength = original / config.rope_high_freq_factor;
  for (float &frequency : inverse) {
    const float wavelength = static_cast<float>(2 * PI) / frequency;
    if (wavelength > static_cast<float>(low_wavelength)) {
      frequency = frequency / static_cast<float>(config.rope_factor);
    } else if (!(wavelength < static_cast<float>(high_wavelength))) {
      const float smooth =
          (static_cast<float>(original) / wavelength - static_cast<float>(config.rope_low_freq_factor)) /
          static_cast<float>(config.rope_high_freq_factor - config.rope_low_freq_factor);
      frequency = (1.0f - smooth) * frequency / static_cast<float>(config.rope_factor) + smooth * frequency;
    }
  }
}

void scale_yarn(const ModelConfig &config, std::vector<float> &inverse) {
  const double dim = static_cast<double>(config.head_dim);
  const auto correction = [&](double rotations) {
    return dim * std::log(static_cast<double>(config.rope_original_max_positions) / (rotations * 2 * PI)) /
           (2 * std::log(config.rope_theta));
  };
  double low = correction(config.rope_beta_fast), high = correction(config.rope_beta_slow);
  if (config.rope_truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;  // transformers' guard against a division by zero
  for (size_t i = 0; i < inverse.size(); i++) {
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float extrapolation = 1.0f - std::min(std::max(ramp, 0.0f), 1.0f);
    const float power = default_power(config.rope_theta, static_cast<int64_t>(i), config.head_dim);
    const float interpolated = 1.0f / (static_cast<float>(config.rope_factor) * power);
    inverse[i] = interpolated * (1.0f - extrapolation) + inverse[i] * extrapolation;
  }
}

}  // namespace

RopeFrequencies compute_rope_frequencies(const ModelConfig &config, int64_t max_tokens) {
  double base = config.rope_theta;
  if (config.rope_type == DUO_ROPE_DYNAMIC) {
    // transformers grows the base only beyond the original maximum.
    const double original = static_cast<double>(config.rope_original_max_positions);
    const double length = std::max(static_cast<double>(max_tokens), original);
    const double dim = static_cast<double>(config.head_dim);
    base *= std::pow(config.rope_factor * length / original - (config.rope_factor - 1), dim / (dim - 2));
  }
  RopeFrequencies out{default_inverse(base, config.head_dim), 1.0f};
  for (size_t i = 0; i < config.rope_factors.size(); i++) out.inverse[i] /= config.rope_factors[i];
  if (config.rope_type == DUO_ROPE_LINEAR) {
    for (float &frequency : out.inverse) frequency /= static_cast<float>(config.rope_factor);
  } else if (config.rope_type == DUO_ROPE_LLAMA3) {
    scale_llama3(config, out.inverse);
  } else if (config.rope_type == DUO_ROPE_YARN) {
    scale_yarn(config, out.inverse);
    out.attention_scale = static_cast<float>(config.rope_attention_factor);
  }
  return out;
}

void fill_rope_tables(const RopeFrequencies &frequencies, int64_t start, int64_t count, float *cos, float *sin) {
  const int64_t half = static_cast<int64_t>(frequencies.inverse.size());
  for (int64_t row = 0; row < count; row++) {
    for (int64_t i = 0; i < half; i++) {
      const float angle = static_cast<float>(start + row) * frequencies.inverse[static_cast<size_t>(i)];
      cos[row * half + i] = static_cast<float>(std::cos(static_cast<double>(angle))) * frequencies.attention_scale;
      sin[row * half + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * frequencies.attention_scale;
    }
  }
}

}  // namespace duo

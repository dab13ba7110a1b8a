# Inverse frequencies of each rope type, from the formulas of transformers' modeling_rope_utils, in NumPy float32 where transformers has
# float32 tensors and in Python floats where it has numbers. Independent of duo. Run: python3 make_rope.py > rope.json
import json
import math

import numpy as np

F = np.float32


def default(base, dim):
    exponents = np.arange(0, dim, 2).astype(F) / F(dim)
    return F(1) / np.power(F(base), exponents, dtype=F)


def linear(base, dim, factor):
    return default(base, dim) / F(factor)


def dynamic(base, dim, factor, max_position, seq_len):
    seq_len = max(seq_len, max_position)
    base = base * ((factor * seq_len / max_position) - (factor - 1)) ** (dim / (dim - 2))
    return default(base, dim)


def llama3(base, dim, factor, low, high, old):
    inv_freq = default(base, dim)
    wavelen = F(2 * math.pi) / inv_freq
    scaled = np.where(wavelen > old / low, inv_freq / F(factor), inv_freq)
    smooth = (F(old) / wavelen - F(low)) / F(high - low)
    smoothed = (F(1) - smooth) * scaled / F(factor) + smooth * scaled
    medium = ~(wavelen < old / high) & ~(wavelen > old / low)
    return np.where(medium, smoothed, scaled).astype(F)


def yarn(base, dim, factor, original, beta_fast=32, beta_slow=1, truncate=True):
    def correction_dim(rotations):
        return (dim * math.log(original / (rotations * 2 * math.pi))) / (2 * math.log(base))

    low, high = correction_dim(beta_fast), correction_dim(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    pos_freqs = np.power(F(base), np.arange(0, dim, 2).astype(F) / F(dim), dtype=F)
    ramp = np.clip((np.arange(dim // 2, dtype=F) - F(low)) / F(high - low), F(0), F(1))
    kept = F(1) - ramp
    return F(1) / (F(factor) * pos_freqs) * (F(1) - kept) + F(1) / pos_freqs * kept


def case(name, config, max_tokens, inv_freq, scale=1.0):
    inv_freq = np.asarray(inv_freq, F)
    positions = [0, 1, 17, 4095, 131071]
    angles = (np.array(positions, F)[:, None] * inv_freq[None, :]).astype(F)
    pairs = [0, len(inv_freq) // 2, len(inv_freq) - 1]
    return {
        "name": name, "config": config, "maxTokens": max_tokens, "attentionScale": scale,
        "inverseFrequencies": [float(v) for v in inv_freq], "positions": positions, "pairs": pairs,
        "cos": [[float(F(math.cos(angles[r, p])) * F(scale)) for p in pairs] for r in range(len(positions))],
        "sin": [[float(F(math.sin(angles[r, p])) * F(scale)) for p in pairs] for r in range(len(positions))],
    }


base = {"model_type": "llama", "vocab_size": 256, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 4096}
with_rope = lambda theta, dim, positions, scaling: {**base, "head_dim": dim, "rope_theta": theta,
                                                    "max_position_embeddings": positions, "rope_scaling": scaling}
grow = lambda s, m=1.0: 0.1 * m * math.log(s) + 1.0
cases = [
    case("llama-2", with_rope(10000.0, 128, 4096, None), 4096, default(10000.0, 128)),
    case("odd-theta", with_rope(1000000.0, 32, 4096, None), 4096, default(1000000.0, 32)),
    case("linear-8", with_rope(10000.0, 128, 32768, {"type": "linear", "factor": 8.0}), 4096, linear(10000.0, 128, 8.0)),
    case("dynamic-short", with_rope(10000.0, 64, 2048, {"type": "dynamic", "factor": 4.0}), 100,
         dynamic(10000.0, 64, 4.0, 2048, 100)),
    case("dynamic-long", with_rope(10000.0, 64, 2048, {"type": "dynamic", "factor": 4.0}), 7001,
         dynamic(10000.0, 64, 4.0, 2048, 7001)),
    case("llama-3.1", with_rope(500000.0, 128, 131072, {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}), 4096, llama3(500000.0, 128, 8.0, 1.0, 4.0, 8192)),
    case("llama-3.2", with_rope(500000.0, 64, 131072, {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}), 4096, llama3(500000.0, 64, 32.0, 1.0, 4.0, 8192)),
    case("qwen2.5-yarn", with_rope(1000000.0, 128, 32768, {
        "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}), 4096,
        yarn(1000000.0, 128, 4.0, 32768), grow(4.0)),
    case("yarn-given", with_rope(10000.0, 64, 131072, {
        "rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "beta_fast": 16.0, "beta_slow": 2.0,
        "truncate": False, "attention_factor": 1.25}), 4096,
        yarn(10000.0, 64, 32.0, 4096, 16.0, 2.0, False), 1.25),
    case("yarn-mscale", with_rope(10000.0, 64, 163840, {
        "rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 1.0, "mscale_all_dim": 0.707}),
        4096, yarn(10000.0, 64, 40.0, 4096), grow(40.0) / grow(40.0, 0.707)),
]
print(json.dumps(cases, indent=1))

// How one head vector of a CPU cache is stored, by dtype. A quantised vector has a 32-bit word beside its codes; what
// is read is value(code):
//   int8: code −127…127, word fp32 = max|x|/127, value code·word          fp8: code e4m3, word fp32 = max|x|/448, value code·word
//   int4: code 0…15, word fp16 scale (low half) and fp16 zero (high half, an integer 0…15), value (code − zero)·scale;
//         scale = (max(x, 0) − min(x, 0))/15, at most 65504; values d and d + D/2 share byte d, the first in its low half
// A cache of k8v4 has keys as int8 and values as int4 (core/dtype.h): key_dtype and value_dtype say what a vector is.
// The same formats as cuda/kv_formats.h, but for the order of int4's halves.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "cpu/simd/cache_ops.h"

namespace duo {

// Bytes of D values of a vector; whether a word stands beside the vectors of a cache.
int64_t kv_row_bytes(Dtype dtype, int64_t head_dim);
bool kv_has_word(Dtype dtype);

// Round a head vector to what the cache will give back for it, in place.
void round_to_cache(Dtype dtype, float *vector, int64_t head_dim);

// Store a key or value vector at a slot of a cache.
void store_key(const CacheView &cache, int64_t slot, const float *key);
void store_value(const CacheView &cache, int64_t slot, const float *value);

}  // namespace duo

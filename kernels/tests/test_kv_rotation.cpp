// The Walsh–Hadamard rotation of cached keys and values: its laws at every vector width, and what it spares attention,
// against float64, on ordinary keys, on keys with outlier channels and on keys with a large bias.
#include <cstdlib>
#include <vector>

#include "check.h"
#include "cpu/kv_cache.h"
#include "simd_variants.h"

using namespace duo;

namespace {

const int64_t HEAD_DIMS[] = {2, 6, 8, 16, 32, 48, 64, 80, 96, 100, 128, 192, 256};

void test_transform(const SimdOps &ops) {
  const std::string name = std::string("hadamard ") + ops.name + ", D = ";
  for (const int64_t head_dim : HEAD_DIMS) {
    const std::string label = name + std::to_string(head_dim) + ": ";
    const auto transform = [&](const std::vector<float> &from) {
      Guarded x(static_cast<int64_t>(from.size()));
      std::copy(from.begin(), from.end(), x.data());
      ops.cache->hadamard(x.data(), static_cast<int64_t>(from.size()) / head_dim, head_dim);
      expect(x.is_intact(), label + "writes inside its vectors");
      return std::vector<float>(x.data(), x.data() + from.size());
    };
    // Unit vectors give the matrix: ±1/√n in blocks of the largest powers of two, 0 elsewhere, and so an orthonormal
    // one.
    std::vector<float> units(static_cast<size_t>(head_dim * head_dim));
    for (int64_t i = 0; i < head_dim; i++) units[i * head_dim + i] = 1.0f;
    const std::vector<float> matrix = transform(units);
    double wrong = 0, skewed = 0;
    for (int64_t i = 0; i < head_dim; i++) {
      int64_t begin = 0, size = 0;
      for (;; begin += size) {
        for (size = 1; 2 * size <= head_dim - begin;) size *= 2;
        if (i < begin + size) break;
      }
      for (int64_t j = 0; j < head_dim; j++) {
        const bool is_inside = j >= begin && j < begin + size;
        const double sign =
            __builtin_popcountll(static_cast<unsigned long long>((i - begin) & (j - begin))) % 2 == 0 ? 1.0 : -1.0;
        wrong = worse(wrong, std::fabs(matrix[i * head_dim + j] -
                                       (is_inside ? sign / std::sqrt(static_cast<double>(size)) : 0.0)));
        double dot = 0;
        for (int64_t d = 0; d < head_dim; d++)
          dot += static_cast<double>(matrix[i * head_dim + d]) * matrix[j * head_dim + d];
        skewed = worse(skewed, std::fabs(dot - (i == j ? 1.0 : 0.0)));
      }
    }
    expect(wrong < 1e-7, label + "the matrix by its definition");
    expect(skewed < 1e-6, label + "orthonormal");
    const std::vector<float> x = Random(static_cast<uint64_t>(head_dim)).values(5 * head_dim, 3.0);
    const std::vector<float> once = transform(x);
    expect(relative_error(transform(once), x) < 1e-6, label + "its own inverse");
    std::vector<float> plain = x;
    simd_ops_plain()->cache->hadamard(plain.data(), 5, head_dim);
    expect(once == plain, label + "the bits of the plain table");
  }
}

// What is stored comes back as round_to_cache says, from whole and narrow key blocks, and that is the nearest value of
// the format.
void test_storage(const SimdOps &ops) {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::int8, Dtype::fp8, Dtype::int4, Dtype::k8v4}) {
    // The distance is a key's; k8v4's keys are int8's.
    const Dtype key_kind = dtype == Dtype::k8v4 ? Dtype::int8 : dtype,
                value_kind = dtype == Dtype::k8v4 ? Dtype::int4 : dtype;
    for (const int64_t head_dim : {int64_t{2}, int64_t{6}, int64_t{80}, int64_t{128}}) {
      const int64_t slots = 37;
      const std::string label = std::string("storage ") + ops.name + ", dtype " +
                                std::to_string(static_cast<int>(dtype)) + ", D = " + std::to_string(head_dim);
      ModelConfig config{};
      config.layers = config.kv_heads = config.heads = 1;
      config.head_dim = head_dim;
      KvCache cache(config, {{0}, 0, slots, dtype, false, 0, false});
      const std::vector<float> keys = Random(3).values(slots * head_dim, 2.0),
                               values = Random(4).values(slots * head_dim, 0.1);
      for (int64_t t = 0; t < slots; t++)
        cache.write(0, 0, t, keys.data() + t * head_dim, values.data() + t * head_dim);
      std::vector<float> read_keys(keys.size()), read_values(values.size());
      ops.cache->read_keys(cache.view(0, 0), 0, slots, read_keys.data(), slots);
      ops.cache->read_values(cache.view(0, 0), 0, slots, read_values.data(), head_dim);
      bool is_same = true;
      double furthest = 0;  // in half steps
      for (int64_t t = 0; t < slots; t++) {
        std::vector<float> key(keys.begin() + t * head_dim, keys.begin() + (t + 1) * head_dim),
            value(values.begin() + t * head_dim, values.begin() + (t + 1) * head_dim);
        float top = 0, bottom = 0, largest = 0;
        for (const float x : key)
          top = std::max(top, x), bottom = std::min(bottom, x), largest = std::max(largest, std::fabs(x));
        round_to_cache(key_kind, key.data(), head_dim);
        round_to_cache(value_kind, value.data(), head_dim);
        for (int64_t d = 0; d < head_dim; d++) {
          const float exact = keys[t * head_dim + d];
          is_same = is_same && read_keys[d * slots + t] == key[d] && read_values[t * head_dim + d] == value[d];
          // int4's zero is rounded too, so that its ends may lie half a step further off.
          const double half_step = key_kind == Dtype::f32    ? 1e-30
                                   : key_kind == Dtype::bf16 ? std::fabs(exact) * 0x1p-8
                                   : key_kind == Dtype::int8 ? largest / 254.0
                                   : key_kind == Dtype::fp8
                                       ? std::max(std::fabs(exact) * 0x1p-4, largest / 448.0 * 0x1p-10)
                                       : (top - bottom) / 30.0 * (exact == top || exact == bottom ? 2.0 : 1.0);
          furthest = worse(furthest, std::fabs(key[d] - exact) / half_step);
        }
      }
      expect(is_same, label + ": what is read is what round_to_cache says");
      expect(furthest < (key_kind == Dtype::int4 ? 1.6 : 1.001),
             label + ": the nearest value, got " + std::to_string(furthest) + " half steps");
    }
  }
}

// Keys, values and queries of one head, and what attention of each query gives in float64.
struct Heads {
  std::string name;
  int64_t tokens, head_dim, queries;
  std::vector<float> key, value, query;
  std::vector<double> out;
};

double draw_normal(Random &random) {
  double sum = 0;
  for (int i = 0; i < 12; i++) sum += static_cast<double>(random.value()) / 2;
  return sum;
}

enum class Keys { ordinary, outliers, biased };

Heads make_heads(Keys kind, int64_t head_dim) {
  Heads made{kind == Keys::ordinary   ? "ordinary keys"
             : kind == Keys::outliers ? "outlier channels"
                                      : "biased keys",
             512,
             head_dim,
             32,
             {},
             {},
             {},
             {}};
  Random random(11 + static_cast<uint64_t>(head_dim));
  const auto draw = [&](std::vector<float> &to, int64_t rows) {
    for (int64_t i = 0; i < rows * head_dim; i++) to.push_back(static_cast<float>(draw_normal(random)));
  };
  draw(made.key, made.tokens);
  draw(made.value, made.tokens);
  draw(made.query, made.queries);
  // Three channels, 20, 35 and 50 times the rest: of random sign, where queries hardly look, as trained models have it;
  // or a bias that all keys share.
  const int64_t channels[] = {head_dim / 8 + 1, head_dim / 2 + 3, head_dim - 5};
  const float sizes[] = {20.0f, -35.0f, 50.0f};
  for (int c = 0; c < 3 && kind != Keys::ordinary; c++) {
    for (int64_t t = 0; t < made.tokens; t++) {
      float &key = made.key[t * head_dim + channels[c]];
      key = kind == Keys::outliers ? key * sizes[c] : key + sizes[c];
    }
    if (kind == Keys::biased) continue;
    for (int64_t i = 0; i < made.queries; i++) made.query[i * head_dim + channels[c]] /= std::fabs(sizes[c]);
  }
  for (float &x : made.query)
    x *= 0.5f;  // flat enough a softmax that errors do not saturate: beyond that all of them are 1
  made.out.resize(made.query.size());
  for (int64_t i = 0; i < made.queries; i++) {
    std::vector<double> p(static_cast<size_t>(made.tokens));
    double max = -INFINITY, sum = 0;
    for (int64_t t = 0; t < made.tokens; t++) {
      for (int64_t d = 0; d < head_dim; d++)
        p[t] += static_cast<double>(made.query[i * head_dim + d]) * made.key[t * head_dim + d];
      p[t] /= std::sqrt(static_cast<double>(head_dim));
      max = std::max(max, p[t]);
    }
    for (double &x : p) sum += x = std::exp(x - max);
    for (int64_t t = 0; t < made.tokens; t++) {
      for (int64_t d = 0; d < head_dim; d++) made.out[i * head_dim + d] += p[t] / sum * made.value[t * head_dim + d];
    }
  }
  return made;
}

// Root mean square of the difference over that of what it should be, of attention over a cache of this dtype.
double measure_error(const SimdOps &ops, const Heads &heads, Dtype dtype, bool is_rotated) {
  const int64_t D = heads.head_dim;
  ModelConfig config{};
  config.layers = config.kv_heads = config.heads = 1;
  config.head_dim = D;
  KvCache cache(config, {{0}, 0, heads.tokens, dtype, false, 0, is_rotated});
  std::vector<float> key = heads.key, value = heads.value, query = heads.query, max(static_cast<size_t>(heads.queries)),
                     sum(max.size()), out(query.size());
  if (cache.is_rotated()) {
    for (std::vector<float> *x : {&key, &value, &query})
      ops.cache->hadamard(x->data(), static_cast<int64_t>(x->size()) / D, D);
  }
  for (int64_t t = 0; t < heads.tokens; t++) cache.write(0, 0, t, key.data() + t * D, value.data() + t * D);
  for (float &x : query) x /= std::sqrt(static_cast<float>(D));
  ops.cache->attend_slots(cache.view(0, 0), query.data(), heads.queries, 0, heads.tokens, max.data(), sum.data(),
                          out.data());
  for (int64_t i = 0; i < heads.queries; i++) ops.cache->scale(out.data() + i * D, D, 1.0f / sum[i]);
  if (cache.is_rotated()) ops.cache->hadamard(out.data(), heads.queries, D);
  double difference = 0, size = 0;
  for (size_t i = 0; i < out.size(); i++) {
    difference += (out[i] - heads.out[i]) * (out[i] - heads.out[i]);
    size += heads.out[i] * heads.out[i];
  }
  return std::sqrt(difference / size);
}

// What rotation may leave of the plain storage's error. Measured, D = 64, 80, 128: outliers int4 0.62, 0.69, 0.50 and
// int8 0.25, 0.27, 0.22; bias int4 0.60, 0.57, 0.49 and int8 0.31, 0.29, 0.25. fp8 gains nothing: each of its values
// has a scale of its own already, and rotation spreads the rounding of the outliers.
void test_attention_error(const SimdOps &ops) {
  struct Expected {
    Keys keys;
    double int8_limit, int4_limit;
  };
  for (const int64_t head_dim : {int64_t{64}, int64_t{128}, int64_t{80}}) {
    double k8v4_of_ordinary = 0;  // made by the first of these
    for (const Expected &expected : {Expected{Keys::ordinary, 1.1, 1.1}, Expected{Keys::outliers, 0.33, 0.75},
                                     Expected{Keys::biased, 0.33, 0.65}}) {
      const Heads heads = make_heads(expected.keys, head_dim);
      const std::string label = heads.name + ", D = " + std::to_string(head_dim) + ", " + ops.name;
      const auto error = [&](Dtype dtype, bool is_rotated) { return measure_error(ops, heads, dtype, is_rotated); };
      const double f32 = error(Dtype::f32, true), bf16 = error(Dtype::bf16, true);
      expect(f32 < 1e-5, label + ": f32");
      expect(f32 == error(Dtype::f32, false) && bf16 == error(Dtype::bf16, false),
             label + ": f32 and bf16 are never rotated");
      const double plain[] = {error(Dtype::int8, false), error(Dtype::fp8, false), error(Dtype::int4, false),
                              error(Dtype::k8v4, false)};
      const double rotated[] = {error(Dtype::int8, true), error(Dtype::fp8, true), error(Dtype::int4, true),
                                error(Dtype::k8v4, true)};
      std::printf(
          "%-40s bf16 %.1e  plain int8 %.1e fp8 %.1e int4 %.1e k8v4 %.1e  rotated int8 %.1e fp8 %.1e int4 %.1e k8v4 "
          "%.1e\n",
          label.c_str(), bf16, plain[0], plain[1], plain[2], plain[3], rotated[0], rotated[1], rotated[2], rotated[3]);
      if (expected.keys == Keys::ordinary) k8v4_of_ordinary = rotated[3];
      expect(rotated[0] < expected.int8_limit * plain[0], label + ": rotated int8 against plain int8");
      expect(rotated[2] < expected.int4_limit * plain[2], label + ": rotated int4 against plain int4");
      // Each storage at its own size: f32 > bf16 > int8 > fp8 > int4.
      expect(bf16 < rotated[0] && rotated[0] < rotated[1] && rotated[1] < rotated[2],
             label + ": errors in the order of the bits");
      expect(rotated[0] < rotated[3] && rotated[3] < rotated[2], label + ": k8v4 between int8 and int4");
      // What outlier channels and a bias do to keys, k8v4 is spared as int8 is.
      expect(rotated[3] < 1.1 * k8v4_of_ordinary, label + ": k8v4 against ordinary keys");
    }
  }
}

}  // namespace

int main() {
  for (const SimdOps *ops : list_simd_ops()) {
    test_transform(*ops);
    test_storage(*ops);
    test_attention_error(*ops);
  }
  return finish("test_kv_rotation");
}

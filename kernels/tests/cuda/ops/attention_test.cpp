// Attention of many rows, forward and backward, plain and by wgmma, on every head dimension, gates 0, 0.3 and 1, and
// shapes at the edges of tiles and windows: T = 1, T < sink, one past a tile, G = 1, G = H, rows far apart, caches of
// every format.
#include <cstdlib>

#include "attention_reference.h"
#include "cuda/attention.h"
#include "cuda/branch_gradient.h"
#include "cuda/hopper.h"
#include "kv_rows.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

enum class Kernel { plain, hopper, chosen };
const char *name_of(Kernel kernel) {
  return kernel == Kernel::plain ? " plain" : kernel == Kernel::hopper ? " hopper" : " chosen";
}
cudaError_t run_forward(Kernel kernel, const AttentionForward &a, Branches branches) {
  const cudaStream_t stream = test_stream().get();
  return kernel == Kernel::plain    ? launch_attention_forward_plain(a, branches, stream)
         : kernel == Kernel::hopper ? launch_attention_forward_hopper(a, branches, stream)
                                    : launch_attention_forward(a, branches, stream);
}
cudaError_t run_backward(Kernel kernel, const AttentionBackward &a) {
  const cudaStream_t stream = test_stream().get();
  return kernel == Kernel::plain    ? launch_attention_backward_plain(a, stream)
         : kernel == Kernel::hopper ? launch_attention_backward_hopper(a, stream)
                                    : launch_attention_backward(a, stream);
}

AttentionShape shape_of(const AttentionProblem &p, const DeviceBuffer<int64_t> &windows) {
  return {static_cast<int32_t>(p.heads), static_cast<int32_t>(p.kv_heads), static_cast<int32_t>(p.dim), p.sink,
          windows.data()};
}
std::string describe(const AttentionProblem &p) {
  return "H" + std::to_string(p.heads) + " G" + std::to_string(p.kv_heads) + " D" + std::to_string(p.dim) + " T" +
         std::to_string(p.tokens) + " S" + std::to_string(p.sink) + " R" + std::to_string(p.recent) +
         (p.growth > 0 ? " growing by " + std::to_string(p.growth) : "") +
         (p.rows() == p.tokens ? "" : " " + std::to_string(p.rows()) + " rows");
}
// Gates 0.3, 1, 0, 0.3 … of the KV heads from the `first` of these on.
std::vector<float> make_gates(int64_t kv_heads, int64_t first) {
  std::vector<float> gates;
  for (int64_t head = 0; head < kv_heads; head++)
    gates.push_back((head + first) % 3 == 0 ? 0.3f : (head + first) % 3 == 1 ? 1.0f : 0.0f);
  return gates;
}
void draw(AttentionProblem &p, Half half, uint64_t seed) {
  Random random(seed + static_cast<uint64_t>(p.tokens + p.dim));
  if (p.positions.empty()) {
    for (int32_t i = 0; i < p.tokens; i++) p.positions.push_back(i);
  }
  p.query = round_half(random.values(p.rows() * p.heads * p.dim, 2.0), half);
  p.key = round_half(random.values(p.tokens * p.kv_heads * p.dim, 2.0), half);
  p.value = round_half(random.values(p.tokens * p.kv_heads * p.dim), half);
}
double worst_lse_error(const std::vector<float> &got, const std::vector<double> &expected) {
  double worst = got.size() == expected.size() ? 0 : NAN;
  for (size_t i = 0; i < expected.size() && !std::isnan(worst); i++)
    worst = worse(worst, std::fabs(got[i] - expected[i]) / std::max(1.0, std::fabs(expected[i])));
  return worst;
}

// ---- Forward without caches: branches alone and together, their outputs and log-sum-exps, a teacher's full branch,
// some of the KV heads ----

void test_forward(AttentionProblem p, Kernel kernel, Half half, int64_t first_gate) {
  draw(p, half, 1);
  const std::string name =
      describe(p) + name_of(kernel) + test::name_of(half) + " gates from " + std::to_string(first_gate);
  const int64_t width = p.heads * p.dim, rows = p.rows();
  const auto gates = make_gates(p.kv_heads, first_gate);
  Random random(9);
  const auto teacher = random.values(rows * width);
  const auto q = upload(to_half(p.query, half)), k = upload(to_half(p.key, half)), v = upload(to_half(p.value, half));
  const auto positions = upload(p.positions);
  const auto windows = upload(p.windows());
  const auto gate_buffer = upload(gates), teacher_buffer = upload(teacher);
  std::vector<int32_t> all, some;
  for (int32_t head = 0; head < p.kv_heads; head++) all.push_back(head);
  for (int32_t head = static_cast<int32_t>(p.kv_heads) - 1; head >= (p.kv_heads > 1 ? 1 : 0); head--)
    some.push_back(head);  // the first is left out, the last comes first
  const auto all_buffer = upload(all), some_buffer = upload(some);
  struct Result {
    std::vector<uint16_t> full_only, stream_only, mixed, with_teacher, listed;
    std::vector<float> full, streaming, full_lse, stream_lse, lse_alone;
    bool operator==(const Result &o) const {
      return full_only == o.full_only && stream_only == o.stream_only && mixed == o.mixed &&
             with_teacher == o.with_teacher && listed == o.listed && full == o.full && streaming == o.streaming &&
             full_lse == o.full_lse && stream_lse == o.stream_lse && lse_alone == o.lse_alone;
    }
  };
  const auto result = run_in_every_order<Result>(name, [&] {
    DeviceBuffer<uint16_t> mixed(rows * width);
    DeviceBuffer<float> full(rows * width), streaming(rows * width), full_lse(rows * p.heads),
        stream_lse(rows * p.heads);
    AttentionForward a{};
    a.shape = shape_of(p, windows);
    a.query = q.data(), a.positions = positions.data(), a.num_rows = rows;
    a.dtype = half == Half::f16 ? Dtype::f16 : Dtype::bf16;
    a.chunk_key = reinterpret_cast<const uint8_t *>(k.data()),
    a.chunk_value = reinterpret_cast<const uint8_t *>(v.data());
    a.chunk_count = p.tokens;
    a.kv_list = all_buffer.data(), a.num_listed = static_cast<int32_t>(p.kv_heads);
    a.gates = gate_buffer.data();
    a.mixed = mixed.data();
    Result r;
    a.full_lse = full_lse.data();
    check(run_forward(kernel, a, Branches::full), "full");
    r.full_only = download(mixed), r.lse_alone = download(full_lse);
    a.full_lse = nullptr, a.stream_lse = stream_lse.data();
    check(run_forward(kernel, a, Branches::stream), "streaming");
    r.stream_only = download(mixed);
    const auto lse_alone = download(stream_lse);
    r.lse_alone.insert(r.lse_alone.end(), lse_alone.begin(), lse_alone.end());
    a.full_lse = full_lse.data(), a.full = full.data(), a.stream = streaming.data();
    check(run_forward(kernel, a, Branches::both), "both");
    r.mixed = download(mixed), r.full = download(full), r.streaming = download(streaming),
    r.full_lse = download(full_lse), r.stream_lse = download(stream_lse);
    a.full = a.stream = a.full_lse = a.stream_lse = nullptr;
    a.teacher_full = teacher_buffer.data();
    check(run_forward(kernel, a, Branches::both), "with a teacher");
    r.with_teacher = download(mixed);
    // Only heads that are listed are written.
    const auto marked = upload(std::vector<uint16_t>(static_cast<size_t>(rows * width), 0x1234));
    a.teacher_full = nullptr, a.mixed = marked.data();
    a.kv_list = some_buffer.data(), a.num_listed = static_cast<int32_t>(some.size());
    check(run_forward(kernel, a, Branches::both), "of some heads");
    r.listed = download(marked);
    return r;
  });
  const Branch full = attend_exactly(p, false), streaming = attend_exactly(p, true);
  std::vector<double> mixed, with_teacher;
  std::vector<uint16_t> listed = result.mixed;
  for (size_t i = 0; i < full.out.size(); i++) {
    const auto kv_head = static_cast<int64_t>(i) / p.dim % p.heads / p.group();
    const double gate = static_cast<double>(gates[static_cast<size_t>(kv_head)]);
    mixed.push_back(gate * full.out[i] + (1 - gate) * streaming.out[i]);
    with_teacher.push_back(gate * static_cast<double>(teacher[i]) + (1 - gate) * streaming.out[i]);
    if (p.kv_heads > 1 && kv_head == 0) listed[i] = 0x1234;
  }
  const double limit = half == Half::f16 ? tolerance::f16_attention : tolerance::bf16_attention;
  expect_within(worst_row_error(from_half(result.full_only, half), full.out, p.dim), limit, name + ": full");
  expect_within(worst_row_error(from_half(result.stream_only, half), streaming.out, p.dim), limit,
                name + ": streaming");
  expect_within(worst_row_error(result.full, full.out, p.dim), half == Half::f16 ? limit : tolerance::fp32_attention,
                name + ": full branch");
  expect_within(worst_row_error(result.streaming, streaming.out, p.dim),
                half == Half::f16 ? limit : tolerance::fp32_attention, name + ": streaming branch");
  expect_within(worst_row_error(from_half(result.mixed, half), mixed, p.dim, 0.02), limit, name + ": mixed");
  expect_within(worst_row_error(from_half(result.with_teacher, half), with_teacher, p.dim, 0.02), limit,
                name + ": mixed with a teacher's full branch");
  expect_within(worst_lse_error(result.full_lse, full.lse), tolerance::lse, name + ": full lse");
  expect_within(worst_lse_error(result.stream_lse, streaming.lse), tolerance::lse, name + ": streaming lse");
  std::vector<double> both = full.lse;
  both.insert(both.end(), streaming.lse.begin(), streaming.lse.end());
  expect_within(worst_lse_error(result.lse_alone, both), tolerance::lse, name + ": lse of a branch alone");
  expect(result.listed == listed, name + ": only listed heads are written, with the same bits");
  if (p.sink + p.recent >= p.tokens)
    expect(result.full == result.streaming, name + ": S + R >= T is full, bit for bit");
}

// ---- Forward over caches ----

// A chunk whose earlier tokens are in caches: retrieval heads whole, streaming heads in a ring, in a stored format that
// the kernel reads.
void test_forward_cached(AttentionProblem p, Kernel kernel, Dtype dtype, bool rotates) {
  const std::string name = describe(p) + name_of(kernel) + " after " + std::to_string(p.chunk_start) + " cached in " +
                           kv_name(dtype) + (p.is_chunked ? ", chunked" : "") + (rotates ? ", transformed" : "");
  Random random(static_cast<uint64_t>(p.tokens));
  const int64_t key_bytes = kv_bytes(kv_stored(dtype, false), p.dim),
                value_bytes = kv_bytes(kv_stored(dtype, true), p.dim), count = p.tokens - p.chunk_start,
                items = p.tokens * p.kv_heads, most_slots = p.sink + p.window_of(p.kv_heads - 1);
  for (int64_t i = p.chunk_start; i < p.tokens; i++) p.positions.push_back(static_cast<int32_t>(i));
  const int64_t rows = p.rows(), width = p.heads * p.dim;
  p.query = round_bf16(random.values(rows * width, 2.0));
  // Stored bytes are drawn, and what they stand for follows: nothing is encoded here.
  const auto draw_rows = [&](Dtype stored, std::vector<uint8_t> &bytes, std::vector<uint32_t> &words,
                             std::vector<float> &values) {
    const int64_t row_bytes = kv_bytes(stored, p.dim);
    for (int64_t item = 0; item < items; item++) {
      const size_t at = bytes.size();
      for (int64_t i = 0; i < (stored == Dtype::f32 || stored == Dtype::bf16 ? 0 : row_bytes); i++) {
        const auto byte = static_cast<uint8_t>(random.bits() >> 20);
        bytes.push_back(stored == Dtype::fp8 && (byte & 0x7f) == 0x7f ? 0 : byte);
      }
      if (stored == Dtype::f32 || stored == Dtype::bf16) {
        const auto drawn = random.values(p.dim, 2.0);
        const auto halves = to_bf16(drawn);
        bytes.resize(at + static_cast<size_t>(row_bytes));
        std::memcpy(&bytes[at], stored == Dtype::f32 ? static_cast<const void *>(drawn.data()) : halves.data(),
                    static_cast<size_t>(row_bytes));
      }
      const float scale = (stored == Dtype::int8  ? 2.0f / 127
                           : stored == Dtype::fp8 ? 2.0f / 448
                                                  : 0.25f) *
                          (1 + random.value() / 4);
      words.push_back(stored == Dtype::int4
                          ? float_to_f16(scale) |
                                static_cast<uint32_t>(float_to_f16(static_cast<float>(random.integer(4, 11)))) << 16
                          : float_to_bits(scale));
      // The tile holds them as bf16.
      for (int64_t i = 0; i < p.dim; i++)
        values.push_back(
            bf16_to_float(float_to_bf16(static_cast<float>(kv_value(stored, &bytes[at], words.back(), i)))));
    }
  };
  std::vector<uint8_t> keys, values;
  std::vector<uint32_t> key_words, value_words;
  draw_rows(kv_stored(dtype, false), keys, key_words, p.key),
      draw_rows(kv_stored(dtype, true), values, value_words, p.value);

  const auto q = upload(to_bf16(p.query));
  const auto positions = upload(p.positions);
  const auto windows = upload(p.windows());
  const auto chunk_of = [&](const auto &all, int64_t per_item) {
    return std::decay_t<decltype(all)>(all.begin() + p.chunk_start * p.kv_heads * per_item, all.end());
  };
  const auto chunk_key = upload(chunk_of(keys, key_bytes)), chunk_value = upload(chunk_of(values, value_bytes));
  const auto chunk_key_scale = upload(chunk_of(key_words, 1)), chunk_value_scale = upload(chunk_of(value_words, 1));
  // Caches: even KV heads whole, odd ones a ring; slots that nothing was written to are NaN (bytes 0xff) and must not
  // be read.
  const int64_t slots = std::max(p.chunk_start, most_slots);
  std::vector<uint8_t> memory(static_cast<size_t>(2 * p.kv_heads * slots * key_bytes), 0xff);
  std::vector<uint32_t> scales(static_cast<size_t>(2 * p.kv_heads * slots), 0xffffffffu);
  for (int64_t position = 0; position < p.chunk_start; position++) {
    for (int64_t head = 0; head < p.kv_heads; head++) {
      const int64_t slot = head % 2 == 0 || position < p.sink ? position
                                                              : p.sink + (position - p.sink) % p.window_of(head),
                    item = position * p.kv_heads + head;
      for (const bool is_value : {false, true}) {
        const int64_t begin = (2 * head + is_value) * slots, to = begin + slot,
                      row_bytes = is_value ? value_bytes : key_bytes;
        std::copy_n((is_value ? values : keys).begin() + item * row_bytes, row_bytes,
                    memory.begin() + begin * key_bytes + slot * row_bytes);
        scales[static_cast<size_t>(to)] = (is_value ? value_words : key_words)[static_cast<size_t>(item)];
      }
    }
  }
  const auto memory_buffer = upload(memory);
  const auto scale_buffer = upload(scales);
  std::vector<HeadCache> caches;
  std::vector<int32_t> whole, ring;
  for (int64_t head = 0; head < p.kv_heads; head++) {
    uint8_t *at = memory_buffer.data() + 2 * head * slots * key_bytes;
    uint32_t *scale = scale_buffer.data() + 2 * head * slots;
    caches.push_back({at, at + slots * key_bytes, scale, scale + slots,
                      head % 2 == 0 ? slots : p.sink + p.window_of(head), head % 2 == 1, p.sink, p.window_of(head)});
    (head % 2 == 0 ? whole : ring).push_back(static_cast<int32_t>(head));
  }
  const auto table = upload(caches);
  const auto whole_buffer = upload(whole), ring_buffer = upload(ring);
  const auto got = run_in_every_order<std::vector<uint16_t>>(name, [&] {
    DeviceBuffer<uint16_t> mixed(rows * width);
    AttentionForward a{};
    a.shape = shape_of(p, windows);
    a.query = q.data(), a.positions = positions.data(), a.num_rows = rows;
    a.dtype = dtype, a.rotates = rotates;
    a.chunk_key = chunk_key.data(), a.chunk_value = chunk_value.data();
    a.chunk_key_scale = kv_has_scale(dtype) ? chunk_key_scale.data() : nullptr,
    a.chunk_value_scale = kv_has_scale(dtype) ? chunk_value_scale.data() : nullptr;
    a.chunk_start = p.chunk_start, a.chunk_count = count;
    a.caches = table.data(), a.is_chunked = p.is_chunked;
    a.mixed = mixed.data();
    a.kv_list = whole_buffer.data(), a.num_listed = static_cast<int32_t>(whole.size());
    check(run_forward(kernel, a, Branches::full), "full");
    a.kv_list = ring_buffer.data(), a.num_listed = static_cast<int32_t>(ring.size());
    check(run_forward(kernel, a, Branches::stream), "streaming");
    return download(mixed);
  });
  std::vector<double> expected = attend_exactly(p, false).out;
  const auto streaming = attend_exactly(p, true).out;
  for (size_t i = 0; i < expected.size(); i++) {
    if (static_cast<int64_t>(i) / p.dim % p.heads / p.group() % 2 == 1) expected[i] = streaming[i];
  }
  // Queries, keys and values are what they are; what comes of them is transformed back.
  if (rotates) expected = transform_exactly(expected, p.dim);
  expect_within(worst_row_error(from_bf16(got), expected, p.dim), tolerance::bf16_attention, name);
}

// ---- Backward ----

void test_backward(AttentionProblem p, Kernel kernel, int64_t first_gate, bool full_is_constant) {
  draw(p, Half::bf16, 2);
  const std::string name = describe(p) + name_of(kernel) + " backward, gates from " + std::to_string(first_gate) +
                           (full_is_constant ? ", full constant" : "");
  const int64_t rows = p.rows(), width = p.heads * p.dim, kv_width = p.kv_heads * p.dim;
  const auto gates = make_gates(p.kv_heads, first_gate);
  const auto d_mixed = round_bf16(Random(3).values(rows * width));
  const auto expected = attend_backward_exactly(p, gates, full_is_constant, d_mixed);
  // What forward and branch_gradient.h would have left, from the definition.
  const auto narrowed = [](const std::vector<double> &from) { return std::vector<float>(from.begin(), from.end()); };
  const auto full_lse = upload(narrowed(attend_exactly(p, false).lse)),
             stream_lse = upload(narrowed(attend_exactly(p, true).lse));
  const auto full_delta = upload(narrowed(expected.full_delta)), stream_delta = upload(narrowed(expected.stream_delta));
  const auto q = upload(to_bf16(p.query)), k = upload(to_bf16(p.key)), v = upload(to_bf16(p.value)),
             d = upload(to_bf16(d_mixed));
  const auto positions = upload(p.positions);
  const auto windows = upload(p.windows());
  const auto gate_buffer = upload(gates);
  struct Result {
    std::vector<float> query, key, value;
    bool operator==(const Result &o) const { return query == o.query && key == o.key && value == o.value; }
  };
  const auto result = run_in_every_order<Result>(name, [&] {
    DeviceBuffer<float> dq(rows * width), dk(p.tokens * kv_width), dv(p.tokens * kv_width);
    AttentionBackward b{};
    b.shape = shape_of(p, windows);
    b.query = q.data(), b.positions = positions.data(), b.num_rows = rows;
    b.key = k.data(), b.value = v.data(), b.num_keys = p.tokens;
    b.d_mixed = d.data();
    b.full_lse = full_lse.data(), b.stream_lse = stream_lse.data();
    b.gates = gate_buffer.data(), b.full_is_constant = full_is_constant;
    b.full_delta = full_delta.data(), b.stream_delta = stream_delta.data();
    b.d_query = dq.data(), b.d_key = dk.data(), b.d_value = dv.data();
    check(run_backward(kernel, b), "backward");
    return Result{download(dq), download(dk), download(dv)};
  });
  // Rows that are next to nothing (a row with one key has no slope at all) are held to a twentieth of the largest.
  expect_within(worst_row_error(result.query, expected.query, p.dim, 0.05), tolerance::bf16_gradient, name + ": dQ");
  expect_within(worst_row_error(result.key, expected.key, p.dim, 0.05), tolerance::bf16_gradient, name + ": dK");
  expect_within(worst_row_error(result.value, expected.value, p.dim, 0.05), tolerance::bf16_gradient, name + ": dV");
}

// Windows that end inside, at and past a tile (64 keys plain, 128 hopper), a sink of whole tiles, rows far apart.
std::vector<AttentionProblem> list_problems(bool is_hopper) {
  const auto make = [](int64_t heads, int64_t kv_heads, int64_t dim, int64_t tokens, int64_t sink, int64_t recent,
                       int64_t growth = 0, std::vector<int32_t> positions = {}) {
    AttentionProblem p{};
    p.heads = heads, p.kv_heads = kv_heads, p.dim = dim, p.tokens = tokens, p.sink = sink, p.recent = recent,
    p.growth = growth, p.positions = std::move(positions);
    return p;
  };
  std::vector<AttentionProblem> list{make(3, 3, 64, 131, 0, 20, 45), make(6, 3, 128, 97, 70, 5, 11)};
  if (!is_hopper) {
    list.push_back(make(6, 3, 32, 70, 3, 9, 30));
    // Each head size that has no kernel by wgmma: tiles of 64, 32 and 16 keys.
    list.push_back(make(4, 2, 80, 75, 3, 20, 30));
    list.push_back(make(3, 3, 96, 70, 20, 5, 30));
    list.push_back(make(4, 2, 192, 67, 3, 20, 25));
    list.push_back(make(2, 2, 256, 70, 18, 9, 20));
  }
  if (is_brief) return list;
  list.push_back(make(1, 1, 64, 1, 0, 1));
  list.push_back(make(2, 1, 128, 5, 9, 2));  // fewer tokens than sinks
  list.push_back(make(2, 1, 64, 65, 10, 60));
  list.push_back(make(2, 1, 128, 300, 140, 40, 0, {0, 127, 128, 255, 299}));
  std::vector<int32_t> skipping;  // the last row of a tile of queries stands at the first key of a tile
  for (int32_t i = 0; i < 140; i++) {
    if (i != 63) skipping.push_back(i);
  }
  list.push_back(make(2, 1, 64, 140, 3, 20, 0, skipping));
  if (is_hopper) {
    list.push_back(make(3, 3, 128, 257, 64, 129));
    list.push_back(make(2, 2, 64, 390, 128, 128));
    list.push_back(make(3, 3, 64, 513, 0, 100));
    list.push_back(make(4, 4, 128, 400, 4, 1, 130));
  } else {
    list.push_back(make(3, 3, 32, 193, 64, 65));
    list.push_back(make(2, 2, 64, 200, 0, 64));
    list.push_back(make(2, 2, 64, 260, 10, 66));  // tiles behind the window, one key short and with sinks
    list.push_back(make(6, 3, 32, 200, 10, 30, 50, {0, 5, 66, 130, 199}));
  }
  return list;
}

bool has_kernel(Kernel kernel) {
  if (kernel == Kernel::plain || has_hopper()) return true;
#ifdef DUO_EMULATION
  expect(false, "the emulation is a Hopper GPU");
#endif
  std::printf("skipped: attention by wgmma needs a Hopper GPU\n");
  return false;
}

void test_all_forward(Kernel kernel) {
  if (!has_kernel(kernel)) return;
  int64_t first = 0;
  for (const AttentionProblem &p : list_problems(kernel == Kernel::hopper)) {
    test_forward(p, kernel, Half::bf16, first);
    if (p.tokens <= 200) test_forward(p, kernel, Half::f16, first);
    first++;
  }
  const auto cached = [&](Dtype dtype, int64_t heads, int64_t kv_heads, int64_t dim, int64_t start, int64_t count,
                          int64_t sink, int64_t recent, bool is_chunked, bool rotates = false) {
    AttentionProblem p{};
    p.heads = heads, p.kv_heads = kv_heads, p.dim = dim, p.tokens = start + count, p.sink = sink, p.recent = recent,
    p.growth = 17, p.chunk_start = start, p.is_chunked = is_chunked;
    test_forward_cached(p, kernel, dtype, rotates);
  };
  for (const Dtype dtype : KV_DTYPES) cached(dtype, 4, 2, 64, 75, 30, 3, 40, false);
  for (const Dtype dtype : {Dtype::int8, Dtype::fp8, Dtype::int4, Dtype::k8v4})
    cached(dtype, 4, 2, dtype == Dtype::int8 ? 128 : 64, 75, 30, 3, 40, false, true);
  if (kernel == Kernel::plain) {
    cached(Dtype::int4, 4, 2, 32, 75, 30, 3, 40, false, true);
    // Transformed in blocks: 64 + 16, 64 + 32, 128 + 64; int4 rows of 80 are padded.
    for (const int64_t dim : {80, 96, 192, 256}) {
      cached(Dtype::int4, 2, 2, dim, 41, 30, 3, 20, false, true);
      cached(dim % 64 == 0 ? Dtype::int8 : Dtype::fp8, 2, 2, dim, 41, 30, 3, 20, true);
    }
  }
  if (is_brief) return;
  for (const Dtype dtype : {Dtype::bf16, Dtype::int8}) {
    cached(dtype, 2, 2, 128, 128, 20, 10, 33, true);
    cached(dtype, 2, 2, 64, 20, 50, 4, 30, true);  // the window reaches before the text
    cached(dtype, 4, 4, 64, 200, 70, 64, 65, false);
  }
  if (kernel == Kernel::plain) cached(Dtype::fp8, 6, 2, 32, 67, 9, 2, 30, true);
}
void test_all_backward(Kernel kernel) {
  if (!has_kernel(kernel)) return;
  int64_t first = 0;
  for (const AttentionProblem &p : list_problems(kernel == Kernel::hopper)) {
    test_backward(p, kernel, first, false);
    if (p.tokens < 150 || p.rows() < p.tokens) test_backward(p, kernel, first + 1, true);
    // Heads of one kind alone: without a full branch tiles that nothing sees are left out.
    if (p.kv_heads == 1) test_backward(p, kernel, 2, false);
    first++;
  }
}
void test_refusals(const std::function<cudaError_t(int32_t)> &launch, const std::vector<int32_t> &dims) {
  for (const int32_t dim : dims)
    expect(launch(dim) == cudaErrorInvalidValue, "head_dim " + std::to_string(dim) + " is refused");
}

OP_TEST(attention, launch_attention_forward_plain) {
  test_all_forward(Kernel::plain);
  test_refusals(
      [](int32_t dim) {
        AttentionForward a{};
        a.shape = {1, 1, dim, 0, nullptr}, a.num_rows = a.num_listed = 1;
        return launch_attention_forward_plain(a, Branches::full, test_stream().get());
      },
      {16, 48, 112, 512});
}
OP_TEST(attention, launch_attention_forward_hopper) {
  test_all_forward(Kernel::hopper);
  test_refusals(
      [](int32_t dim) {
        AttentionForward a{};
        a.shape = {1, 1, dim, 0, nullptr}, a.num_rows = a.num_listed = 1;
        return launch_attention_forward_hopper(a, Branches::full, test_stream().get());
      },
      {32, 96});
}
// The mixed output of both branches by a kernel.
std::vector<uint16_t> mix_with(Kernel kernel, const AttentionProblem &p) {
  const auto q = upload(to_bf16(p.query)), k = upload(to_bf16(p.key)), v = upload(to_bf16(p.value));
  const auto positions = upload(p.positions);
  const auto windows = upload(p.windows());
  const auto gates = upload(std::vector<float>(static_cast<size_t>(p.kv_heads), 0.3f));
  const auto list = upload(std::vector<int32_t>{0, 1, 2});
  DeviceBuffer<uint16_t> mixed(static_cast<int64_t>(p.query.size()));
  AttentionForward a{};
  a.shape = shape_of(p, windows), a.query = q.data(), a.positions = positions.data(), a.num_rows = p.rows(),
  a.dtype = Dtype::bf16;
  a.chunk_key = reinterpret_cast<const uint8_t *>(k.data()),
  a.chunk_value = reinterpret_cast<const uint8_t *>(v.data()), a.chunk_count = p.tokens;
  a.kv_list = list.data(), a.num_listed = 3, a.gates = gates.data(), a.mixed = mixed.data();
  check(run_forward(kernel, a, Branches::both), "attention");
  return download(mixed);
}

// The choice: every head dimension works, by the kernel that fits the device; nothing is launched for no heads and no
// rows.
OP_TEST(attention, launch_attention_forward) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "asking for the device's properties");
  const char *wish = std::getenv("DUO_HOPPER");
  expect(has_hopper() == (properties.major == 9 && (wish == nullptr || std::string(wish) != "0")),
         "wgmma is taken on compute capability 9 and on no other");
  for (const int64_t dim : {32, 64, 80, 96, 128, 192, 256}) {
    AttentionProblem p{};
    p.heads = 3, p.kv_heads = 3, p.dim = dim, p.tokens = 20, p.sink = 2, p.recent = 7;
    test_forward(p, Kernel::chosen, Half::bf16, 0);
    p.tokens = 150;
    draw(p, Half::bf16, 7);
    const bool takes_wgmma = has_hopper() && (dim == 64 || dim == 128);
    expect(mix_with(Kernel::chosen, p) == mix_with(takes_wgmma ? Kernel::hopper : Kernel::plain, p),
           "the kernel that fits the device, D" + std::to_string(dim));
    if (takes_wgmma)
      expect(mix_with(Kernel::hopper, p) != mix_with(Kernel::plain, p), "and the other one has other bits");
  }
  AttentionForward a{};
  a.shape = {1, 1, 64, 0, nullptr};
  a.num_rows = 1;
  expect(launch_attention_forward(a, Branches::both, test_stream().get()) == cudaSuccess, "no heads, no launch");
  a.num_rows = 0, a.num_listed = 1;
  expect(launch_attention_forward(a, Branches::both, test_stream().get()) == cudaSuccess, "no rows, no launch");
  test_stream().wait();
}
OP_TEST(attention, launch_attention_backward_plain) {
  test_all_backward(Kernel::plain);
  test_refusals(
      [](int32_t dim) {
        AttentionBackward a{};
        a.shape = {1, 1, dim, 0, nullptr}, a.num_rows = a.num_keys = 1;
        return launch_attention_backward_plain(a, test_stream().get());
      },
      {16, 112});
}
OP_TEST(attention, launch_attention_backward_hopper) {
  test_all_backward(Kernel::hopper);
  test_refusals(
      [](int32_t dim) {
        AttentionBackward a{};
        a.shape = {1, 1, dim, 0, nullptr}, a.num_rows = a.num_keys = 1;
        return launch_attention_backward_hopper(a, test_stream().get());
      },
      {32, 96});
}
OP_TEST(attention, launch_attention_backward) {
  for (const int64_t dim : {32, 64, 80, 96, 128, 192, 256}) {
    AttentionProblem p{};
    p.heads = 3, p.kv_heads = 3, p.dim = dim, p.tokens = 20, p.sink = 2, p.recent = 7;
    test_backward(p, Kernel::chosen, 0, false);
  }
}

// ---- The gradient of the gates ----

OP_TEST(attention, launch_branch_difference) {
  Random random(5);
  for (const int64_t count : {4, 1028}) {
    const auto full = random.values(count), streaming = random.values(count);
    const auto f = upload(full), s = upload(streaming);
    const auto got = run_launch<uint16_t>("difference", count, [&](uint16_t *out, cudaStream_t stream) {
      return launch_branch_difference(f.data(), s.data(), count, out, stream);
    });
    std::vector<float> expected;
    for (size_t i = 0; i < full.size(); i++) expected.push_back(full[i] - streaming[i]);
    expect(got == to_bf16(expected), "full − streaming, rounded");
  }
}

OP_TEST(attention, launch_branch_deltas) {
  struct Case {
    int64_t heads, kv_heads, dim, rows;
  };
  std::vector<Case> cases{{3, 3, 32, 1},  {6, 3, 64, 70}, {4, 1, 128, 33},
                          {4, 4, 64, 65}, {4, 2, 80, 9},  {2, 2, 256, 5}};
  // More of a KV head's rows than its slices have threads.
  if (!is_brief) cases.push_back({2, 1, 32, GATE_SLICES * 256 / 2 + 40});
  for (const Case &c : cases) {
    for (const int64_t first : {0, 1, 2}) {
      if (first > 0 && c.rows > 100) continue;
      const std::string name = "branch deltas H" + std::to_string(c.heads) + " G" + std::to_string(c.kv_heads) + " D" +
                               std::to_string(c.dim) + " rows " + std::to_string(c.rows);
      Random random(static_cast<uint64_t>(c.rows));
      const int64_t count = c.rows * c.heads;
      const auto d_mixed = round_bf16(random.values(count * c.dim)), mixed = round_bf16(random.values(count * c.dim)),
                 difference = round_bf16(random.values(count * c.dim, 0.5));
      const auto gates = make_gates(c.kv_heads, first);
      const auto d = upload(to_bf16(d_mixed)), m = upload(to_bf16(mixed)), e = upload(to_bf16(difference));
      const auto g = upload(gates);
      struct Result {
        std::vector<float> deltas, d_gates;
        bool operator==(const Result &o) const { return deltas == o.deltas && d_gates == o.d_gates; }
      };
      const auto result = run_in_every_order<Result>(name, [&] {
        DeviceBuffer<float> deltas(3 * count), d_gates(c.kv_heads);
        DeviceBuffer<double> partial(c.kv_heads * GATE_SLICES);
        AttentionBackward a{};
        a.shape = {static_cast<int32_t>(c.heads), static_cast<int32_t>(c.kv_heads), static_cast<int32_t>(c.dim), 1,
                   nullptr};
        a.num_rows = c.rows, a.d_mixed = d.data(), a.gates = g.data();
        a.full_delta = deltas.data(), a.stream_delta = deltas.data() + count, a.gate_delta = deltas.data() + 2 * count,
        a.d_gates = d_gates.data();
        check(launch_branch_deltas(a, m.data(), e.data(), partial.data(), test_stream().get()), "deltas");
        return Result{download(deltas), download(d_gates)};
      });
      double worst[3] = {}, worst_gate = 0;
      std::vector<double> d_gates(static_cast<size_t>(c.kv_heads)), sizes(d_gates);
      for (int64_t item = 0; item < count; item++) {
        const int64_t row = item / c.heads, head = item % c.heads, kv_head = head / (c.heads / c.kv_heads);
        double with_mixed = 0, with_difference = 0, size = 0;
        for (int64_t i = item * c.dim; i < (item + 1) * c.dim; i++) {
          const double gradient = d_mixed[static_cast<size_t>(i)], x = gradient * mixed[static_cast<size_t>(i)],
                       y = gradient * difference[static_cast<size_t>(i)];
          with_mixed += x, with_difference += y;
          size += std::fabs(x) + std::fabs(y);
        }
        // m = α·full + (1 − α)·stream and e = full − stream: full = m + (1 − α)·e, stream = m − α·e.
        const double gate = gates[static_cast<size_t>(kv_head)],
                     expected[3] = {with_mixed + (1 - gate) * with_difference, with_mixed - gate * with_difference,
                                    with_difference};
        for (int i = 0; i < 3; i++)
          worst[i] = worse(
              worst[i],
              std::fabs(result.deltas[static_cast<size_t>(i * count + head * c.rows + row)] - expected[i]) / size);
        d_gates[static_cast<size_t>(kv_head)] += with_difference, sizes[static_cast<size_t>(kv_head)] += size;
      }
      for (int64_t head = 0; head < c.kv_heads; head++) {
        const auto at = static_cast<size_t>(head);
        worst_gate = worse(worst_gate, std::fabs(result.d_gates[at] - d_gates[at]) / sizes[at]);
      }
      expect_within(worst[0], tolerance::bf16_delta, name + ": full");
      expect_within(worst[1], tolerance::bf16_delta, name + ": streaming");
      expect_within(worst[2], tolerance::bf16_delta, name + ": gate");
      expect_within(worst_gate, tolerance::bf16_delta, name + ": gradient of the gates");
    }
  }
}

}  // namespace

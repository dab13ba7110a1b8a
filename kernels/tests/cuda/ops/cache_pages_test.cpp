// Caches in pages: copied by column, and attended to as caches in one piece are.
#include "cuda/cache_pages.h"
#include "cuda/decode_attention.h"
#include "cuda/layer_ops.h"
#include "kv_rows.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

OP_TEST(pages, launch_copy_pages) {
  const int64_t count = 5, words = 1100;  // more than a block has threads
  std::vector<uint32_t> values(static_cast<size_t>(count * words * 4));
  for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<uint32_t>(i);
  const auto source = upload(values);
  std::vector<uint8_t *> from;
  for (int64_t i = 0; i < count; i++)
    from.push_back(reinterpret_cast<uint8_t *>(source.data() + (count - 1 - i) * words * 4));
  const auto from_table = upload(from);
  const auto copied = run_launch<uint32_t>("pages", count * words * 4, [&](uint32_t *out, cudaStream_t stream) {
    std::vector<uint8_t *> to;
    for (int64_t i = 0; i < count; i++) to.push_back(reinterpret_cast<uint8_t *>(out + i * words * 4));
    const auto to_table = upload(to);
    const cudaError_t error = launch_copy_pages(from_table.data(), to_table.data(), count, words * 16, stream);
    test_stream().wait();
    return error;
  });
  bool is_right = true;
  for (int64_t i = 0; i < count; i++)
    is_right = is_right && std::equal(copied.begin() + i * words * 4, copied.begin() + (i + 1) * words * 4,
                                      values.begin() + (count - 1 - i) * words * 4);
  expect(is_right, "each page is a copy of its own");
}

// Two sessions' heads, paged in an order that is no order, beside the same in one piece: the same bits out, and the
// same entry written.
void test_paged(Dtype dtype, const std::vector<int32_t> &lengths, int32_t blocks, int32_t dim = 32) {
  const int32_t kv_heads = 2, heads = 6, batch = static_cast<int32_t>(lengths.size());
  const int64_t most = *std::max_element(lengths.begin(), lengths.end()) + 1,
                pages = (most + PAGE_ENTRIES - 1) / PAGE_ENTRIES, pairs = batch * kv_heads,
                slots = pages * PAGE_ENTRIES;
  const int64_t key_row = kv_bytes(kv_stored(dtype, false), dim), value_row = kv_bytes(kv_stored(dtype, true), dim),
                page_bytes = kv_page_bytes(dtype, dim);
  const bool has_scale = kv_scale_bytes(dtype) > 0;
  DeviceBuffer<uint8_t> memory(pairs * slots * (key_row + value_row)), paged(pairs * pages * page_bytes);
  DeviceBuffer<uint32_t> scales(pairs * slots * 2);
  std::vector<uint8_t *> table;  // [pages, pairs]
  for (int64_t i = 0; i < pairs * pages; i++) table.push_back(paged.data() + i * 7 % (pairs * pages) * page_bytes);
  const auto table_buffer = upload(table);
  std::vector<HeadCache> in_pieces, in_pages;
  for (int64_t i = 0; i < pairs; i++) {
    uint8_t *key = memory.data() + i * slots * (key_row + value_row);
    uint32_t *scale = has_scale ? scales.data() + 2 * i * slots : nullptr;
    in_pieces.push_back({key, key + slots * key_row, scale, has_scale ? scale + slots : nullptr, slots, 0, 0, 0});
    in_pages.push_back({nullptr, nullptr, nullptr, nullptr, slots, 0, 0, 0, table_buffer.data() + i, pairs});
    for (const HeadCache &cache : {in_pieces.back(), in_pages.back()})
      check(launch_fill_cache(cache, dtype, dim, static_cast<uint64_t>(i), test_stream().get()), "filling");
  }
  Random random(9);
  const auto qkv = upload(to_bf16(random.values(batch * (heads + 2 * kv_heads) * dim, 2.0)));
  const auto cosine = upload(std::vector<float>(static_cast<size_t>(batch * dim / 2), 0.8f)),
             sine = upload(std::vector<float>(static_cast<size_t>(batch * dim / 2), 0.6f));
  const DecodeShape shape = choose_decode_shape(dtype, dim, heads / kv_heads, 4, 227 << 10, {2, 2, blocks});
  const std::string name =
      std::string("paged ") + kv_name(dtype) + " D" + std::to_string(dim) + " blocks " + std::to_string(blocks);
  const auto attend = [&](const std::vector<HeadCache> &caches) {
    const auto cache_buffer = upload(caches);
    std::vector<DecodeMember> members;
    for (int32_t m = 0; m < batch; m++)
      members.push_back({cache_buffer.data() + m * kv_heads, nullptr, nullptr, 1.0f, lengths[static_cast<size_t>(m)]});
    const auto member_buffer = upload(members);
    DeviceBuffer<DecodeHead> plan(pairs + 1);
    DeviceBuffer<float> partial((blocks + pairs) * 3 * dim), partial_scale((blocks + pairs) * 3 * 2);
    DeviceBuffer<int32_t> arrived(batch * heads);
    clear(arrived, test_stream());
    check(launch_decode_plan(member_buffer.data(), batch, 1, kv_heads, plan.data(), test_stream().get()), "a plan");
    return run_launch<uint16_t>(name, batch * heads * dim, [&](uint16_t *to, cudaStream_t stream) {
      DecodeAttention a{};
      a.plan = plan.data(), a.shape = shape, a.batch = batch, a.heads = heads, a.kv_heads = kv_heads, a.head_dim = dim,
      a.dtype = dtype;
      a.projections = {qkv.data(), nullptr, nullptr, 0.0f, cosine.data(), sine.data()};
      a.partial = partial.data(), a.partial_scale = partial_scale.data(), a.arrived = arrived.data(), a.out = to;
      const cudaError_t error = launch_decode_attention(a, stream);
      test_stream().wait();
      return error;
    });
  };
  expect(attend(in_pieces) == attend(in_pages), name + ": as in one piece, bit for bit");
  const auto piece_bytes = download(memory), page_values = download(paged);
  const auto words = download(scales);
  bool is_same = true;
  for (int64_t i = 0; i < pairs; i++) {
    const int64_t slot = lengths[static_cast<size_t>(i / kv_heads)],
                  page = (table[static_cast<size_t>(slot / PAGE_ENTRIES * pairs + i)] - paged.data()),
                  at = slot % PAGE_ENTRIES;
    for (const int64_t is_value : {0, 1}) {
      const int64_t row = is_value ? value_row : key_row;
      const uint8_t *expected =
                        piece_bytes.data() + (i * (key_row + value_row) + is_value * key_row) * slots + slot * row,
                    *got = page_values.data() + page + is_value * PAGE_ENTRIES * key_row + at * row;
      is_same = is_same && std::equal(expected, expected + row, got);
      if (!has_scale) continue;
      uint32_t word = 0;
      std::memcpy(&word,
                  page_values.data() + page + PAGE_ENTRIES * (key_row + value_row) + (is_value * PAGE_ENTRIES + at) * 4,
                  4);
      is_same = is_same && word == words[static_cast<size_t>((2 * i + is_value) * slots + slot)];
    }
  }
  expect(is_same, name + ": the step's entries are written to their pages");
}

OP_TEST(pages, launch_decode_attention) {
  for (const Dtype dtype : {Dtype::bf16, Dtype::int4, Dtype::k8v4}) {
    test_paged(dtype, {255, 256}, 4);
    test_paged(dtype, {255, 256}, 4, 80);  // of int4, rows with padding
    if (is_brief) continue;
    test_paged(dtype, {9000, 700}, 2);  // a share of more pages than lanes
  }
}

}  // namespace

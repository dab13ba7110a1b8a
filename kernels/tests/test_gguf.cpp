// The GGUF reader: the seeds of its corpus, every kind of malformed file by its sentence, names, and the row order of q
// and k.
#include <algorithm>
#include <fstream>
#include <iterator>

#include "check.h"
#include "core/gguf.h"
#include "core/gguf_names.h"

using namespace duo;

namespace {

std::vector<uint8_t> read_seed(const char *name) {
  std::ifstream file(std::string(DUO_CORPUS_FOLDER "/gguf/") + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A file in the making; numbers little-endian.
struct Bytes {
  std::vector<uint8_t> data;
  Bytes &number(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) data.push_back(static_cast<uint8_t>(value >> (8 * i)));
    return *this;
  }
  Bytes &raw(const std::string &text) {
    data.insert(data.end(), text.begin(), text.end());
    return *this;
  }
  Bytes &text(const std::string &value) { return number(value.size(), 8).raw(value); }
  Bytes &head(uint64_t tensors, uint64_t fields, uint64_t version = 3) {
    return raw("GGUF").number(version, 4).number(tensors, 8).number(fields, 8);
  }
  Bytes &tensor(const std::string &name, std::initializer_list<uint64_t> axes, uint64_t type, uint64_t offset) {
    text(name).number(axes.size(), 4);
    for (const uint64_t axis : axes) number(axis, 8);
    return number(type, 4).number(offset, 8);
  }
  Bytes &pad(size_t size) {
    data.resize(std::max(size, data.size()));
    return *this;
  }
};

void expect_refused(const Bytes &bytes, const std::string &words) {
  try {
    parse_gguf(bytes.data.data(), bytes.data.size(), "test.gguf");
    expect(false, "accepted, but expected: " + words);
  } catch (const Error &error) {
    expect(error.status() == DUO_STATUS_FORMAT && std::string(error.what()).find(words) != std::string::npos,
           words + " gave: " + error.what());
  }
}

void test_seeds() {
  const auto parse = [](const char *name) {
    const auto bytes = read_seed(name);
    return parse_gguf(bytes.data(), bytes.size(), name);
  };
  for (const char *name : {"empty", "values", "arrays"})
    expect(parse(name).tensors.empty(), std::string(name) + " has no tensors");
  expect(parse("values").architecture == "llama" && parse("arrays").architecture.empty(), "architecture");
  const auto aligned = parse("aligned");
  expect(aligned.tensors.size() == 2 && aligned.tensors[0].name == "blk.0.attn_q.weight" &&
             aligned.tensors[0].shape == std::vector<int64_t>{2, 32} && aligned.tensors[0].dtype == Dtype::q4_1 &&
             aligned.tensors[0].end - aligned.tensors[0].begin == 40,
         "a matrix of blocks");
  expect(aligned.tensors[0].begin % 64 == 0 && aligned.tensors[1].begin == aligned.tensors[0].begin + 64,
         "alignment of 64");
  expect(parse("types").tensors.size() == 13, "all types");
  const auto other = parse("other-type");
  expect(other.tensors[0].dtype == Dtype::stored && ggml_type_name(other.tensors[0].type) == "IQ4_NL" &&
             ggml_type_name(99) == "type 99",
         "a type that is not computed");
  expect(parse("axes").tensors[0].shape == std::vector<int64_t>({1, 2, 1, 2}), "four axes");
  expect(parse("version-2").tensors.size() == 1 && parse("split").architecture.empty(),
         "version 2, and a part of a split file");
}

void test_malformed() {
  const uint64_t huge = uint64_t{1} << 63, far = uint64_t{1} << 40;
  expect_refused(Bytes{}, "`GGUF`");
  expect_refused(Bytes{}.raw("GGML").pad(64), "`GGUF`");
  expect_refused(Bytes{}.raw("GGUF"), "version");
  expect_refused(Bytes{}.head(0, 0, 1), "version 2 or 3, got 1");
  expect_refused(Bytes{}.head(0, 0, 0x03000000), "little-endian");
  expect_refused(Bytes{}.head(huge, 0), "at most 1048576 tensors, got 9223372036854775808");
  expect_refused(Bytes{}.head(0, huge), "at most 65536 metadata fields");
  expect_refused(Bytes{}.head(1000, 0), "tensors that fit into the file");
  expect_refused(Bytes{}.head(0, 1).number(far, 8).pad(200), "at most 65536 bytes of a key");
  expect_refused(Bytes{}.head(0, 1).text("a").number(8, 4).number(far, 8).pad(200),
                 "at most 67108864 bytes of a string, got 1099511627776");
  expect_refused(Bytes{}.head(0, 1).text("a").number(8, 4).number(100, 8).pad(80), "that fit into the file");
  expect_refused(Bytes{}.head(0, 1).text("a").number(13, 4).pad(80), "value type of 0 to 12");
  expect_refused(Bytes{}.head(0, 1).text("a").number(9, 4).number(9, 4).number(1, 8).pad(80), "nested arrays in `a`");
  expect_refused(Bytes{}.head(0, 1).text("a").number(9, 4).number(4, 4).number(huge, 8).pad(80),
                 "at most 16777216 elements of an array");
  expect_refused(Bytes{}.head(0, 1).text("a").number(9, 4).number(12, 4).number(10, 8).pad(80), "10 values of `a`");
  expect_refused(Bytes{}.head(0, 1).text("a").number(9, 4).number(8, 4).number(2, 8).number(far, 8).pad(80),
                 "bytes of a string");
  expect_refused(Bytes{}.head(0, 1).text("a").number(7, 4).number(2, 1).pad(80), "true or false");
  expect_refused(Bytes{}.head(0, 2).text("a").number(0, 4).number(2, 1).text("a").number(0, 4).number(2, 1),
                 "once, got twice: `a`");
  expect_refused(Bytes{}.head(0, 1).text("general.alignment").number(4, 4).number(48, 4).pad(80), "a power of 2");
  expect_refused(Bytes{}.head(0, 1).text("general.alignment").number(10, 4).number(32, 8).pad(80), "32 bits");
  expect_refused(Bytes{}.head(0, 1).text("general.architecture").number(0, 4).number(32, 8).pad(80), "a string in");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {1, 1, 1, 1, 1}, 0, 0).pad(200), "1 to 4 axes of tensor `t`, got 5");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {}, 0, 0).pad(200), "1 to 4 axes");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {0}, 0, 0).pad(200), "got an axis of 0");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {huge}, 0, 0).pad(200), "1 to 2^40 elements");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {far, 2}, 0, 0).pad(200), "1 to 2^40 elements");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {far, far, far, far}, 0, 0).pad(200), "1 to 2^40 elements");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {2, 16}, 3, 0).pad(200), "whole Q4_1 blocks of 32, got 2");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {128}, 14, 0).pad(400), "whole Q6_K blocks of 256");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {4}, 0, 8).pad(200), "a multiple of 32, got 8");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {4}, 0, huge).pad(200), "inside the file");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {4}, 0, 64).pad(96), "inside the GGUF file");
  expect_refused(Bytes{}.head(1, 0).tensor("t", {1 << 20}, 0, 0).pad(200), "inside the GGUF file");
  expect_refused(Bytes{}.head(2, 0).tensor("t", {4}, 0, 0).tensor("t", {4}, 0, 32).pad(300), "a tensor once");
  expect_refused(Bytes{}.head(2, 0).tensor("t", {16}, 0, 0).tensor("u", {16}, 0, 32).pad(300), "not to overlap");
}

void test_cut() {
  for (const char *name : {"version-2", "values", "arrays", "aligned", "types", "split"}) {
    const auto whole = read_seed(name);
    for (size_t size = 0; size < whole.size(); size++) {
      // A copy of exactly that size, so that a sanitizer sees a read past it.
      const std::vector<uint8_t> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      try {
        const auto file = parse_gguf(cut.data(), cut.size(), name);
        for (const auto &tensor : file.tensors)
          expect(tensor.end <= static_cast<int64_t>(size), std::string(name) + " cut");
      } catch (const Error &error) {
        expect(error.status() == DUO_STATUS_FORMAT, std::string(name) + " cut: status");
      }
    }
  }
}

void test_names() {
  expect(translate_gguf_name("token_embd.weight") == "model.embed_tokens.weight" &&
             translate_gguf_name("output.weight") == "lm_head.weight" &&
             translate_gguf_name("output_norm.weight") == "model.norm.weight",
         "names outside layers");
  expect(translate_gguf_name("blk.12.attn_q.weight") == "model.layers.12.self_attn.q_proj.weight", "q");
  expect(translate_gguf_name("blk.0.attn_k.bias") == "model.layers.0.self_attn.k_proj.bias", "bias of k");
  expect(translate_gguf_name("blk.3.ffn_norm.weight") == "model.layers.3.post_attention_layernorm.weight", "norm");
  for (const char *name : {"", "blk.", "blk.0", "blk.0.weight", "blk.0.attn_q", "blk.0.attn_q.scale",
                           "blk.0.attn_sinks.weight", "rope_freqs.weight"}) {
    expect(translate_gguf_name(name).empty(), std::string("no name for ") + name);
  }
  expect(has_paired_rows("llama", "model.layers.0.self_attn.q_proj.weight") &&
             has_paired_rows("llama", "model.layers.0.self_attn.k_proj.bias"),
         "paired rows");
  expect(!has_paired_rows("llama", "model.layers.0.self_attn.v_proj.weight") &&
             !has_paired_rows("qwen2", "model.layers.0.self_attn.q_proj.weight"),
         "no paired rows");
}

// Two heads of 6: halves (a0 a1 a2 | b0 b1 b2) are stored as a0 b0 a1 b1 a2 b2.
void test_rows() {
  std::vector<uint8_t> stored, expected, rows(24);
  for (uint8_t head = 0; head < 2; head++) {
    for (uint8_t i = 0; i < 3; i++) {
      for (uint8_t half = 0; half < 2; half++)
        stored.insert(stored.end(), {static_cast<uint8_t>(100 * head + 10 * half + i), 7});
    }
    for (uint8_t half = 0; half < 2; half++) {
      for (uint8_t i = 0; i < 3; i++)
        expected.insert(expected.end(), {static_cast<uint8_t>(100 * head + 10 * half + i), 7});
    }
  }
  unpair_rows(stored.data(), 12, 2, 6, rows.data());
  expect(rows == expected, "rows in halves");
}

}  // namespace

int main() {
  test_seeds();
  test_malformed();
  test_cut();
  test_names();
  test_rows();
  return finish("test_gguf");
}

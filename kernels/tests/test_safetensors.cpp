// The safetensors reader: a good file, every kind of malformed header by its status, and mutated files that must never
// crash.
#include <algorithm>
#include <cstring>

#include "check.h"
#include "core/safetensors.h"
#include "core/tensor_names.h"

using namespace duo;

namespace {

std::vector<uint8_t> make_file(const std::string &header, size_t data_bytes) {
  std::vector<uint8_t> file(8 + header.size() + data_bytes);
  for (size_t i = 0; i < 8; i++) file[i] = static_cast<uint8_t>(static_cast<uint64_t>(header.size()) >> (8 * i));
  std::memcpy(file.data() + 8, header.data(), header.size());
  return file;
}

void expect_refused(const std::string &header, size_t data_bytes, const std::string &words) {
  const auto file = make_file(header, data_bytes);
  try {
    parse_safetensors(file.data(), file.size(), "test.safetensors");
    expect(false, "accepted: " + header);
  } catch (const Error &error) {
    expect(error.status() == DUO_STATUS_FORMAT && std::string(error.what()).find(words) != std::string::npos,
           header + " gave: " + error.what());
  }
}

const std::string GOOD =
    R"({"__metadata__": {"format": "pt"}, "a\u0041": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
  "b": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]}, "c": {"shape": [0], "data_offsets": [26, 26], "dtype": "F16"}}   )";

void test_good() {
  const auto file = make_file(GOOD, 26);
  const auto entries = parse_safetensors(file.data(), file.size(), "test.safetensors");
  expect(entries.size() == 3, "three tensors");
  expect(entries[0].name == "aA" && entries[0].dtype == "F32" && entries[0].shape == std::vector<int64_t>{2, 3},
         "first tensor");
  expect(entries[0].begin == static_cast<int64_t>(8 + GOOD.size()) && entries[0].end - entries[0].begin == 24,
         "absolute offsets");
  expect(entries[1].shape.empty() && entries[1].end - entries[1].begin == 2, "scalar");
}

void test_malformed() {
  expect_refused("", 0, "`{`");
  expect_refused("[]", 0, "`{`");
  expect_refused("{", 0, "`\"`");
  expect_refused("{} x", 0, "nothing but spaces");
  expect_refused(R"({"a": 1})", 0, "`{`");
  expect_refused(R"({"a": {}})", 0, "`\"`");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [1]}})", 4, "`data_offsets` for `a`");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1}})", 4, "not `x`");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}})", 4, "inside");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}})", 4, "inside");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}})", 4, "8 bytes by its shape");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}})", 4, "a number of at least 0");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]}})", 4, "`]`");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [01], "data_offsets": [0, 4]}})", 4, "leading zeros");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [99999999999999999999], "data_offsets": [0, 4]}})", 4, "2^53");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [1099511627776, 1099511627776], "data_offsets": [0, 4]}})", 4,
                 "2^40 elements");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,1], "data_offsets": [0, 4]}})", 4, "8 axes");
  expect_refused(
      R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}})",
      8, "occurs twice");
  expect_refused(
      R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}})",
      8, "overlap");
  expect_refused(R"({"a\x": 1})", 0, "escape");
  expect_refused(R"({"a\u12g4": 1})", 0, "hexadecimal");
  expect_refused("{\"a\n\": 1}", 0, "closing");
  uint8_t huge[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  for (const size_t size : {size_t{0}, size_t{7}, size_t{8}, size_t{16}}) {
    try {
      parse_safetensors(huge, size, "test.safetensors");
      expect(false, "accepted a header of 2^64 bytes");
    } catch (const Error &error) {
      expect(error.status() == DUO_STATUS_FORMAT, "status of a short file");
    }
  }
}

// Any bytes give entries inside the file or an Error; nothing else may happen.
void test_mutations() {
  Random random(3);
  const auto good = make_file(GOOD, 26);
  int num_accepted = 0, num_refused = 0;
  for (int round = 0; round < 20000; round++) {
    auto file = good;
    for (int64_t i = random.integer(1, 4); i > 0; i--)
      file[static_cast<size_t>(random.integer(0, static_cast<int64_t>(file.size()) - 1))] =
          static_cast<uint8_t>(random.bits());
    if (random.integer(0, 1) == 0)
      file.resize(static_cast<size_t>(random.integer(0, static_cast<int64_t>(file.size()))));
    try {
      for (const auto &entry : parse_safetensors(file.data(), file.size(), "test.safetensors")) {
        if (entry.begin < 8 || entry.begin > entry.end || entry.end > static_cast<int64_t>(file.size()))
          expect(false, "an entry outside its file");
      }
      num_accepted++;
    } catch (const Error &error) {
      if (error.status() != DUO_STATUS_FORMAT) expect(false, std::string("a mutated file gave: ") + error.what());
      num_refused++;
    }
  }
  expect(num_accepted > 100 && num_refused > 10000,
         "mutations: " + std::to_string(num_accepted) + " accepted, " + std::to_string(num_refused) + " refused");
}

}  // namespace

// The list of test/src/model/tensor-names.test.ts: one rule in both languages.
void test_names() {
  const struct {
    const char *stored, *plain;
  } NAMES[] = {
      {"model.embed_tokens.weight", "model.embed_tokens.weight"},
      {"embed_tokens.weight", "model.embed_tokens.weight"},
      {"norm.weight", "model.norm.weight"},
      {"layers.11.mlp.up_proj.weight", "model.layers.11.mlp.up_proj.weight"},
      {"model.language_model.layers.0.self_attn.q_norm.weight", "model.layers.0.self_attn.q_norm.weight"},
      {"language_model.model.layers.3.self_attn.k_proj.bias", "model.layers.3.self_attn.k_proj.bias"},
      {"language_model.norm.weight", "model.norm.weight"},
      {"_orig_mod.model.layers.0._orig_mod.mlp.down_proj.weight", "model.layers.0.mlp.down_proj.weight"},
      {"base_model.model.model.layers.0.input_layernorm.weight", "model.layers.0.input_layernorm.weight"},
      {"_orig_mod.base_model.model.lm_head.weight", "lm_head.weight"},
      {"module.model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.gate_proj.weight"},
      {"module.base_model.model.model.norm.weight", "model.norm.weight"},
      {"model.model.layers.0.self_attn.o_proj.weight", "model.layers.0.self_attn.o_proj.weight"},
      {"lm_head.weight", "lm_head.weight"},
      {"language_model.lm_head.weight", "lm_head.weight"},
      {"model.lm_head.weight", "lm_head.weight"},
      {"model.language_model.lm_head.weight", "lm_head.weight"},
      {"vision_tower.transformer.layers.0.attention.q_proj.weight", ""},
      {"model.visual.blocks.0.norm1.weight", ""},
      {"vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight", ""},
      {"multi_modal_projector.norm.weight", ""},
      {"mtp.layers.0.mlp.up_proj.weight", ""},
      {"model.layers.x.mlp.up_proj.weight", ""},
      {"model.layers..mlp.up_proj.weight", ""},
      {"model.layers.0.mlp.experts.0.up_proj.weight", ""},
      {"model.layers.0.self_attn.rotary_emb.inv_freq", ""},
      {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", ""},
      {"model.layers.0", ""},
      {"layers.7", ""},
      {"", ""},
  };
  for (const auto &name : NAMES) {
    const std::string plain = find_plain_name(name.stored);
    expect(plain == name.plain, std::string(name.stored) + " gave: " + plain);
  }
}

int main() {
  test_good();
  test_malformed();
  test_names();
  test_mutations();
  return finish("test_safetensors");
}

// A cursor over the mapped bytes that never moves past their end; nothing is allocated for a count before the bytes
// that it promises are there.
#include "core/gguf.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <set>

#include "core/error.h"
#include "core/gguf_blocks.h"

namespace duo {
namespace {

constexpr uint64_t MAX_FIELDS = 1 << 16;
constexpr uint64_t MAX_KEY_BYTES = 1 << 16;  // the format's own bound
constexpr uint64_t MAX_TENSORS = 1 << 20;
constexpr uint64_t MAX_ARRAY = 1 << 24;  // the largest vocabularies have 2^18 tokens, and a few times as many merges
constexpr uint64_t MAX_STRING_BYTES = 1 << 26;  // a chat template is the longest
constexpr uint64_t MAX_NAME_BYTES = 256;        // ggml itself stops at 64
constexpr uint32_t MAX_AXES = 4;
constexpr uint64_t MAX_COUNT = uint64_t{1} << 40;  // of one axis, and of a tensor's elements
constexpr uint64_t MAX_ALIGNMENT = 1 << 20;
// Least bytes of a field (key length, type, one byte) and of a tensor's entry (name length, axes, one axis, type,
// offset).
constexpr uint64_t MIN_FIELD_BYTES = 13, MIN_TENSOR_BYTES = 32;

enum ValueType : uint32_t {
  UINT8,
  INT8,
  UINT16,
  INT16,
  UINT32,
  INT32,
  FLOAT32,
  BOOL,
  STRING,
  ARRAY,
  UINT64,
  INT64,
  FLOAT64
};

uint64_t scalar_bytes(uint32_t type) {
  switch (type) {
    case UINT8:
    case INT8:
    case BOOL: return 1;
    case UINT16:
    case INT16: return 2;
    case UINT32:
    case INT32:
    case FLOAT32: return 4;
    case UINT64:
    case INT64:
    case FLOAT64: return 8;
    default: return 0;
  }
}

const struct {
  uint32_t type;
  const char *name;
  Dtype dtype;
} TYPES[] = {
    {0, "F32", Dtype::f32},        {1, "F16", Dtype::f16},         {30, "BF16", Dtype::bf16},
    {2, "Q4_0", Dtype::q4_0},      {3, "Q4_1", Dtype::q4_1},       {6, "Q5_0", Dtype::q5_0},
    {7, "Q5_1", Dtype::q5_1},      {8, "Q8_0", Dtype::q8_0},       {10, "Q2_K", Dtype::q2_k},
    {11, "Q3_K", Dtype::q3_k},     {12, "Q4_K", Dtype::q4_k},      {13, "Q5_K", Dtype::q5_k},
    {14, "Q6_K", Dtype::q6_k},     {4, "Q4_2", Dtype::stored},     {5, "Q4_3", Dtype::stored},
    {9, "Q8_1", Dtype::stored},    {15, "Q8_K", Dtype::stored},    {16, "IQ2_XXS", Dtype::stored},
    {17, "IQ2_XS", Dtype::stored}, {18, "IQ3_XXS", Dtype::stored}, {19, "IQ1_S", Dtype::stored},
    {20, "IQ4_NL", Dtype::stored}, {21, "IQ3_S", Dtype::stored},   {22, "IQ2_S", Dtype::stored},
    {23, "IQ4_XS", Dtype::stored}, {24, "I8", Dtype::stored},      {25, "I16", Dtype::stored},
    {26, "I32", Dtype::stored},    {27, "I64", Dtype::stored},     {28, "F64", Dtype::stored},
    {29, "IQ1_M", Dtype::stored},  {34, "TQ1_0", Dtype::stored},   {35, "TQ2_0", Dtype::stored},
    {39, "MXFP4", Dtype::stored},  {40, "NVFP4", Dtype::stored},
};

class Parser {
 public:
  Parser(const uint8_t *data, size_t size, const std::string &path) : data_(data), size_(size), path_(path) {}

  GgufFile parse() {
    GgufFile file;
    at_ = 4;  // the magic
    const uint64_t version = read(4, "version");
    if (version >= 1 << 16) bad("a little-endian file, got version %" PRIu64 ", which a big-endian one has", version);
    if (version != 2 && version != 3) bad("version 2 or 3, got %" PRIu64, version);
    const uint64_t num_tensors = read_count("tensors", MAX_TENSORS, MIN_TENSOR_BYTES);
    const uint64_t num_fields = read_count("metadata fields", MAX_FIELDS, MIN_FIELD_BYTES);
    std::set<std::string> names;
    for (uint64_t i = 0; i < num_fields; i++) {
      const std::string key = read_string("bytes of a key", MAX_KEY_BYTES);
      if (!names.insert(key).second) bad_text("a metadata field once, got twice:", key);
      read_value(key, file);
    }
    names.clear();
    for (uint64_t i = 0; i < num_tensors; i++) {
      file.tensors.push_back(read_tensor());
      if (!names.insert(file.tensors.back().name).second)
        bad_text("a tensor once, got twice:", file.tensors.back().name);
    }
    place_data(file.tensors);
    return file;
  }

 private:
  template <typename... Values>
  [[noreturn]] void bad(const char *format, Values... values) const {
    char expected[400];
    std::snprintf(expected, sizeof expected, format, values...);
    fail(DUO_STATUS_FORMAT, "Expected %s in the GGUF file `%.400s` before byte %" PRIu64 "; download it again",
         expected, path_.c_str(), at_);
  }
  [[noreturn]] void bad_text(const char *what, const std::string &text) const {
    bad("%s `%.200s`", what, text.c_str());
  }

  uint64_t left() const { return size_ - at_; }

  uint64_t read(uint64_t bytes, const char *what) {
    if (bytes > left()) bad("%" PRIu64 " bytes of %s, got the file's end", bytes, what);
    uint64_t value = 0;
    for (uint64_t i = bytes; i > 0; i--) value = value << 8 | data_[at_ + i - 1];
    at_ += bytes;
    return value;
  }

  // A count of things of at least `least` bytes each: within its limit, and within what the file can still hold.
  uint64_t read_count(const char *what, uint64_t limit, uint64_t least) {
    const uint64_t count = read(8, what);
    if (count > limit) bad("at most %" PRIu64 " %s, got %" PRIu64, limit, what, count);
    if (count > left() / least) bad("%s that fit into the file, got %" PRIu64, what, count);
    return count;
  }

  void skip_string(uint64_t limit) { at_ += read_count("bytes of a string", limit, 1); }

  std::string read_string(const char *what, uint64_t limit) {
    const uint64_t length = read_count(what, limit, 1);
    std::string text(reinterpret_cast<const char *>(data_) + at_, static_cast<size_t>(length));
    at_ += length;
    return text;
  }

  void read_value(const std::string &key, GgufFile &file) {
    const auto type = static_cast<uint32_t>(read(4, "a field's type"));
    if (key == "general.architecture") {
      if (type != STRING) bad_text("a string in", key);
      file.architecture = read_string("bytes of general.architecture", MAX_NAME_BYTES);
    } else if (key == "general.alignment") {
      if (type != UINT32) bad_text("an unsigned number of 32 bits in", key);
      alignment_ = read(4, "general.alignment");
      if (alignment_ < 8 || alignment_ > MAX_ALIGNMENT || (alignment_ & (alignment_ - 1)) != 0) {
        bad("general.alignment to be a power of 2 from 8 to %" PRIu64 ", got %" PRIu64, MAX_ALIGNMENT, alignment_);
      }
    } else if (type == STRING) {
      skip_string(MAX_STRING_BYTES);
    } else if (type == ARRAY) {
      skip_array(key);
    } else {
      skip_scalars(key, type, 1);
    }
  }

  void skip_scalars(const std::string &key, uint32_t type, uint64_t count) {
    const uint64_t bytes = scalar_bytes(type);
    if (bytes == 0) bad("a value type of 0 to 12 in `%.200s`, got %" PRIu32, key.c_str(), type);
    if (count > left() / bytes) bad("%" PRIu64 " values of `%.200s`, got the file's end", count, key.c_str());
    if (type == BOOL) {
      for (uint64_t i = 0; i < count; i++) {
        if (data_[at_ + i] > 1) bad_text("true or false as 1 or 0 in", key);
      }
    }
    at_ += bytes * count;
  }

  void skip_array(const std::string &key) {
    const auto type = static_cast<uint32_t>(read(4, "an array's type"));
    if (type == ARRAY) bad_text("an array of plain values, got nested arrays in", key);
    const uint64_t count = read_count("elements of an array", MAX_ARRAY, 1);
    if (type != STRING) return skip_scalars(key, type, count);
    for (uint64_t i = 0; i < count; i++) skip_string(MAX_STRING_BYTES);
  }

  GgufTensor read_tensor() {
    GgufTensor tensor{read_string("bytes of a tensor's name", MAX_NAME_BYTES), {}, 0, Dtype::stored, 0, 0};
    const auto axes = static_cast<uint32_t>(read(4, "a tensor's number of axes"));
    if (axes < 1 || axes > MAX_AXES) bad("1 to 4 axes of tensor `%.200s`, got %" PRIu32, tensor.name.c_str(), axes);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < axes; i++) {
      const uint64_t axis = read(8, "a tensor's shape");
      if (axis < 1 || axis > MAX_COUNT || elements > MAX_COUNT / axis) {
        bad("1 to 2^40 elements of tensor `%.200s`, got an axis of %" PRIu64, tensor.name.c_str(), axis);
      }
      elements *= axis;
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(axis));
    }
    tensor.type = static_cast<uint32_t>(read(4, "a tensor's type"));
    for (const auto &known : TYPES) {
      if (known.type == tensor.type) tensor.dtype = known.dtype;
    }
    const uint64_t offset = read(8, "a tensor's offset");
    if (offset > size_ || offset % alignment_ != 0) {
      bad("the offset of tensor `%.200s` inside the file and a multiple of %" PRIu64 ", got %" PRIu64,
          tensor.name.c_str(), alignment_, offset);
    }
    tensor.begin = static_cast<int64_t>(offset);
    tensor.end = tensor.begin;
    if (tensor.dtype == Dtype::stored) return tensor;
    const int64_t block = block_elements(tensor.dtype);
    if (tensor.shape.back() % block != 0) {
      bad("rows of tensor `%.200s` to be whole %s blocks of %" PRId64 ", got %" PRId64, tensor.name.c_str(),
          dtype_name(tensor.dtype), block, tensor.shape.back());
    }
    tensor.end += static_cast<int64_t>(elements) / block * block_bytes(tensor.dtype);  // at most 2^42
    return tensor;
  }

  // Offsets count from the first aligned byte after the tensor list.
  void place_data(std::vector<GgufTensor> &tensors) const {
    const auto start = static_cast<int64_t>((at_ + alignment_ - 1) / alignment_ * alignment_);
    std::vector<const GgufTensor *> order;
    for (auto &tensor : tensors) {
      tensor.begin += start;
      tensor.end += start;
      if (tensor.end > static_cast<int64_t>(size_)) {
        fail(DUO_STATUS_FORMAT,
             "Expected data of tensor `%.200s` inside the GGUF file `%.400s` of %zu bytes, got bytes %" PRId64
             " to %" PRId64 "; download it again",
             tensor.name.c_str(), path_.c_str(), size_, tensor.begin, tensor.end);
      }
      if (tensor.begin < tensor.end) order.push_back(&tensor);
    }
    std::sort(order.begin(), order.end(), [](const auto *a, const auto *b) { return a->begin < b->begin; });
    for (size_t i = 1; i < order.size(); i++) {
      if (order[i]->begin < order[i - 1]->end) {
        fail(DUO_STATUS_FORMAT,
             "Expected tensors of the GGUF file `%.400s` not to overlap, but `%.200s` and `%.200s` do", path_.c_str(),
             order[i - 1]->name.c_str(), order[i]->name.c_str());
      }
    }
  }

  const uint8_t *data_;
  size_t size_;
  const std::string &path_;
  uint64_t at_ = 0, alignment_ = 32;
};

}  // namespace

bool is_gguf(const uint8_t *data, size_t size) { return size >= 4 && std::memcmp(data, "GGUF", 4) == 0; }

std::string ggml_type_name(uint32_t type) {
  for (const auto &known : TYPES) {
    if (known.type == type) return known.name;
  }
  return "type " + std::to_string(type);
}

GgufFile parse_gguf(const uint8_t *data, size_t size, const std::string &path) {
  if (!is_gguf(data, size)) fail(DUO_STATUS_FORMAT, "Expected `%.700s` to begin with `GGUF`", path.c_str());
  return Parser(data, size, path).parse();
}

}  // namespace duo

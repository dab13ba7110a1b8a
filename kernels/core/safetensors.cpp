// A JSON reader for exactly what a safetensors header may hold: an object of tensors and one string map `__metadata__`.
#include "core/safetensors.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <set>

#include "core/error.h"

namespace duo {
namespace {

constexpr uint64_t MAX_HEADER_BYTES = 100'000'000;  // the reference reader's bound
constexpr size_t MAX_AXES = 8;
constexpr int64_t MAX_COUNT = int64_t{1} << 40;  // of one axis, and of a tensor's elements
constexpr size_t MAX_TENSORS = 1 << 20;

// Bytes of one element times 8; 0 for a dtype whose size is not known here, which is carried but not checked against
// its shape.
int64_t dtype_bits(const std::string &dtype) {
  static const struct {
    const char *name;
    int64_t bits;
  } sizes[] = {{"F64", 64}, {"I64", 64},    {"U64", 64},    {"F32", 32},   {"I32", 32}, {"U32", 32},
               {"F16", 16}, {"BF16", 16},   {"I16", 16},    {"U16", 16},   {"I8", 8},   {"U8", 8},
               {"BOOL", 8}, {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}};
  for (const auto &size : sizes) {
    if (dtype == size.name) return size.bits;
  }
  return 0;
}

class HeaderParser {
 public:
  HeaderParser(const char *text, size_t size, int64_t data_offset, int64_t file_size, const std::string &path)
      : at_(text), begin_(text), end_(text + size), data_offset_(data_offset), file_size_(file_size), path_(path) {}

  std::vector<SafetensorsEntry> parse() {
    std::vector<SafetensorsEntry> entries;
    std::set<std::string> names;
    expect('{');
    if (!accept('}')) {
      do {
        std::string name = read_string();
        expect(':');
        if (!names.insert(name).second) bad("a name that occurs once (`%s` occurs twice)", name.c_str());
        if (name == "__metadata__") {
          skip_metadata();
        } else {
          if (entries.size() >= MAX_TENSORS) bad("at most %s tensors", "1048576");
          entries.push_back(read_entry(std::move(name)));
        }
      } while (accept(','));
      expect('}');
    }
    skip_space();
    if (at_ != end_) bad("nothing but spaces after the %s", "header object");
    check_overlap(entries);
    return entries;
  }

 private:
  [[noreturn]] void bad(const char *format, const char *detail) const {
    char expected[300];
    std::snprintf(expected, sizeof expected, format, detail);
    fail(DUO_STATUS_FORMAT, "Expected %s in the safetensors header of `%.500s` at byte %td", expected, path_.c_str(),
         at_ - begin_ + 8);
  }

  void skip_space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) at_++;
  }
  bool accept(char wanted) {
    skip_space();
    if (at_ == end_ || *at_ != wanted) return false;
    at_++;
    return true;
  }
  void expect(char wanted) {
    const char text[2] = {wanted, 0};
    if (!accept(wanted)) bad("`%s`", text);
  }

  unsigned read_hex4() {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
      const char c = at_ == end_ ? ' ' : *at_;
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) bad("four hexadecimal digits after %s", "\\u");
      value = value * 16 + static_cast<unsigned>(digit);
      at_++;
    }
    return value;
  }

  // Names are compared as UTF-8; an escaped code point becomes UTF-8 (a lone surrogate its three bytes, which match no
  // real name).
  static void append_utf8(std::string &out, unsigned code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xc0 | (code >> 6));
      out += static_cast<char>(0x80 | (code & 0x3f));
    } else {
      out += static_cast<char>(0xe0 | (code >> 12));
      out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
      out += static_cast<char>(0x80 | (code & 0x3f));
    }
  }

  std::string read_string() {
    expect('"');
    std::string out;
    for (;;) {
      if (at_ == end_ || static_cast<unsigned char>(*at_) < 0x20) bad("a closing `%s`", "\"");
      const char c = *at_++;
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      const char escape = at_ == end_ ? ' ' : *at_++;
      switch (escape) {
        case '"':
        case '\\':
        case '/': out += escape; break;
        case 'b': out += '\b'; break;
        case 'f': out += '\f'; break;
        case 'n': out += '\n'; break;
        case 'r': out += '\r'; break;
        case 't': out += '\t'; break;
        case 'u': append_utf8(out, read_hex4()); break;
        default: bad("a JSON escape after `%s`", "\\");
      }
    }
  }

  int64_t read_count() {
    skip_space();
    int64_t value = 0;
    const char *first = at_;
    while (at_ != end_ && *at_ >= '0' && *at_ <= '9') {
      if (at_ != first && *first == '0') bad("a number without leading %s", "zeros");
      value = value * 10 + (*at_ - '0');
      if (value > (int64_t{1} << 53)) bad("a number below %s", "2^53");
      at_++;
    }
    if (at_ == first) bad("a number of at least %s", "0");
    return value;
  }

  void skip_metadata() {
    expect('{');
    if (accept('}')) return;
    do {
      read_string();
      expect(':');
      read_string();
    } while (accept(','));
    expect('}');
  }

  SafetensorsEntry read_entry(std::string name) {
    SafetensorsEntry entry{std::move(name), "", {}, -1, -1};
    bool has_shape = false;
    expect('{');
    do {
      const std::string key = read_string();
      expect(':');
      if (key == "dtype" && entry.dtype.empty()) {
        entry.dtype = read_string();
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        read_shape(entry.shape);
      } else if (key == "data_offsets" && entry.begin < 0) {
        expect('[');
        entry.begin = read_count();
        expect(',');
        entry.end = read_count();
        expect(']');
      } else {
        bad("`dtype`, `shape` and `data_offsets` once each, not `%s`", key.substr(0, 60).c_str());
      }
    } while (accept(','));
    expect('}');
    if (entry.dtype.empty() || !has_shape || entry.begin < 0)
      bad("`dtype`, `shape` and `data_offsets` for `%s`", entry.name.substr(0, 100).c_str());
    check_entry(entry);
    return entry;
  }

  void read_shape(std::vector<int64_t> &shape) {
    expect('[');
    if (accept(']')) return;
    do {
      if (shape.size() >= MAX_AXES) bad("at most %s axes", "8");
      shape.push_back(read_count());
      if (shape.back() > MAX_COUNT) bad("an axis of at most %s", "2^40");
    } while (accept(','));
    expect(']');
  }

  void check_entry(SafetensorsEntry &entry) const {
    const std::string name = entry.name.substr(0, 200);
    if (entry.begin > entry.end || entry.end > file_size_ - data_offset_) {
      fail(DUO_STATUS_FORMAT,
           "Expected data of tensor `%s` inside `%.400s` (%" PRId64 " bytes of data), got bytes %" PRId64
           " to %" PRId64,
           name.c_str(), path_.c_str(), file_size_ - data_offset_, entry.begin, entry.end);
    }
    int64_t count = 1;
    for (const int64_t axis : entry.shape) {
      if (axis != 0 && count > MAX_COUNT / axis) bad("at most 2^40 elements in `%s`", name.c_str());
      count *= axis;
    }
    const int64_t bits = dtype_bits(entry.dtype);
    if (bits != 0 && count * bits != (entry.end - entry.begin) * 8) {
      fail(DUO_STATUS_FORMAT,
           "Expected tensor `%s` of `%.400s` to have %" PRId64 " bytes by its shape and dtype %.20s, got %" PRId64,
           name.c_str(), path_.c_str(), count * bits / 8, entry.dtype.c_str(), entry.end - entry.begin);
    }
    entry.begin += data_offset_;
    entry.end += data_offset_;
  }

  void check_overlap(const std::vector<SafetensorsEntry> &entries) const {
    std::vector<const SafetensorsEntry *> order;
    for (const auto &entry : entries) {
      if (entry.begin != entry.end) order.push_back(&entry);
    }
    std::sort(order.begin(), order.end(), [](const auto *a, const auto *b) { return a->begin < b->begin; });
    for (size_t i = 1; i < order.size(); i++) {
      if (order[i]->begin < order[i - 1]->end) {
        fail(DUO_STATUS_FORMAT, "Expected tensors of `%.400s` not to overlap, but `%.200s` and `%.200s` do",
             path_.c_str(), order[i - 1]->name.c_str(), order[i]->name.c_str());
      }
    }
  }

  const char *at_, *begin_, *end_;
  int64_t data_offset_, file_size_;
  const std::string &path_;
};

}  // namespace

std::vector<SafetensorsEntry> parse_safetensors(const uint8_t *data, size_t size, const std::string &path) {
  if (size < 8)
    fail(DUO_STATUS_FORMAT, "Expected `%.700s` to be a safetensors file of at least 8 bytes, got %zu", path.c_str(),
         size);
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; i--) header_bytes = header_bytes << 8 | data[i];
  if (header_bytes > MAX_HEADER_BYTES || header_bytes > size - 8) {
    fail(DUO_STATUS_FORMAT, "Expected the header of `%.700s` to have at most %" PRIu64 " bytes, got %" PRIu64,
         path.c_str(), std::min<uint64_t>(MAX_HEADER_BYTES, size - 8), header_bytes);
  }
  return HeaderParser(reinterpret_cast<const char *>(data) + 8, static_cast<size_t>(header_bytes),
                      static_cast<int64_t>(8 + header_bytes), static_cast<int64_t>(size), path)
      .parse();
}

}  // namespace duo

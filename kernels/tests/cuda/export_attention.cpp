// Writes one attention problem and this library's answers to it as a safetensors file, for
// bench/peers/attention_error.py, which holds them and PyTorch's to float64. Usage: export_attention out.safetensors
// [tokens heads kv_heads head_dim sink recent gate]
#include <cstdlib>
#include <fstream>

#include "cuda/branch_gradient.h"
#include "cuda_test.h"

using namespace duo;
using namespace duo::test;
using cuda::check;
using cuda::DeviceBuffer;
using cuda::Stream;

namespace {

// Tensors in the order they were added; the header gives each a name, a dtype, a shape and its place.
class Writer {
 public:
  template <typename T>
  void add(const std::string &name, const std::string &dtype, const std::vector<int64_t> &shape,
           const std::vector<T> &values) {
    std::string sizes;
    for (const int64_t size : shape) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    const size_t begin = data_.size();
    data_.append(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T));
    header_ += (header_.empty() ? "{" : ",") +
               ("\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + sizes + "],\"data_offsets\":[" +
                std::to_string(begin) + "," + std::to_string(data_.size()) + "]}");
  }
  bool write(const std::string &path) const {
    const std::string header = header_ + "}";
    const uint64_t length = header.size();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char *>(&length), sizeof length);
    file << header << data_;
    return static_cast<bool>(file.flush());
  }

 private:
  std::string header_, data_;
};

}  // namespace

int main(int count, char **arguments) {
  if (count != 2 && count != 9) {
    std::printf("Expected a file and no or seven numbers: tokens heads kv_heads head_dim sink recent gate\n");
    return 2;
  }
  const auto number = [&](int at, int64_t otherwise) { return count == 9 ? std::atoll(arguments[at]) : otherwise; };
  const int64_t tokens = number(2, 1024), heads = number(3, 8), kv_heads = number(4, 2), dim = number(5, 128),
                sink = number(6, 128), recent = number(7, 256);
  const float gate = count == 9 ? static_cast<float>(std::atof(arguments[8])) : 0.5f;
  const int64_t width = heads * dim, kv_width = kv_heads * dim;
  const Stream stream;
  Random values(1);
  const auto query = to_bf16(values.values(tokens * width, 3.0)), key = to_bf16(values.values(tokens * kv_width, 3.0)),
             value = to_bf16(values.values(tokens * kv_width)), gradient = to_bf16(values.values(tokens * width));
  std::vector<int32_t> positions, list;
  for (int32_t i = 0; i < tokens; i++) positions.push_back(i);
  for (int32_t i = 0; i < kv_heads; i++) list.push_back(i);
  const std::vector<float> gates(static_cast<size_t>(kv_heads), gate);
  const auto q = upload(query, stream), k = upload(key, stream), v = upload(value, stream),
             d = upload(gradient, stream);
  const auto at = upload(positions, stream), head_list = upload(list, stream);
  const auto gate_buffer = upload(gates, stream);
  const auto windows = upload(std::vector<int64_t>(static_cast<size_t>(kv_heads), recent), stream);
  DeviceBuffer<uint16_t> mixed(tokens * width), difference(tokens * width);
  DeviceBuffer<double> partial(kv_heads * cuda::GATE_SLICES);
  DeviceBuffer<float> full(tokens * width), streaming(tokens * width), full_lse(tokens * heads),
      stream_lse(tokens * heads), deltas(3 * tokens * heads), d_gates(kv_heads), d_query(tokens * width),
      d_key(tokens * kv_width), d_value(tokens * kv_width);
  cuda::AttentionForward a{};
  a.shape = {static_cast<int32_t>(heads), static_cast<int32_t>(kv_heads), static_cast<int32_t>(dim), sink,
             windows.data()};
  a.query = q.data(), a.positions = at.data(), a.num_rows = a.chunk_count = tokens;
  a.dtype = Dtype::bf16;
  a.chunk_key = reinterpret_cast<const uint8_t *>(k.data()),
  a.chunk_value = reinterpret_cast<const uint8_t *>(v.data());
  a.kv_list = head_list.data(), a.num_listed = static_cast<int32_t>(kv_heads), a.gates = gate_buffer.data(),
  a.mixed = mixed.data();
  a.full = full.data(), a.stream = streaming.data(), a.full_lse = full_lse.data(), a.stream_lse = stream_lse.data();
  check(cuda::launch_attention_forward(a, cuda::Branches::both, stream.get()), "attention");
  cuda::AttentionBackward b{};
  b.shape = a.shape, b.query = q.data(), b.positions = at.data(), b.num_rows = b.num_keys = tokens, b.key = k.data(),
  b.value = v.data(), b.d_mixed = d.data();
  b.full_lse = full_lse.data(), b.stream_lse = stream_lse.data(), b.gates = gate_buffer.data();
  b.full_delta = deltas.data(), b.stream_delta = deltas.data() + tokens * heads,
  b.gate_delta = deltas.data() + 2 * tokens * heads;
  b.d_gates = d_gates.data(), b.d_query = d_query.data(), b.d_key = d_key.data(), b.d_value = d_value.data();
  check(cuda::launch_branch_difference(full.data(), streaming.data(), tokens * width, difference.data(), stream.get()),
        "subtracting branches");
  check(cuda::launch_branch_deltas(b, mixed.data(), difference.data(), partial.data(), stream.get()),
        "the gate gradient");
  check(cuda::launch_attention_backward(b, stream.get()), "attention backward");

  Writer writer;
  const std::vector<int64_t> rows{tokens, heads, dim}, keys{tokens, kv_heads, dim};
  writer.add("query", "BF16", rows, query), writer.add("key", "BF16", keys, key),
      writer.add("value", "BF16", keys, value), writer.add("gradient", "BF16", rows, gradient);
  writer.add("window", "I64", {2}, std::vector<int64_t>{sink, recent}), writer.add("gates", "F32", {kv_heads}, gates);
  writer.add("mixed", "BF16", rows, download(mixed, stream)),
      writer.add("d_gates", "F32", {kv_heads}, download(d_gates, stream));
  writer.add("d_query", "F32", rows, download(d_query, stream)),
      writer.add("d_key", "F32", keys, download(d_key, stream)),
      writer.add("d_value", "F32", keys, download(d_value, stream));
  if (!writer.write(arguments[1])) {
    std::printf("Expected to write `%s`, failed\n", arguments[1]);
    return 1;
  }
  return 0;
}

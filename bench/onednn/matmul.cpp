// Times oneDNN's y[M, N] = x[M, K]·wᵀ (w [N, K]) on one thread, fp32 or bf16 with fp32 sums, and prints the seconds of each run, one per line,
// then the checksum. Needs Debian's libdnnl-dev; for bench/matmul.ts only.
//   matmul <f32|bf16> <M> <N> <K> <repeats>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  using dnnl::memory;
  const bool is_bf16 = std::string(argv[1]) == "bf16";
  const memory::dim M = std::atol(argv[2]), N = std::atol(argv[3]), K = std::atol(argv[4]);
  const int repeats = std::atoi(argv[5]);
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto type = is_bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  const memory::desc x_desc({M, K}, type, memory::format_tag::ab);
  const memory::desc w_desc({K, N}, type, memory::format_tag::ba);  // [N, K] in memory
  const memory::desc y_desc({M, N}, memory::data_type::f32, memory::format_tag::ab);
  memory x(x_desc, engine), w(w_desc, engine), y(y_desc, engine);
  const auto fill = [&](memory &tensor, size_t count) {
    for (size_t i = 0; i < count; i++) {
      const float value = static_cast<float>((i * 7919) % 1000) / 1000.0f - 0.5f;
      if (is_bf16) {
        uint32_t bits;
        __builtin_memcpy(&bits, &value, 4);
        static_cast<uint16_t *>(tensor.get_data_handle())[i] = static_cast<uint16_t>(bits >> 16);
      } else {
        static_cast<float *>(tensor.get_data_handle())[i] = value;
      }
    }
  };
  fill(x, static_cast<size_t>(M * K));
  fill(w, static_cast<size_t>(N * K));
  const dnnl::matmul product(dnnl::matmul::primitive_desc(dnnl::matmul::desc(x_desc, w_desc, y_desc), engine));
  for (int i = 0; i < repeats; i++) {
    const auto start = std::chrono::steady_clock::now();
    product.execute(stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}});
    stream.wait();
    std::printf("%.9f\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  double sum = 0;
  for (memory::dim i = 0; i < M * N; i++) sum += static_cast<float *>(y.get_data_handle())[i];
  std::printf("checksum %.6g\n", sum);
}

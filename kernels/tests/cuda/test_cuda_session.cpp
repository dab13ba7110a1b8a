// Sessions of the CUDA backend against the CPU's fp32 logits, and the laws of prefill, decode, fork, batches and caches
// (docs/semantics.md).
#include <list>

#include "core/backend.h"
#include "core/gguf_blocks.h"
#include "core/weight_map.h"
#include "cpu/sampling.h"
#include "cuda/cuda_model.h"
#include "cuda/kv_formats.h"
#include "cuda/reductions.h"
#include "cuda/step_product.h"
#include "cuda_test.h"

using namespace duo;
using namespace duo::test;

namespace {

struct Fixture {
  ModelConfig config;
  std::shared_ptr<DuoModel> cpu, gpu;
  std::vector<int32_t> tokens;
  std::vector<uint8_t> mask;
};

// Weights that every format holds exactly: projections (2q − 15) / 64 with q of 0 … 15, both ends in each 32 elements;
// embeddings and LM head whole numbers of −127 … 127 over 128, an end in each row. As bf16, or as blocks: Q4_1, and
// Q8_0 for v and down and for embeddings.
class GridWeights : public WeightMap {
 public:
  GridWeights(const ModelConfig &config, bool has_blocks) {
    Random random(5);
    for (const ExpectedTensor &tensor : list_expected_tensors(config)) {
      const bool is_projection = tensor.name.find("_proj.weight") != std::string::npos,
                 is_wide = !is_projection || tensor.name.find("v_proj") != std::string::npos ||
                           tensor.name.find("down_proj") != std::string::npos;
      bytes_.emplace_back();
      auto &bytes = bytes_.back();
      const auto put = [&](const auto &value) {
        const auto *raw = reinterpret_cast<const uint8_t *>(&value);
        bytes.insert(bytes.end(), raw, raw + sizeof value);
      };
      Dtype dtype = Dtype::bf16;
      if (tensor.rows == 1) {
        for (int64_t i = 0; i < tensor.columns; i++)
          put(float_to_bf16(tensor.name.find("norm") != std::string::npos ? 1.0f : random.value()));
      } else {
        for (int64_t begin = 0; begin < tensor.rows * tensor.columns; begin += 32) {
          int codes[32];
          for (int i = 0; i < 32; i++)
            codes[i] = static_cast<int>(is_projection ? i < 2 ? 15 * i : random.integer(0, 15)
                                        : i < 1 ? 127
                                                      : random.integer(-127, 127));
          if (!has_blocks) {
            for (const int code : codes)
              put(float_to_bf16(is_projection ? static_cast<float>(2 * code - 15) / 64
                                              : static_cast<float>(code) / 128));
          } else if (is_wide) {
            dtype = Dtype::q8_0;
            BlockQ8_0 block{round_to_f16(is_projection ? 1.0f / 64 : 1.0f / 128), {}};
            for (int i = 0; i < 32; i++)
              block.qs[i] = static_cast<int8_t>(is_projection ? 2 * codes[i] - 15 : codes[i]);
            put(block);
          } else {
            dtype = Dtype::q4_1;
            BlockQ4_1 block{round_to_f16(1.0f / 32), round_to_f16(-15.0f / 64), {}};
            for (int i = 0; i < 16; i++) block.qs[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
            put(block);
          }
        }
      }
      tensors_.emplace(tensor.name, Tensor{bytes.data(), dtype, tensor.rows, tensor.columns});
    }
    if (config.tied_embeddings) tensors_.emplace("lm_head.weight", tensors_.at("model.embed_tokens.weight"));
  }

 private:
  std::list<std::vector<uint8_t>> bytes_;
};

enum class Grid { none, bf16, blocks };

Fixture make_fixture(int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t tokens, bool qk_norm,
                     Dtype weight_dtype, Grid grid = Grid::none) {
  Fixture made;
  ModelConfig &config = made.config;
  config = {};
  config.layers = 2, config.heads = heads, config.kv_heads = kv_heads, config.head_dim = head_dim, config.hidden = 64,
  config.intermediate = 96, config.vocab = 61;
  config.max_positions = 4096, config.rms_norm_eps = 1e-5f, config.rope_theta = 10000.0,
  config.rope_type = DUO_ROPE_NONE;
  config.qk_norm = qk_norm, config.qkv_bias = qk_norm, config.tied_embeddings = qk_norm;
  Task task;
  const std::shared_ptr<const WeightMap> weights = grid == Grid::none
                                                       ? make_random_weights(config, 7, Dtype::bf16, task)
                                                       : std::make_shared<GridWeights>(config, grid == Grid::blocks);
  made.cpu = open_cpu_model(config, weights, {0, "", 2, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
  made.gpu = open_cuda_model(config, weights, {0, "", 0, weight_dtype, DUO_COMPUTE_ACCURATE}, task);
  Random values(static_cast<uint64_t>(tokens));
  for (int64_t i = 0; i < tokens; i++) made.tokens.push_back(static_cast<int32_t>(values.below(config.vocab)));
  for (int64_t i = 0; i < config.num_gates(); i++) made.mask.push_back(static_cast<uint8_t>(i % 2));
  return made;
}

// Windows of R and 3·R + 2 by turns for streaming heads, 0 for those of the mask.
std::vector<int64_t> list_windows(const std::vector<uint8_t> &mask, int64_t recent) {
  std::vector<int64_t> windows;
  for (size_t i = 0; i < mask.size(); i++) windows.push_back(mask[i] == 1 ? 0 : i % 4 < 2 ? recent : 3 * recent + 2);
  return windows;
}

// How a session keeps keys and values.
struct Storage {
  Dtype dtype;
  bool is_rotated;
  Storage(Dtype of, bool rotated = false) : dtype(of), is_rotated(rotated) {}
  std::string name() const { return "kv " + std::to_string(static_cast<int>(dtype)) + (is_rotated ? " rotated" : ""); }
};

std::unique_ptr<DuoSession> open(const std::shared_ptr<DuoModel> &model, const std::vector<uint8_t> &mask,
                                 Window window, int64_t max_tokens, Storage kv, int64_t chunk, bool chunked = false) {
  Task task;
  return model->open_session(
      model, {list_windows(mask, window.recent), window.sink, max_tokens, kv.dtype, chunked, chunk, kv.is_rotated},
      task);
}

std::vector<float> feed(DuoSession &session, const std::vector<int32_t> &tokens, int64_t begin, int64_t end,
                        int64_t vocab) {
  Task task;
  session.prefill(tokens.data() + begin, end - begin, task);
  std::vector<float> out(static_cast<size_t>(vocab));
  session.logits(out.data());
  return out;
}
std::vector<float> read(DuoSession &session, int64_t vocab) {
  std::vector<float> out(static_cast<size_t>(vocab));
  session.logits(out.data());
  return out;
}

// bf16 between operations as in test_cuda_model; int8 and fp8 caches round each value to 2^-8 and 2^-4 of a vector's
// largest, int4 to 2^-4.
double tolerance(Storage kv) {
  return kv.dtype == Dtype::int4 || kv.dtype == Dtype::k8v4 ? 0.4
         : kv.dtype == Dtype::fp8                           ? 0.2
         : kv.dtype == Dtype::int8                          ? 5e-2
                                                            : 3e-2;
}

bool kv_is_quantized(Dtype dtype) { return dtype != Dtype::f32 && dtype != Dtype::bf16; }

// `slack`: int8 weights are themselves rounded, to 2^-7 of a row's largest.
void test_prefill_and_decode(const std::string &name, const Fixture &f, Window window,
                             const std::vector<Storage> &storages, double slack = 1) {
  const int64_t T = static_cast<int64_t>(f.tokens.size()), V = f.config.vocab;
  Task task;
  for (const bool chunked : {false, true}) {
    if (chunked && storages.size() == 1) continue;
    auto reference = open(f.cpu, f.mask, window, T + 3, Dtype::f32, 16, chunked);
    const auto expected = feed(*reference, f.tokens, 0, T, V);
    for (const Storage &kv : storages) {
      const std::string label = name + ", " + kv.name() + (chunked ? " chunked" : "");
      std::vector<float> first;
      for (const int64_t chunk : chunked ? std::vector<int64_t>{16} : std::vector<int64_t>{T, 7}) {
        auto session = open(f.gpu, f.mask, window, T + 3, kv, chunk, chunked);
        const auto got = feed(*session, f.tokens, 0, T, V);
        expect_within(relative_error(got, expected), slack * tolerance(kv), label + " chunk " + std::to_string(chunk));
#ifdef DUO_EMULATION
        // Every kernel's sums have an order that does not depend on the chunk.
        if (!first.empty())
          expect(got == first, label + " chunk " + std::to_string(chunk) + " equals one chunk, bit for bit");
#else
        // cuBLASLt may choose another kernel for another number of rows, and a last bit may tip a stored value to its
        // neighbour.
        if (!first.empty())
          expect_within(relative_error(got, first), std::max(1.5e-2, 0.5 * tolerance(kv)),
                        label + " agrees with one chunk");
#endif
        if (first.empty()) first = got;
      }
      // The CPU's with the same storage: both round the same numbers, but for those that bf16 tips to a neighbour.
      auto same = open(f.cpu, f.mask, window, T + 3, kv, 16, chunked);
      const double limit = slack * (kv_is_quantized(kv.dtype) ? tolerance(kv) / 3 : tolerance(kv));
      expect_within(relative_error(first, feed(*same, f.tokens, 0, T, V)), limit, label + " against the CPU's");
      if (kv.is_rotated) {
        auto plain = open(f.gpu, f.mask, window, T + 3, kv.dtype, T, chunked);
        expect(feed(*plain, f.tokens, 0, T, V) != first, label + " is not what it is without rotation");
      }
    }
  }
  // Decode from some point on equals the CPU's at every position.
  std::vector<Storage> decoded{Dtype::bf16};
  for (const Storage &kv : storages) {
    if (kv.is_rotated) decoded.push_back(kv);
  }
  for (const Storage &kv : decoded) {
    const int64_t start = std::max<int64_t>(1, T - 25);
    auto reference = open(f.cpu, f.mask, window, T, kv.dtype == Dtype::bf16 ? Dtype::f32 : kv, 16),
         session = open(f.gpu, f.mask, window, T, kv, 16);
    feed(*reference, f.tokens, 0, start, V);
    feed(*session, f.tokens, 0, start, V);
    double worst = 0;
    for (int64_t t = start; t < T; t++) {
      reference->decode(f.tokens[t], task);
      session->decode(f.tokens[t], task);
      worst = worse(worst, relative_error(read(*session, V), read(*reference, V)));
    }
    expect_within(worst, slack * tolerance(kv), name + ", " + kv.name() + ": decode at every position");
    expect(session->length() == T, name + " counts its tokens");
  }
}

void test_laws(const Fixture &f, Window window) {
  const int64_t T = static_cast<int64_t>(f.tokens.size()), V = f.config.vocab, G = f.config.num_gates();
  const std::vector<uint8_t> full(static_cast<size_t>(G), 1), streaming(static_cast<size_t>(G), 0);
  Task task;
  const auto run = [&](const std::vector<uint8_t> &mask, Window given, Storage kv) {
    auto session = open(f.gpu, mask, given, T + 1, kv, 16);
    feed(*session, f.tokens, 0, T - 2, V);
    session->decode(f.tokens[T - 2], task);
    session->decode(f.tokens[T - 1], task);
    return read(*session, V);
  };
  for (const Storage &kv :
       {Storage(Dtype::bf16), Storage(Dtype::int8), Storage(Dtype::int4, true), Storage(Dtype::k8v4, true)}) {
    const auto everything = run(full, {0, 1}, kv);
    expect(run(streaming, {2, T + 1}, kv) == everything, "S + R >= T equals full, bit for bit");
    expect(run(full, window, kv) == everything, "a mask of ones equals full");
  }
  run_in_every_order<std::vector<float>>("a session", [&] { return run(f.mask, window, {Dtype::int8, true}); });

  auto parent = open(f.gpu, f.mask, window, T + 8, Dtype::bf16, 16);
  feed(*parent, f.tokens, 0, T - 1, V);
  auto child = parent->fork(task);
  expect(child->length() == T - 1 && read(*child, V) == read(*parent, V), "a fork has its parent's logits");
  child->decode(f.tokens[0], task);
  child = parent->fork(task);
  parent->decode(f.tokens[T - 1], task);
  child->decode(f.tokens[T - 1], task);
  expect(read(*child, V) == read(*parent, V), "a fork decodes as its parent");

  // Nine sessions of unlike masks, lengths and formats: several steps by format.
  std::vector<std::unique_ptr<DuoSession>> together, alone;
  std::vector<DuoSession *> batch;
  std::vector<int32_t> next;
  for (int64_t i = 0; i < 9; i++) {
    const Storage kv = i == 4 || i == 5 ? Storage(Dtype::fp8, i == 5) : Storage(Dtype::bf16);
    together.push_back(open(f.gpu, i % 2 ? full : f.mask, window, T + i, kv, 16));
    feed(*together.back(), f.tokens, 0, 1 + i * (T - 2) / 9, V);
    alone.push_back(together.back()->fork(task));
    batch.push_back(together.back().get());
    next.push_back(f.tokens[static_cast<size_t>(i)]);
  }
  for (int round = 0; round < 2; round++) {
    batch[0]->decode_batch(batch.data(), next.data(), 9, task);
    double worst = 0;
    for (size_t i = 0; i < 9; i++) {
      alone[i]->decode(next[i], task);
      worst = worse(worst, relative_error(read(*batch[i], V), read(*alone[i], V)));
    }
    expect_within(worst, 1e-5, "a batch equals its members one by one");
  }

  for (const Dtype kv : {Dtype::f32, Dtype::bf16, Dtype::int8, Dtype::fp8, Dtype::int4, Dtype::k8v4}) {
    auto session = open(f.gpu, f.mask, window, 100, kv, 16);
    const int64_t bits = kv == Dtype::f32    ? 32
                         : kv == Dtype::bf16 ? 16
                         : kv == Dtype::int4 ? 4
                         : kv == Dtype::k8v4 ? 6
                                             : 8,
                  scales = bits <= 8 ? 8 : 0;
    const int64_t slot = 2 * f.config.head_dim * bits / 8 + scales;
    int64_t slots = 0;
    for (const int64_t recent : list_windows(f.mask, window.recent)) slots += recent == 0 ? 100 : window.sink + recent;
    const SessionMemory memory = session->memory();
    expect(memory.kv_bytes == slot * slots && memory.full_kv_bytes == slot * G * 100, "memory by the formula");
    session->fill(90, 1, task);
    expect(session->length() == 90, "fill sets the length");
    session->decode(1, task);
    const auto logits = read(*session, V);
    expect(std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }),
           "a filled cache decodes");
  }
}

// Up to 64 sessions per step, in sets that change: a step was launched, captured and replayed for other sets than the one
// that it now has. `limit` above `few` sessions, where products are another kernel's: whose sums have another order,
// and round to bf16 another way.
void test_batches(const std::string &name, const Fixture &f, Storage kv, size_t most, double limit) {
  const int64_t T = static_cast<int64_t>(f.tokens.size()), V = f.config.vocab;
  Task task;
  std::vector<std::unique_ptr<DuoSession>> together, alone;
  for (size_t i = 0; i < most; i++) {
    together.push_back(open(f.gpu, f.mask, {4, 9}, T + 8, kv, 16));
    feed(*together.back(), f.tokens, 0, 1 + static_cast<int64_t>(i) * 7 % (T - 8), V);
    alone.push_back(together.back()->fork(task));
  }
  const size_t few = 8;
  for (const size_t count : {size_t{3}, few + 1, most}) {
    double worst = 0;
    for (size_t round = 0; round < 3; round++) {
      std::vector<DuoSession *> batch;
      std::vector<int32_t> next;
      std::vector<size_t> chosen;
      for (size_t i = 0; i < count; i++) {
        chosen.push_back((i * 5 + round * 3) %
                         most);  // `most` is not a multiple of 5: each once, in an order of its own
        batch.push_back(together[chosen.back()].get());
        next.push_back(f.tokens[(i + round) % f.tokens.size()]);
      }
      batch[0]->decode_batch(batch.data(), next.data(), static_cast<int64_t>(count), task);
      for (size_t i = 0; i < count; i++) {
        alone[chosen[i]]->decode(next[i], task);
        worst = worse(worst, relative_error(read(*batch[i], V), read(*alone[chosen[i]], V)));
        expect(batch[i]->length() == alone[chosen[i]]->length(), name + " counts its tokens");
      }
    }
    expect_within(worst, count > few ? limit : 1e-5,
                  name + ", " + std::to_string(count) + " of " + std::to_string(most) +
                      ": a batch equals its members one by one");
  }
}

// Sessions of one model that differ in rotation alone, by turns: each has a step of its own.
void test_turns(const Fixture &f) {
  const int64_t T = static_cast<int64_t>(f.tokens.size()), V = f.config.vocab, start = T - 4;
  const std::vector<Storage> storages{{Dtype::int8, true}, Dtype::int8};
  Task task;
  std::vector<std::unique_ptr<DuoSession>> references, sessions;
  for (const Storage &kv : storages) {
    references.push_back(open(f.cpu, f.mask, {4, 9}, T, kv, 16));
    sessions.push_back(open(f.gpu, f.mask, {4, 9}, T, kv, 16));
    feed(*references.back(), f.tokens, 0, start, V), feed(*sessions.back(), f.tokens, 0, start, V);
  }
  double worst = 0;
  for (int64_t t = start; t < T; t++) {
    for (size_t i = 0; i < storages.size(); i++) {
      references[i]->decode(f.tokens[static_cast<size_t>(t)], task);
      sessions[i]->decode(f.tokens[static_cast<size_t>(t)], task);
      worst = worse(worst, relative_error(read(*sessions[i], V), read(*references[i], V)));
    }
  }
  expect_within(worst, tolerance(Dtype::int8), "a rotated session and a plain one by turns: decode at every position");
}

// Products of a step of many rows by the skinny product, as there is no cuBLASLt here, and by a matrix product, as there
// is: activations, and logits with a vector that is not finite.
void test_step_products(const Fixture &f) {
  const auto &model = dynamic_cast<const cuda::CudaModel &>(*f.gpu);
  const int64_t batch = 11, columns = f.config.hidden, bad = 3;
  const cuda::Stream stream;
  Random random(8);
  auto values = random.values(batch * columns);
  const auto run = [&](const cuda::DeviceMatrix &matrix, cuda::VectorStore store, bool by_matrix, auto zero,
                       std::vector<int32_t> &first_bad) {
    const auto x = upload(to_bf16(values), stream);
    const int64_t count = batch * matrix.rows;
    cuda::DeviceBuffer<uint16_t> gate_up(count);
    cuda::DeviceBuffer<float> partial(cuda::step_partial_floats(model, batch));
    cuda::DeviceBuffer<decltype(zero)> out(store == cuda::VectorStore::swiglu ? count / 2 : count);
    const auto found = upload(std::vector<int32_t>(batch, cuda::NONE_BAD), stream);
    const cuda::StepProduct product{matrix,
                                    store,
                                    x.data(),
                                    nullptr,
                                    nullptr,
                                    out.data(),
                                    store == cuda::VectorStore::f32 ? found.data() : nullptr};
    (by_matrix ? cuda::multiply_step_matrix : cuda::multiply_step)(model, product, batch,
                                                                   {nullptr, gate_up.data(), partial.data()}, stream);
    first_bad = download(found, stream);
    return download(out, stream);
  };
  Task task;
  const cuda::LayerTurn turn(model.layers(), task);
  cuda::LayerReader layers(model.layers(), stream);
  const cuda::DeviceMatrix &gate_up_matrix = layers.use(0).gate_up;
  std::vector<int32_t> own_bad, matrix_bad;
  const auto own = run(gate_up_matrix, cuda::VectorStore::swiglu, false, uint16_t{0}, own_bad),
             matrix = run(gate_up_matrix, cuda::VectorStore::swiglu, true, uint16_t{0}, matrix_bad);
  expect_within(relative_error(from_bf16(own), from_bf16(matrix)), 0x1p-6, "both products of a step: activations");
  {
    const auto x = upload(to_bf16(values), stream);
    cuda::DeviceBuffer<uint16_t> out(batch * gate_up_matrix.rows);
    const cuda::StepProduct product{gate_up_matrix, cuda::VectorStore::bf16, x.data(), nullptr, nullptr, out.data()};
    cuda::check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "beginning a capture");
    cuda::multiply_step_matrix(model, product, batch, {}, stream);
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream.get(), &graph);
    expect(ended == cudaSuccess, "a step's matrix product can be captured");
    if (ended == cudaSuccess) cudaGraphDestroy(graph);
  }
  values[static_cast<size_t>(bad * columns + 1)] = NAN;
  run(model.lm_head(), cuda::VectorStore::f32, false, 0.0f, own_bad);
  run(model.lm_head(), cuda::VectorStore::f32, true, 0.0f, matrix_bad);
  for (size_t i = 0; i < static_cast<size_t>(batch); i++) {
    const auto is_found = [&](int32_t at) { return at >= 0 && at != cuda::NONE_BAD; };
    expect(is_found(own_bad[i]) == (i == bad) && is_found(matrix_bad[i]) == (i == bad) &&
               (i != bad || own_bad[i] == matrix_bad[i]),
           "both products of a step: the vector that is not finite");
  }
}

bool is_out_of_memory(const std::function<void()> &call) {
  try {
    call();
  } catch (const Error &error) {
    return error.status() == DUO_STATUS_MEMORY &&
           std::string(error.what()).find("keys and values of") != std::string::npos;
  }
  return false;
}

// Texts of several pages: fed and decoded across their borders, forked and gone apart, and refused where memory ends.
void test_pages(const Fixture &f, Storage kv) {
  const int64_t T = static_cast<int64_t>(f.tokens.size()), V = f.config.vocab, cut = 300;
  auto &model = dynamic_cast<cuda::CudaModel &>(*f.gpu);
  Task task;
  const std::string name = "pages, " + kv.name();
  const auto heads = std::count(f.mask.begin(), f.mask.end(), 1);
  const int64_t column = heads * cuda::kv_page_bytes(kv.dtype, static_cast<int>(f.config.head_dim));
  {
    auto reference = open(f.cpu, f.mask, {4, 9}, T + 8, kv, 64);
    auto parent = open(f.gpu, f.mask, {4, 9}, 100 * T, kv, 64);
    const int64_t rings = parent->held().kv_bytes;
    expect(model.pages().bytes() == 0 && parent->held().shared_bytes == 0, name + ": none is taken at open");
    expect_within(relative_error(feed(*parent, f.tokens, 0, cut, V), feed(*reference, f.tokens, 0, cut, V)),
                  tolerance(kv), name + " of a long text");
    expect(parent->held().kv_bytes == rings + 2 * column, name + ": as many are held as the text reaches");
    auto child = parent->fork(task);
    expect(child->held().kv_bytes == rings + 2 * column && child->held().shared_bytes == 2 * column &&
               parent->held().shared_bytes == 2 * column,
           name + ": a fork shares them");
    // Each goes on with a text of its own, in turn; what either writes is not seen by the other.
    auto other = open(f.gpu, f.mask, {4, 9}, T + 8, kv, 64);
    feed(*other, f.tokens, 0, cut, V);
    for (int64_t i = 0; i < 6; i++) {
      child->decode(f.tokens[static_cast<size_t>(i)], task);
      other->decode(f.tokens[static_cast<size_t>(i)], task);
      parent->decode(f.tokens[static_cast<size_t>(cut + i)], task);
      reference->decode(f.tokens[static_cast<size_t>(cut + i)], task);
    }
    expect(child->held().shared_bytes == column && child->held().kv_bytes == rings + 2 * column,
           name + ": only the page that was written is a copy");
    expect(read(*child, V) == read(*other, V), name + ": a fork that went its own way is as one that was always alone");
    expect_within(relative_error(read(*parent, V), read(*reference, V)), tolerance(kv), name + " of its parent");
    parent.reset();
    expect(child->held().shared_bytes == 0, name + ": what a closed session shared is the other's own");
    feed(*child, f.tokens, cut, T - 6, V), feed(*other, f.tokens, cut, T - 6, V);
    expect(read(*child, V) == read(*other, V), name + ": and it goes on over the next page");
  }
  expect(model.pages().bytes() == 0, name + ": closed sessions give all back");

  model.pages().limit(3 * column);
  {
    auto first = open(f.gpu, f.mask, {4, 9}, 4 * T, kv, 64), second = open(f.gpu, f.mask, {4, 9}, 4 * T, kv, 64);
    first->fill(512, 1, task);
    first->fill(511, 1, task);
    first->decode(1, task);
    feed(*second, f.tokens, 0, 200, V);
    expect(second->held().room_tokens == 56 && first->held().room_tokens == 0, name + ": what still fits is known");
    const auto before = read(*first, V);
    DuoSession *both[] = {second.get(), first.get()};
    const int32_t next[] = {3, 5};
    expect(is_out_of_memory([&] { first->decode(1, task); }) &&
               is_out_of_memory([&] { first->decode_batch(both, next, 2, task); }),
           name + ": a token without a page is refused");
    expect(is_out_of_memory([&] { second->prefill(f.tokens.data(), 60, task); }) && second->length() == 200,
           name + ": so is a text that would not fit, before any of it is fed");
    std::vector<int32_t> drawn(3);
    expect(is_out_of_memory([&] {
             first->generate(3, {0, 0, 1, 1}, nullptr, 0, task, drawn.data());
           }),
           name + ": and what would be generated");
    expect(first->length() == 512 && second->length() == 200 && read(*first, V) == before,
           name + ": and nothing has changed");
    expect(is_out_of_memory([&] { second->fork(task)->decode(3, task); }),
           name + ": a fork has no page to go its own way");
    second->decode(3, task);
    second.reset();
    first->decode(1, task);
    expect(first->length() == 513, name + ": a page that was given back is taken by who waited for it");
  }
  model.pages().limit(INT64_MAX);
}

void test_sampling(const Fixture &f) {
  const int64_t T = static_cast<int64_t>(f.tokens.size()), V = f.config.vocab;
  Task task;
  auto session = open(f.gpu, f.mask, {4, 9}, T + 40, Dtype::bf16, 16);
  const auto logits = feed(*session, f.tokens, 0, T, V);
  for (const Sampling &sampling : {Sampling{0, 0, 1, 1}, Sampling{1, 0, 1, 2}, Sampling{0.7f, 5, 1, 3},
                                   Sampling{1.3f, 0, 0.6f, 4}, Sampling{2, 20, 0.9f, 5}}) {
    expect(session->sample(sampling) == sample_token(logits.data(), V, sampling, T),
           "a draw is the CPU's, seed " + std::to_string(sampling.seed));
  }
  // generate equals sample and decode by hand, and stops.
  const Sampling sampling{0.9f, 0, 0.95f, 11};
  auto by_hand = session->fork(task);
  std::vector<int32_t> expected, tokens(5);
  for (int i = 0; i < 5; i++) {
    expected.push_back(by_hand->sample(sampling));
    by_hand->decode(expected.back(), task);
  }
  auto stopping = session->fork(task);
  expect(session->generate(5, sampling, nullptr, 0, task, tokens.data()) == 5 && tokens == expected,
         "generate is sample and decode");
  expect(read(*session, V) == read(*by_hand, V), "generate leaves the session as decode does");
  const int32_t stop = expected[2];
  const auto first = std::find(expected.begin(), expected.end(), stop) - expected.begin();
  const int64_t written = stopping->generate(5, sampling, &stop, 1, task, tokens.data());
  expect(written == first + 1 && stopping->length() == T + first, "a stop token ends the call and is not fed");
  bool refused = false;
  try {
    open(f.gpu, f.mask, {4, 9}, 5, Dtype::bf16, 16)->sample(sampling);
  } catch (const Error &error) {
    refused = error.status() == DUO_STATUS_ARGUMENT;
  }
  expect(refused, "no logits before a token");
}

// Fixed memory: what a session holds after many steps is what it held after the first.
void test_steps(const Fixture &f, int64_t steps) {
  Task task;
  const int64_t room = steps + 10;
  const std::vector<uint8_t> streaming(f.mask.size(), 0);
  auto session = open(f.gpu, streaming, {4, 9}, room, Dtype::bf16, 16);
  session->decode(1, task);
  size_t free_before = 0, free_after = 0, total = 0;
  cudaMemGetInfo(&free_before, &total);
  std::vector<int32_t> tokens(static_cast<size_t>(steps));
  session->generate(steps, {1.0f, 0, 1.0f, 3}, nullptr, 0, task, tokens.data());
  cudaMemGetInfo(&free_after, &total);
  expect(free_after + (size_t{1} << 20) >= free_before, "memory is flat over " + std::to_string(steps) + " steps");
}

}  // namespace

int main(int count, char **arguments) {
  // An argument asks for that many soak steps.
  const int64_t steps = count > 1 ? std::atoll(arguments[1]) : 10;
  // Weights that lose nothing to their formats: 4 bits for projections and 8 for the ends; Q4_1 and Q8_0 as GPUs keep
  // them, both in one matrix for q, k, v.
  const Fixture int4 = make_fixture(4, 2, 32, 67, false, Dtype::int4, Grid::bf16),
                blocks = make_fixture(4, 2, 32, 67, false, Dtype::stored, Grid::blocks);
  const Fixture tied = make_fixture(3, 3, 64, 41, true, Dtype::stored, Grid::blocks);
  const Fixture gqa = make_fixture(4, 2, 32, 67, false, Dtype::stored),
                norms = make_fixture(3, 3, 64, 41, true, Dtype::int8);
  test_prefill_and_decode("gqa", gqa, {4, 9},
                          {Dtype::bf16,
                           Dtype::f32,
                           Dtype::int8,
                           Dtype::fp8,
                           Dtype::int4,
                           {Dtype::int8, true},
                           {Dtype::fp8, true},
                           {Dtype::int4, true},
                           Dtype::k8v4,
                           {Dtype::k8v4, true}});
  test_prefill_and_decode("gqa, no sink", gqa, {0, 1}, {Dtype::bf16});
  test_prefill_and_decode("gqa, sink past the text", gqa, {80, 3}, {Dtype::bf16});
  test_laws(gqa, {4, 9});
  test_batches("batches", gqa, Dtype::bf16, 64, 3e-2);
  test_batches("batches, int8 weights", norms, {Dtype::int8, true}, 19, 3e-2);
  test_batches("batches, int4 weights", int4, Dtype::bf16, 41, 3e-2);
  test_batches("batches, weights in blocks", blocks, Dtype::f32, 17, 3e-2);
  test_turns(gqa);
  test_step_products(gqa);
  test_sampling(gqa);
  const Fixture longer = make_fixture(4, 2, 32, 560, false, Dtype::stored);
  test_pages(longer, Dtype::bf16);
  test_pages(longer, {Dtype::int8, true});
  test_steps(gqa, steps);
  test_prefill_and_decode("int8 weights, norms, bias", norms, {2, 30}, {Dtype::bf16, {Dtype::int4, true}}, 3);
  test_prefill_and_decode("int4 weights", int4, {4, 9}, {Dtype::bf16});
  test_prefill_and_decode("weights in blocks", blocks, {4, 9}, {Dtype::bf16, Dtype::f32});
  test_prefill_and_decode("weights in blocks, tied, norms, bias", tied, {2, 30}, {Dtype::bf16});
  // The other head sizes, and more queries per KV head than one warp has.
  for (const int64_t head_dim : {80, 96, 192, 256}) {
    const Fixture f = make_fixture(4, 2, head_dim, 46, false, Dtype::stored);
    test_prefill_and_decode("head size " + std::to_string(head_dim), f, {4, 9}, {{Dtype::int4, true}});
  }
  test_prefill_and_decode("36 queries per KV head", make_fixture(36, 1, 32, 46, false, Dtype::stored), {4, 9},
                          {{Dtype::int8, true}});
  expect(int4.gpu->device().find(" int4 weights") != std::string::npos &&
             blocks.gpu->device().find(" Q4_1 weights") != std::string::npos,
         "the device names its weights");
  return finish("test_cuda_session");
}

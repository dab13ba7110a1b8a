// Seven launches a layer: norm + QKV, rope + cache write, attention, join, output + residual, norm + gate/up + swiglu, down + residual. All but the
// first of a step are dependent launches: each begins to read its weights or old cache entries while the one before it ends.
#include "cuda/decode_step.h"

#include <cstdio>
#include <cstdlib>

#include "cuda/layer_ops.h"
#include "cuda/reductions.h"
#include "cuda/session.h"

namespace duo::cuda {
namespace {

// DUO_DECODE_TUNING=warps,stages,blocks,stages,blocks: of attention and of products, blocks a multiprocessor, 0 for the chooser's own.
struct Tuning {
  int warps = 0, stages = 0, blocks = 0, product_stages = 0, product_blocks = 0;
};
Tuning read_tuning() {
  Tuning t;
  const char *wish = std::getenv("DUO_DECODE_TUNING");
  if (wish != nullptr) std::sscanf(wish, "%d,%d,%d,%d,%d", &t.warps, &t.stages, &t.blocks, &t.product_stages, &t.product_blocks);
  return t;
}

}  // namespace

DecodeStep::DecodeStep(const CudaModel &model, const std::vector<CudaSession *> &sessions, const Stream &stream)
    : model_(model), config_(model.config()), batch_(static_cast<int64_t>(sessions.size())), dtype_(sessions.front()->options().kv_dtype) {
  const int64_t half = config_.head_dim / 2;
  tokens_.resize(batch_);
  first_bad_.resize(batch_);
  hidden_.resize(batch_ * config_.hidden);
  cosine_.resize(batch_ * half);
  sine_.resize(batch_ * half);
  qkv_.resize(batch_ * (config_.query_width() + 2 * config_.kv_width()));
  query_.resize(batch_ * config_.query_width());
  attended_.resize(batch_ * config_.query_width());
  activated_.resize(batch_ * config_.intermediate);
  logits_.resize(batch_ * config_.vocab);
  std::vector<DecodeMember> members;
  for (const CudaSession *session : sessions) members.push_back(session->member());
  members_.resize(batch_);
  copy_to_device(members_.data(), members.data(), batch_, stream);
  const Tuning tuning = read_tuning();
  const DeviceSize &device = model.device_size();
  shape_ = choose_decode_shape(dtype_, static_cast<int>(config_.head_dim), device.multiprocessors, device.shared_bytes,
                               {tuning.warps, tuning.stages, tuning.blocks * device.multiprocessors});
  const int64_t heads = batch_ * config_.kv_heads, slots = (shape_.blocks + heads) * config_.group();
  plan_.resize(config_.layers * (heads + 1));
  partial_.resize(slots * config_.head_dim);
  partial_scale_.resize(slots * 2);
  stream.wait();
  void *pinned = nullptr;
  check(cudaMallocHost(&pinned, static_cast<size_t>(batch_) * sizeof(int32_t)), "allocating pinned memory");
  first_bad_host_ = static_cast<int32_t *>(pinned);

  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "beginning a capture");
  try {
    queue(sessions, stream);
  } catch (...) {
    if (cudaStreamEndCapture(stream.get(), &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
    cudaFreeHost(first_bad_host_);
    throw;
  }
  check(cudaStreamEndCapture(stream.get(), &graph), "ending a capture");
  const cudaError_t error = cudaGraphInstantiate(&graph_, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "making a graph");
}

DecodeStep::~DecodeStep() {
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
  cudaFreeHost(first_bad_host_);
}

void DecodeStep::multiply(const DeviceMatrix &matrix, const bf16 *values, const bf16 *x, const float *hidden, const float *norm, void *out,
                          VectorStore store, bool is_dependent, const Stream &stream) {
  const Tuning tuning = read_tuning();
  VectorProduct product{};
  product.weight = values != nullptr ? static_cast<const void *>(values) : matrix.quantized.data();
  product.row_scale = values != nullptr ? nullptr : matrix.row_scale.data();
  product.bias = matrix.bias.data();
  product.x = x;
  product.hidden = hidden;
  product.norm = norm;
  product.eps = config_.rms_norm_eps;
  product.depth = matrix.columns;
  product.outputs = store == VectorStore::swiglu ? matrix.rows / 2 : matrix.rows;
  product.batch = static_cast<int32_t>(batch_);
  product.out = out;
  product.store = store;
  product.device = model_.device_size();
  product.is_dependent = is_dependent;
  product.stages = tuning.product_stages;
  if (tuning.product_blocks > 0) product.blocks_a_multiprocessor = tuning.product_blocks;
  check(launch_vector_product(product, stream.get()), "a matrix-vector product");
}

void DecodeStep::queue(const std::vector<CudaSession *> &sessions, const Stream &stream) {
  const int64_t width = config_.query_width() + 2 * config_.kv_width(), half = config_.head_dim / 2;
  check(launch_embed(tokens_.data(), model_.embedding().data(), batch_, config_.hidden, hidden_.data(), stream.get()), "reading embeddings");
  for (int64_t member = 0; member < batch_; member++) {
    // Sessions may differ in their rotary base (dynamic scaling), so each has its own row made from its own frequencies.
    const CudaSession &session = *sessions[static_cast<size_t>(member)];
    check(launch_rope_tables(session.inverse_frequencies(), session.rope_scale(), 0, members_.data() + member, 1, static_cast<int32_t>(half),
                             cosine_.data() + member * half, sine_.data() + member * half, stream.get()),
          "making rotary tables");
  }
  check(launch_decode_plan(members_.data(), static_cast<int32_t>(batch_), static_cast<int32_t>(config_.layers), static_cast<int32_t>(config_.kv_heads), plan_.data(),
                           stream.get()),
        "sharing out a step");
  for (int64_t index = 0; index < config_.layers; index++) {
    const DeviceLayer &layer = model_.layer(index);
    // The first waits for the tables and the plan in the ordinary way: later kernels read those before they wait.
    multiply(layer.qkv, layer.qkv.values.data(), nullptr, hidden_.data(), layer.input_norm.data(), qkv_.data(), VectorStore::bf16, index > 0, stream);
    RopeWrite rope{};
    rope.query_in = qkv_.data();
    rope.key_in = qkv_.data() + config_.query_width();
    rope.value_in = rope.key_in + config_.kv_width();
    rope.query_stride = rope.key_stride = width;
    rope.query_rows = rope.rows = batch_;
    rope.heads = static_cast<int32_t>(config_.heads), rope.kv_heads = static_cast<int32_t>(config_.kv_heads), rope.head_dim = static_cast<int32_t>(config_.head_dim);
    rope.query_norm = layer.query_norm.data(), rope.key_norm = layer.key_norm.data();
    rope.eps = config_.rms_norm_eps;
    rope.cosine = cosine_.data(), rope.sine = sine_.data();
    rope.query_out = query_.data();
    rope.dtype = dtype_;
    rope.members = members_.data();
    rope.layer = static_cast<int32_t>(index);
    check(launch_rope_write(rope, stream.get()), "writing the cache");
    DecodeAttention a{};
    a.plan = plan_.data() + index * (batch_ * config_.kv_heads + 1);
    a.shape = shape_;
    a.batch = static_cast<int32_t>(batch_);
    a.heads = rope.heads, a.kv_heads = rope.kv_heads, a.head_dim = rope.head_dim;
    a.dtype = dtype_;
    a.query = query_.data();
    a.partial = partial_.data(), a.partial_scale = partial_scale_.data();
    a.out = attended_.data();
    check(launch_decode_attention(a, stream.get()), "decode attention");
    multiply(layer.output, layer.output.values.data(), attended_.data(), nullptr, nullptr, hidden_.data(), VectorStore::add_f32, true, stream);
    multiply(layer.gate_up, layer.gate_up.values.data(), nullptr, hidden_.data(), layer.post_attention_norm.data(), activated_.data(), VectorStore::swiglu, true, stream);
    multiply(layer.down, layer.down.values.data(), activated_.data(), nullptr, nullptr, hidden_.data(), VectorStore::add_f32, true, stream);
  }
  const bf16 *head = model_.lm_head().quantized.count() > 0 ? nullptr : model_.lm_head_values();
  multiply(model_.lm_head(), head, nullptr, hidden_.data(), model_.final_norm().data(), logits_.data(), VectorStore::f32, true, stream);
  check(launch_check_finite(logits_.data(), batch_, config_.vocab, first_bad_.data(), stream.get()), "checking logits");
  check(launch_advance(members_.data(), static_cast<int32_t>(batch_), stream.get()), "advancing lengths");
  for (int64_t member = 0; member < batch_; member++) {
    check(cudaMemcpyAsync(sessions[static_cast<size_t>(member)]->logits_device(), logits_.data() + member * config_.vocab,
                          static_cast<size_t>(config_.vocab) * sizeof(float), cudaMemcpyDeviceToDevice, stream.get()), "handing out logits");
  }
  check(cudaMemcpyAsync(first_bad_host_, first_bad_.data(), static_cast<size_t>(batch_) * sizeof(int32_t), cudaMemcpyDeviceToHost, stream.get()), "reading a check");
}

void DecodeStep::run(const Stream &stream) { check(cudaGraphLaunch(graph_, stream.get()), "a decode step"); }

int64_t DecodeStep::bytes() const {
  return tokens_.bytes() + first_bad_.bytes() + plan_.bytes() + members_.bytes() + hidden_.bytes() + cosine_.bytes() + sine_.bytes() +
         partial_.bytes() + partial_scale_.bytes() + logits_.bytes() + qkv_.bytes() + query_.bytes() + attended_.bytes() + activated_.bytes();
}

}  // namespace duo::cuda

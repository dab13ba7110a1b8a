// Five launches a layer: norm + QKV, rope + cache write + attention, output + residual, norm + gate/up + swiglu, down + residual. All but the
// first of a step are dependent launches: each begins to read its weights or old cache entries while the one before it ends.
#include "cuda/decode_step.h"

#include "cuda/layer_ops.h"
#include "cuda/reductions.h"
#include "cuda/session.h"

namespace duo::cuda {

DecodeStep::DecodeStep(const CudaModel &model, const std::vector<CudaSession *> &sessions, const Stream &stream)
    : model_(model), config_(model.config()), batch_(static_cast<int64_t>(sessions.size())), dtype_(sessions.front()->options().kv_dtype),
      rotates_(sessions.front()->rotates()) {
  const int64_t half = config_.head_dim / 2;
  tokens_.resize(batch_);
  first_bad_.resize(batch_);
  hidden_.resize(batch_ * config_.hidden);
  cosine_.resize(batch_ * half);
  sine_.resize(batch_ * half);
  qkv_.resize(batch_ * (config_.query_width() + 2 * config_.kv_width()));
  attended_.resize(batch_ * config_.query_width());
  activated_.resize(batch_ * config_.intermediate);
  if (batch_ > 1) logits_.resize(batch_ * config_.vocab);
  std::vector<DecodeMember> members;
  for (const CudaSession *session : sessions) members.push_back(session->member());
  members_.resize(batch_);
  copy_to_device(members_.data(), members.data(), batch_, stream);
  const DeviceSize &device = model.device_size();
  shape_ = choose_decode_shape(dtype_, static_cast<int>(config_.head_dim), device.multiprocessors, device.shared_bytes);
  const int64_t heads = batch_ * config_.kv_heads, slots = (shape_.blocks + heads) * config_.group();
  plan_.resize(config_.layers * (heads + 1));
  partial_.resize(slots * config_.head_dim);
  partial_scale_.resize(slots * 2);
  arrived_.resize(batch_ * config_.heads);
  clear(arrived_, stream);
  const std::vector<int32_t> none_bad(static_cast<size_t>(batch_), NONE_BAD);
  copy_to_device(first_bad_.data(), none_bad.data(), batch_, stream);
  stream.wait();
  first_bad_host_.resize(batch_);

  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "beginning a capture");
  try {
    queue(sessions, stream);
  } catch (...) {
    if (cudaStreamEndCapture(stream.get(), &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(stream.get(), &graph), "ending a capture");
  const cudaError_t error = cudaGraphInstantiate(&graph_, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "making a graph");
}

DecodeStep::~DecodeStep() {
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
}

VectorProduct DecodeStep::describe(const DeviceMatrix &matrix, const bf16 *values, VectorStore store) const {
  VectorProduct product{};
  product.weight = values != nullptr ? static_cast<const void *>(values) : matrix.quantized.data();
  product.row_scale = values != nullptr ? nullptr : matrix.row_scale.data();
  product.bias = matrix.bias.data();
  product.eps = config_.rms_norm_eps;
  product.depth = matrix.columns;
  product.outputs = store == VectorStore::swiglu ? matrix.rows / 2 : matrix.rows;
  product.batch = static_cast<int32_t>(batch_);
  product.store = store;
  product.device = model_.device_size();
  product.is_dependent = true;
  return product;
}

void DecodeStep::queue(const std::vector<CudaSession *> &sessions, const Stream &stream) {
  const int64_t half = config_.head_dim / 2;
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
  const auto multiply = [&](VectorProduct product, const bf16 *x, const float *norm, void *out) {
    product.x = x;
    if (norm != nullptr) product.hidden = hidden_.data(), product.norm = norm;
    product.out = out;
    check(launch_vector_product(product, stream.get()), "a matrix-vector product");
  };
  for (int64_t index = 0; index < config_.layers; index++) {
    const DeviceLayer &layer = model_.layer(index);
    VectorProduct qkv = describe(layer.qkv, layer.qkv.values.data(), VectorStore::bf16);
    // The first waits for the tables and the plan in the ordinary way: later kernels read those before they wait.
    qkv.is_dependent = index > 0;
    multiply(qkv, nullptr, layer.input_norm.data(), qkv_.data());
    DecodeAttention a{};
    a.plan = plan_.data() + index * (batch_ * config_.kv_heads + 1);
    a.shape = shape_;
    a.batch = static_cast<int32_t>(batch_);
    a.heads = static_cast<int32_t>(config_.heads), a.kv_heads = static_cast<int32_t>(config_.kv_heads), a.head_dim = static_cast<int32_t>(config_.head_dim);
    a.dtype = dtype_;
    a.rotates = rotates_;
    a.projections = {qkv_.data(), layer.query_norm.data(), layer.key_norm.data(), config_.rms_norm_eps, cosine_.data(), sine_.data()};
    a.partial = partial_.data(), a.partial_scale = partial_scale_.data(), a.arrived = arrived_.data();
    a.out = attended_.data();
    check(launch_decode_attention(a, stream.get()), "decode attention");
    multiply(describe(layer.output, layer.output.values.data(), VectorStore::add_f32), attended_.data(), nullptr, hidden_.data());
    multiply(describe(layer.gate_up, layer.gate_up.values.data(), VectorStore::swiglu), nullptr, layer.post_attention_norm.data(), activated_.data());
    multiply(describe(layer.down, layer.down.values.data(), VectorStore::add_f32), activated_.data(), nullptr, hidden_.data());
  }
  const bf16 *head = model_.lm_head().quantized.count() > 0 ? nullptr : model_.lm_head_values();
  VectorProduct logits = describe(model_.lm_head(), head, VectorStore::f32);
  logits.first_bad = first_bad_.data();
  multiply(logits, nullptr, model_.final_norm().data(), batch_ == 1 ? sessions.front()->logits_device() : logits_.data());
  check(launch_advance(members_.data(), static_cast<int32_t>(batch_), first_bad_.data(), first_bad_host_.data(), stream.get()), "advancing lengths");
  for (int64_t member = 0; batch_ > 1 && member < batch_; member++) {
    check(cudaMemcpyAsync(sessions[static_cast<size_t>(member)]->logits_device(), logits_.data() + member * config_.vocab,
                          static_cast<size_t>(config_.vocab) * sizeof(float), cudaMemcpyDeviceToDevice, stream.get()), "handing out logits");
  }
}

void DecodeStep::feed(const std::vector<CudaSession *> &sessions, const int32_t *tokens, const Stream &stream) {
  StepInputs inputs{members_.data(), tokens_.data(), static_cast<int32_t>(batch_), {}, {}};
  for (int64_t i = 0; i < batch_; i++) inputs.tokens[i] = tokens[i], inputs.lengths[i] = static_cast<int32_t>(sessions[static_cast<size_t>(i)]->length());
  check(launch_begin_step(inputs, stream.get()), "beginning a step");
}

void DecodeStep::run(const Stream &stream) { check(cudaGraphLaunch(graph_, stream.get()), "a decode step"); }

int64_t DecodeStep::bytes() const {
  return tokens_.bytes() + first_bad_.bytes() + plan_.bytes() + members_.bytes() + hidden_.bytes() + cosine_.bytes() + sine_.bytes() +
         partial_.bytes() + partial_scale_.bytes() + arrived_.bytes() + logits_.bytes() + qkv_.bytes() + attended_.bytes() + activated_.bytes();
}

}  // namespace duo::cuda

// Up to 8 rows five launches per layer: norm + QKV, rope + cache write + attention, output + residual, norm + gate/up +
// swiglu, down + residual. All but the first of a step are dependent launches: each begins to read its weights or old
// cache entries while the one before it ends. More rows have norms by themselves, and a second launch for products whose
// depth is split (skinny_product.h).
#include "cuda/decode_step.h"

#include <tuple>

#include "cuda/layer_ops.h"

namespace duo::cuda {

DecodeBuffers::DecodeBuffers(const CudaModel &model, int64_t most_rows, const Stream &stream) : rows(most_rows) {
  const ModelConfig &config = model.config();
  const int64_t half = config.head_dim / 2, heads = rows * config.kv_heads;
  members.resize(rows);
  tokens.resize(rows), first_bad.resize(rows);
  hidden.resize(rows * config.hidden);
  cosine.resize(rows * half), sine.resize(rows * half);
  qkv.resize(rows * (config.query_width() + 2 * config.kv_width()));
  attended.resize(rows * config.query_width());
  activated.resize(rows * config.intermediate);
  logits.resize(rows * config.vocab);
  plan.resize(config.layers * (heads + 1));
  // A block of attention's grid is a split, and a multiprocessor has one.
  const int64_t slots = (model.device_size().multiprocessors + heads) * config.group();
  partial.resize(slots * config.head_dim), partial_scale.resize(slots * 2);
  arrived.resize(rows * config.heads);
  if (rows > MAX_VECTOR_ROWS) {
    normed.resize(rows * config.hidden), gate_up.resize(rows * 2 * config.intermediate);
    product_partial.resize(step_partial_floats(model, rows));
  }
  clear(arrived, stream);
  const std::vector<int32_t> none_bad(static_cast<size_t>(rows), NONE_BAD);
  copy_to_device(first_bad.data(), none_bad.data(), rows, stream);
  stream.wait();
  reported.resize(rows);
}

int64_t DecodeBuffers::bytes() const {
  return members.bytes() + tokens.bytes() + first_bad.bytes() + arrived.bytes() + plan.bytes() + hidden.bytes() +
         cosine.bytes() + sine.bytes() + partial.bytes() + partial_scale.bytes() + logits.bytes() + qkv.bytes() +
         attended.bytes() + activated.bytes() + normed.bytes() + gate_up.bytes() + product_partial.bytes();
}

bool DecodeKind::operator<(const DecodeKind &other) const {
  return std::tie(batch, kv_dtype, rotates) < std::tie(other.batch, other.kv_dtype, other.rotates);
}

DecodeShape require_decode_shape(const CudaModel &model, Dtype kv_dtype) {
  const DeviceSize &device = model.device_size();
  const int head_dim = static_cast<int>(model.config().head_dim), group = static_cast<int>(model.config().group());
  const DecodeShape shape = choose_decode_shape(kv_dtype, head_dim, group, device.multiprocessors, device.shared_bytes);
  if (decode_shared_bytes(kv_dtype, head_dim, group, shape) > device.shared_bytes) {
    fail(
        DUO_STATUS_UNSUPPORTED,
        "Expected fewer query heads per KV head for `head_dim` %d than %d on this GPU, whose blocks have %lld bytes of "
        "shared memory: use device cpu",
        head_dim, group, static_cast<long long>(device.shared_bytes));
  }
  return shape;
}

DecodeStep::DecodeStep(const CudaModel &model, const DecodeKind &kind, const DecodeBuffers &buffers)
    : model_(model),
      config_(model.config()),
      kind_(kind),
      buffers_(buffers),
      shape_(require_decode_shape(model, kind.kv_dtype)) {}

DecodeStep::~DecodeStep() {
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
}

void DecodeStep::run(const std::vector<DecodeMember> &members, const int32_t *tokens, const Stream &stream) {
  StepInputs inputs{
      buffers_.members.data(), buffers_.tokens.data(), static_cast<int32_t>(kind_.batch), tokens != nullptr, {}, {}};
  for (size_t i = 0; i < members.size(); i++)
    inputs.members[i] = members[i], inputs.tokens[i] = tokens != nullptr ? tokens[i] : 0;
  check(launch_begin_step(inputs, stream.get()), "beginning a step");
  // The addresses of streamed layers change from step to step.
  if (!has_run_ || model_.layers().streams()) {
    has_run_ = true;
    return queue(stream);
  }
  if (graph_ == nullptr) capture(stream);
  check(cudaGraphLaunch(graph_, stream.get()), "a decode step");
}

void DecodeStep::capture(const Stream &stream) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "beginning a capture");
  try {
    queue(stream);
  } catch (...) {
    if (cudaStreamEndCapture(stream.get(), &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(stream.get(), &graph), "ending a capture");
  const cudaError_t error = cudaGraphInstantiate(&graph_, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "making a graph");
}

void DecodeStep::queue(const Stream &stream) {
  const DecodeBuffers &b = buffers_;
  const auto batch = static_cast<int32_t>(kind_.batch), kv_heads = static_cast<int32_t>(config_.kv_heads);
  const StepProductRoom room{b.normed.data(), b.gate_up.data(), b.product_partial.data()};
  const auto multiply = [&](const StepProduct &product) { multiply_step(model_, product, batch, room, stream); };
  model_.embed(b.tokens.data(), batch, b.hidden.data(), stream);
  check(launch_step_rope(b.members.data(), batch, static_cast<int32_t>(config_.head_dim / 2), b.cosine.data(),
                         b.sine.data(), stream.get()),
        "making rotary tables");
  check(launch_decode_plan(b.members.data(), batch, static_cast<int32_t>(config_.layers), kv_heads, b.plan.data(),
                           stream.get()),
        "sharing out a step");
  model_.layers().expect({1, 0});
  LayerReader layers(model_.layers(), stream);
  for (int64_t index = 0; index < config_.layers; index++) {
    const DeviceLayer &layer = layers.use(index);
    StepProduct qkv{layer.qkv, VectorStore::bf16, nullptr, b.hidden.data(), layer.input_norm.data(), b.qkv.data()};
    // The first product is an ordinary launch, because later kernels read the tables and the plan before they wait.
    // That of a streamed layer is one too, because it has to wait for its weights.
    qkv.is_dependent = index > 0 && !model_.layers().streams();
    multiply(qkv);
    DecodeAttention a{};
    a.plan = b.plan.data() + index * (int64_t{batch} * kv_heads + 1);
    a.shape = shape_;
    a.batch = batch;
    a.heads = static_cast<int32_t>(config_.heads), a.kv_heads = kv_heads,
    a.head_dim = static_cast<int32_t>(config_.head_dim);
    a.dtype = kind_.kv_dtype;
    a.rotates = kind_.rotates;
    a.projections = {b.qkv.data(),         layer.query_norm.data(), layer.key_norm.data(),
                     config_.rms_norm_eps, b.cosine.data(),         b.sine.data()};
    a.partial = b.partial.data(), a.partial_scale = b.partial_scale.data(), a.arrived = b.arrived.data();
    a.out = b.attended.data();
    check(launch_decode_attention(a, stream.get()), "decode attention");
    multiply({layer.output, VectorStore::add_f32, b.attended.data(), nullptr, nullptr, b.hidden.data()});
    multiply({layer.gate_up, VectorStore::swiglu, nullptr, b.hidden.data(), layer.post_attention_norm.data(),
              b.activated.data()});
    multiply({layer.down, VectorStore::add_f32, b.activated.data(), nullptr, nullptr, b.hidden.data()});
  }
  multiply({model_.lm_head(), VectorStore::f32, nullptr, b.hidden.data(), model_.final_norm().data(), b.logits.data(),
            b.first_bad.data()});
  check(
      launch_end_step({b.members.data(), batch, b.logits.data(), config_.vocab, b.first_bad.data(), b.reported.data()},
                      stream.get()),
      "ending a step");
}

}  // namespace duo::cuda

// Seven launches a layer: norm + QKV, rope + cache write, attention, join, output + residual, norm + gate/up + swiglu, down + residual.
#include "cuda/decode_step.h"

#include <algorithm>

#include "cuda/layer_ops.h"
#include "cuda/reductions.h"
#include "cuda/session.h"

namespace duo::cuda {
namespace {

constexpr int64_t BLOCKS_A_MULTIPROCESSOR = 2;  // of the attention kernel, by its registers
constexpr int64_t LEAST_SHARE = 512;            // entries a split is worth its partial result for
constexpr int64_t STREAMING_SHARE = 2048;       // a ring up to this is one item

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
  plan_items(sessions);
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

// Work of one layer: every (session, KV head) in order, retrieval heads split so that one wave of blocks fills the device.
void DecodeStep::plan_items(const std::vector<CudaSession *> &sessions) {
  std::vector<DecodeItem> items;
  std::vector<int32_t> first_item;
  int64_t largest = 0;
  for (int64_t layer = 0; layer < config_.layers; layer++) {
    item_begin_.push_back(static_cast<int64_t>(items.size()));
    int64_t num_retrieval = 0;
    for (const CudaSession *session : sessions) {
      for (int64_t head = 0; head < config_.kv_heads; head++) num_retrieval += session->is_retrieval(layer, head);
    }
    const int64_t num_streaming = batch_ * config_.kv_heads - num_retrieval;
    const int64_t room = std::max<int64_t>(1, BLOCKS_A_MULTIPROCESSOR * model_.multiprocessors() - num_streaming);
    for (int64_t member = 0; member < batch_; member++) {
      const CudaSession &session = *sessions[static_cast<size_t>(member)];
      for (int64_t head = 0; head < config_.kv_heads; head++) {
        const int64_t slots = session.slots(layer, head);
        const bool is_retrieval = session.is_retrieval(layer, head);
        const int64_t splits = is_retrieval ? std::min(std::max<int64_t>(1, room / num_retrieval), ceil_divide(slots, LEAST_SHARE)) : ceil_divide(slots, STREAMING_SHARE);
        first_item.push_back(static_cast<int32_t>(static_cast<int64_t>(items.size()) - item_begin_.back()));
        for (int64_t split = 0; split < splits; split++) {
          items.push_back({static_cast<int32_t>(member), static_cast<int32_t>(head), static_cast<int32_t>(split), static_cast<int32_t>(splits)});
        }
      }
    }
    first_item.push_back(static_cast<int32_t>(static_cast<int64_t>(items.size()) - item_begin_.back()));
    largest = std::max(largest, static_cast<int64_t>(items.size()) - item_begin_.back());
  }
  item_begin_.push_back(static_cast<int64_t>(items.size()));
  items_.resize(static_cast<int64_t>(items.size()));
  first_item_.resize(static_cast<int64_t>(first_item.size()));
  // Pageable memory: the copies have left it when the calls return.
  check(cudaMemcpyAsync(items_.data(), items.data(), items.size() * sizeof(DecodeItem), cudaMemcpyHostToDevice, nullptr), "copying a work list");
  check(cudaMemcpyAsync(first_item_.data(), first_item.data(), first_item.size() * sizeof(int32_t), cudaMemcpyHostToDevice, nullptr), "copying a work list");
  check(cudaStreamSynchronize(nullptr), "copying a work list");
  partial_.resize(largest * config_.group() * config_.head_dim);
  partial_scale_.resize(largest * config_.group() * 2);
}

void DecodeStep::multiply(const DeviceMatrix &matrix, const bf16 *values, const bf16 *x, const float *hidden, const float *norm, void *out,
                          VectorStore store, const Stream &stream) {
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
  for (int64_t index = 0; index < config_.layers; index++) {
    const DeviceLayer &layer = model_.layer(index);
    multiply(layer.qkv, layer.qkv.values.data(), nullptr, hidden_.data(), layer.input_norm.data(), qkv_.data(), VectorStore::bf16, stream);
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
    a.items = items_.data() + item_begin_[static_cast<size_t>(index)];
    a.first_item = first_item_.data() + index * (batch_ * config_.kv_heads + 1);
    a.members = members_.data();
    a.num_items = static_cast<int32_t>(item_begin_[static_cast<size_t>(index) + 1] - item_begin_[static_cast<size_t>(index)]);
    a.batch = static_cast<int32_t>(batch_), a.layer = static_cast<int32_t>(index);
    a.heads = rope.heads, a.kv_heads = rope.kv_heads, a.head_dim = rope.head_dim;
    a.dtype = dtype_;
    a.query = query_.data();
    a.partial = partial_.data(), a.partial_scale = partial_scale_.data();
    a.out = attended_.data();
    check(launch_decode_attention(a, stream.get()), "decode attention");
    multiply(layer.output, layer.output.values.data(), attended_.data(), nullptr, nullptr, hidden_.data(), VectorStore::add_f32, stream);
    multiply(layer.gate_up, layer.gate_up.values.data(), nullptr, hidden_.data(), layer.post_attention_norm.data(), activated_.data(), VectorStore::swiglu, stream);
    multiply(layer.down, layer.down.values.data(), activated_.data(), nullptr, nullptr, hidden_.data(), VectorStore::add_f32, stream);
  }
  const bf16 *head = model_.lm_head().quantized.count() > 0 ? nullptr : model_.lm_head_values();
  multiply(model_.lm_head(), head, nullptr, hidden_.data(), model_.final_norm().data(), logits_.data(), VectorStore::f32, stream);
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
  return tokens_.bytes() + first_item_.bytes() + first_bad_.bytes() + items_.bytes() + members_.bytes() + hidden_.bytes() + cosine_.bytes() + sine_.bytes() +
         partial_.bytes() + partial_scale_.bytes() + logits_.bytes() + qkv_.bytes() + query_.bytes() + attended_.bytes() + activated_.bytes();
}

}  // namespace duo::cuda

/* The C ABI of duo's native library, the same for CPU and CUDA: models, distillation, evaluation, probing, sessions.
 * src/native/abi.ts mirrors this file one to one; a test parses both and fails on drift.
 * Rules: only sized integers, float, double, pointers with an element count, and opaque handles cross. Every function returns a
 * DUO_STATUS code unless it says otherwise; on any code but OK the outputs are unspecified and the text is in duo_last_error()
 * of the calling thread and, where a task was given, in duo_task_error(). Nothing exits, prints or throws.
 * Shapes: L layers, H query heads, G KV heads (head h reads KV head h / (H/G)), D head dim, C hidden, V vocab, T tokens, P positions.
 * All tensors are row-major host memory; float is fp32. Same inputs, same device: the same bits, for any number of threads. */
#ifndef DUO_H
#define DUO_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DUO_API __attribute__((visibility("default")))
#else
#define DUO_API
#endif

/* Grows with every change of this file that an older mirror would misread. */
#define DUO_ABI_VERSION 6

#define DUO_STATUS_OK 0
#define DUO_STATUS_NULL 1         /* a required pointer is null */
#define DUO_STATUS_ARGUMENT 2     /* a scalar, token id, position or gate is out of range */
#define DUO_STATUS_SHAPE 3        /* sizes contradict each other or the model */
#define DUO_STATUS_UNSUPPORTED 4  /* this device, dtype, head size or feature is not implemented */
#define DUO_STATUS_FILE 5         /* a file cannot be opened, mapped or read */
#define DUO_STATUS_FORMAT 6       /* a file is not what its format promises */
#define DUO_STATUS_MEMORY 7       /* host or device memory is exhausted */
#define DUO_STATUS_CUDA 8         /* a CUDA call failed, or no driver or device */
#define DUO_STATUS_ABORTED 9      /* duo_task_abort was called */
#define DUO_STATUS_HANDLE 10      /* the handle is closed or was never opened */
#define DUO_STATUS_NUMERIC 11     /* a result or a weight is NaN or infinite */
#define DUO_STATUS_INTERNAL 12    /* a defect of the library */

#define DUO_DTYPE_STORED -1 /* weights only: as the file has them */
#define DUO_DTYPE_F32 0
#define DUO_DTYPE_F16 1
#define DUO_DTYPE_BF16 2
#define DUO_DTYPE_INT8 3 /* KV: one fp32 scale per head vector; weights, CUDA only: one fp32 scale per row */
#define DUO_DTYPE_FP8 4  /* KV: e4m3 with one fp32 scale per head vector */
#define DUO_DTYPE_INT4 5 /* KV: one fp16 scale and one fp16 zero per head vector; weights, CUDA only: an fp16 scale and minimum for 32 of a row,
                            embeddings and LM head as INT8 */
#define DUO_DTYPE_K8V4 6 /* KV: keys as INT8, values as INT4 */

#define DUO_ROPE_NONE 0
#define DUO_ROPE_LINEAR 1
#define DUO_ROPE_DYNAMIC 2
#define DUO_ROPE_LLAMA3 3
#define DUO_ROPE_YARN 4

#define DUO_KV_ROTATION_OFF 0
#define DUO_KV_ROTATION_ON 1 /* INT8, FP8, INT4 and K8V4 caches hold keys and values after an orthonormal Walsh–Hadamard transform of each head vector */

#define DUO_COMPUTE_ACCURATE 0 /* CPU: fp32 products whatever the weights' dtype; CUDA: bf16 products, fp32 sums */
#define DUO_COMPUTE_BF16 1     /* CPU: activations rounded to bf16 before a product with bf16 weights, fp32 sums */
#define DUO_COMPUTE_INT8 2     /* CPU sessions: activations rounded to int8 in blocks of 32 before a product with weights in quantised blocks, int32 sums
                                  in a block, fp32 sums over blocks; everything else as ACCURATE. CUDA: as ACCURATE */

#define DUO_WEIGHTS_AUTO 0   /* CUDA: on the device, unless they do not fit together with what comes next; then those of the layers on the host */
#define DUO_WEIGHTS_DEVICE 1 /* CUDA: in device memory */
#define DUO_WEIGHTS_HOST 2   /* CUDA: those of the layers in pinned host memory, each copied while the layer before it computes; the same results */

#define DUO_PASS_NONE 0    /* sessions only */
#define DUO_PASS_FORWARD 1 /* duo_evaluate; prefill of pass_tokens in one chunk */
#define DUO_PASS_DISTILL 2 /* duo_distill */
#define DUO_PASS_MEASURE 3 /* duo_probe, duo_sketch, duo_hidden, duo_logits, duo_attention: f16 twins in addition to all weights; what duo_sketch keeps is beside_bytes */

#define DUO_DISTILL_DEFAULT 0
#define DUO_DISTILL_TEACHER_BRANCH 1 /* the full branch of the mix is the teacher's output (docs/semantics.md, 2) */
#define DUO_DISTILL_KL 2             /* the loss is the KL divergence of next-token distributions; may be added to the other flag */

#define DUO_KL_TOKENS 255 /* of a position, likeliest under full attention, with a feature of their own in duo_kl_features; the others share one more */

#define DUO_PREFILL_EXACT 0   /* a streaming head sees docs/semantics.md, 1 for any chunking */
#define DUO_PREFILL_CHUNKED 1 /* a streaming head sees its cache and the causal chunk */

#define DUO_MEASURE_READ_BANDWIDTH 0 /* bytes read a second, data far larger than any cache */
#define DUO_MEASURE_COPY_BANDWIDTH 1 /* bytes read plus bytes written a second */
#define DUO_MEASURE_MATMUL_F32 2     /* floating-point operations a second */
#define DUO_MEASURE_MATMUL_BF16 3    /* floating-point operations a second, fp32 sums */
#define DUO_MEASURE_FREE_MEMORY 4    /* bytes that a CUDA device has free now, without measuring; UNSUPPORTED on the CPU */
#define DUO_MEASURE_UPLOAD_BANDWIDTH 5 /* bytes a second from pinned host memory to a CUDA device; UNSUPPORTED on the CPU */

/* Opaque handles. A closed or foreign handle is DUO_STATUS_HANDLE, never a crash; handles are never reused. */
typedef struct duo_task duo_task_t;
typedef struct duo_model duo_model_t;
typedef struct duo_session duo_session_t;

/* Shape and options of a model; every field is checked. Fields of a rope type that is not chosen are ignored.
 * Flags are 0 or 1. rope_attention_factor is the resolved factor on cos and sin (yarn). */
typedef struct duo_model_config {
  int64_t struct_bytes; /* sizeof(duo_model_config_t), so that a mismatch is seen */
  double rms_norm_eps;
  double rope_theta;
  double rope_factor;
  double rope_low_freq_factor;
  double rope_high_freq_factor;
  double rope_beta_fast;
  double rope_beta_slow;
  double rope_attention_factor;
  int64_t rope_original_max_positions;
  int64_t max_positions; /* longest sample the model declares */
  int32_t layers;
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;
  int32_t hidden;
  int32_t intermediate;
  int32_t vocab;
  int32_t rope_type; /* DUO_ROPE_… */
  int32_t rope_truncate;
  int32_t tied_embeddings;
  int32_t qkv_bias;
  int32_t output_bias;
  int32_t mlp_bias;
  int32_t qk_norm;
} duo_model_config_t;

/* ---- Library ---- */

/* DUO_ABI_VERSION the library was built with. Never fails. */
DUO_API int32_t duo_abi_version(void);

/* Text of the last failure on the calling thread, "" if none; valid until that thread's next call. Never fails. */
DUO_API const char *duo_last_error(void);

/* Number of devices that duo_device_describe lists: "cpu", then one for each CUDA device, or one "cuda:0" that says why there is none.
 *   num_devices [1] int32, written */
DUO_API int32_t duo_device_count(int32_t *num_devices);

/* One device as a JSON object {"name": "cuda:0", "description": "…", "memoryBytes": n, "available": true, "reason": "", "features": ["avx512", …]}.
 *   device_index 0 … num_devices−1      json [json_bytes] char, written, ended by 0
 * Returns DUO_STATUS_ARGUMENT (index), _SHAPE (json_bytes too small; 4096 suffices). */
DUO_API int32_t duo_device_describe(int32_t device_index, char *json, int64_t json_bytes);

/* Measure what a device can do, best of a few runs, about a second.
 *   device as in duo_model_open      num_threads as in duo_model_open      measure DUO_MEASURE_…      rate [1] double, written, unit by measure */
DUO_API int32_t duo_device_measure(const char *device, int32_t num_threads, int32_t measure, duo_task_t *task, double *rate);

/* ---- Tasks: progress, abort and error text of one long call. Every `task` argument may be null. ---- */

/* A task serves one call at a time and may be used again after it. */
DUO_API int32_t duo_task_open(duo_task_t **task);
/* Ask the call that holds the task to stop; it returns DUO_STATUS_ABORTED within 100 ms. From any thread. Stays set until duo_task_reset. */
DUO_API int32_t duo_task_abort(duo_task_t *task);
/* Clear abort, progress and error text. */
DUO_API int32_t duo_task_reset(duo_task_t *task);
/* Work done and in all, in units of the call; total 0 before it is known. From any thread.   done, total [1] int64, written */
DUO_API int32_t duo_task_progress(duo_task_t *task, int64_t *done, int64_t *total);
/* Text of the failure of the last call that held the task.   text [text_bytes] char, written, cut to fit, ended by 0 */
DUO_API int32_t duo_task_error(duo_task_t *task, char *text, int64_t text_bytes);
DUO_API int32_t duo_task_close(duo_task_t *task);

/* ---- Models ---- */

/* Open a model from safetensors shards or GGUF files, which are memory-mapped and stay mapped: no second copy on the CPU; uploaded on CUDA.
 *   shard_paths [num_shards] pointers to UTF-8 paths, read. Every header is parsed and each tensor that config implies is found once,
 *   with its shape, as F32, F16 or BF16, inside the file, under its Hugging Face name (model.embed_tokens.weight … lm_head.weight).
 * A GGUF file (known by its first bytes; the parts of a split one in their order) also has Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K … Q6_K, which stay
 * in blocks on the CPU. On CUDA with DUO_DTYPE_STORED their values stay in groups of 4 bits (Q4_0, Q4_1, Q4_K) or 8 (the others) with fp16 scales, to
 * which products of a K-quant's two scales are rounded; with _BF16 they become bf16. Rows of q and k that architecture `llama` keeps in pairs are copied in the order of
 * Hugging Face; `rope_freqs.weight` divides the inverse frequencies and needs DUO_ROPE_NONE.
 *   device "cpu" (best instruction set), "cpu:plain" (reference loops), "cpu:avx2", "cpu:avx512", "cuda:<n>"
 *   num_threads 1 … 256, 0 = one for each CPU the process may use; ignored on CUDA
 *   weight_dtype DUO_DTYPE_STORED, or on CUDA _BF16, _INT8 or _INT4      compute DUO_COMPUTE_…
 *   weights_on DUO_WEIGHTS_…, other than AUTO on CUDA only      for AUTO on CUDA, what comes next: next_pass DUO_PASS_…, the most demanding;
 *   pass_tokens ≥ 0, of the longest; beside_bytes ≥ 0, further device memory, such as KV caches
 *   model [1], written
 * A model whose weights are streamed computes one call at a time; others wait for their turn. Its decode steps copy all layers each.
 * Returns DUO_STATUS_FILE, _FORMAT, _SHAPE (names shard, tensor, expected, found), _NUMERIC (a weight is NaN or infinite; names tensor and
 * index), _ARGUMENT (config field), _UNSUPPORTED, _MEMORY, _CUDA. */
DUO_API int32_t duo_model_open(const duo_model_config_t *config, const char *const *shard_paths, int32_t num_shards, const char *device,
                               int32_t num_threads, int32_t weight_dtype, int32_t compute, int32_t weights_on, int32_t next_pass,
                               int64_t pass_tokens, int64_t beside_bytes, duo_task_t *task, duo_model_t **model);

/* Open a model of random weights (normal, scaled to keep activations near 1; norms 1, biases 0), for benches of named shapes.
 *   weight_dtype DUO_DTYPE_F32 or _BF16 (CUDA also _INT8, _INT4)      seed any. The same weights on every device. Memory: all weights, allocated.
 *   weights_on, next_pass, pass_tokens, beside_bytes as in duo_model_open
 *   distinct_layers 1 … L, 0 = all: layer n has the weights of layer n mod distinct_layers, held once on the host, so that a shape is timed that the host
 *   does not hold. */
DUO_API int32_t duo_model_open_random(const duo_model_config_t *config, uint64_t seed, const char *device, int32_t num_threads,
                                      int32_t weight_dtype, int32_t compute, int32_t weights_on, int32_t next_pass, int64_t pass_tokens,
                                      int64_t beside_bytes, int32_t distinct_layers, duo_task_t *task, duo_model_t **model);

/* Close the handle. Memory goes when the last session of the model is closed and the last running call has returned. */
DUO_API int32_t duo_model_close(duo_model_t *model);

/* What computes, for run.json: such as "cpu avx512" or "cuda:0 NVIDIA H200 sm_90".   text [text_bytes] char, written, cut to fit, ended by 0 */
DUO_API int32_t duo_model_device(duo_model_t *model, char *text, int64_t text_bytes);

/* Bytes held.   weight_bytes [1] int64, written, mapped or allocated weights      workspace_bytes [1] int64, written, scratch kept between calls */
DUO_API int32_t duo_model_memory(duo_model_t *model, int64_t *weight_bytes, int64_t *workspace_bytes);

/* Of weights that are streamed (DUO_WEIGHTS_HOST, or AUTO's choice); all 0 of others.
 *   pass_bytes [1] int64, written, copied by one pass through all layers      pinned_bytes [1] int64, written, of host memory
 *   device_bytes [1] int64, written, of weights in device memory: embeddings, LM head, norms, biases, two layers
 *   copied_bytes [1] int64, written, to the device so far */
DUO_API int32_t duo_model_streamed(duo_model_t *model, int64_t *pass_bytes, int64_t *pinned_bytes, int64_t *device_bytes, int64_t *copied_bytes);

/* Expected cost of one duo_distill at num_tokens tokens with num_positions supervised positions.
 *   windows [L, G] int64, read: the streaming branch of each KV head, 0 = the whole context, w ≥ 1 = the w nearest tokens      sink_tokens ≥ 0
 *   memory_bytes [1] int64, written, beyond the weights      operations [1] double, written, floating-point operations */
DUO_API int32_t duo_distill_estimate(duo_model_t *model, int64_t num_tokens, int64_t num_positions, const int64_t *windows,
                                     int64_t sink_tokens, int64_t *memory_bytes, double *operations);

/* ---- Whole-sample operations. Common arguments:
 *   tokens [num_tokens] int32, read, ids 0 … V−1; num_tokens ≥ 1
 *   positions [num_positions] int32, read, 0 … T−1, strictly ascending; num_positions ≥ 1
 *   gates [L, G] fp32, read, finite, 0 … 1, out = gate·full + (1−gate)·streaming; null = every head full (windows are then ignored)
 *   windows [L, G] int64, read: of each head's streaming branch, w ≥ 1 = the w nearest tokens, the query's own included, 0 = the whole context;
 *           null only with gates null      sink_tokens ≥ 0, first tokens that every branch sees (docs/semantics.md, 1)
 * Errors: DUO_STATUS_NULL, _ARGUMENT, _SHAPE, _MEMORY, _NUMERIC (a result is not finite), _ABORTED, _HANDLE, _CUDA.
 * Dynamic rope scaling takes its base from num_tokens. ---- */

/* Distillation loss and its gradient with respect to the gates (docs/semantics.md, 2 and 3; arXiv 2410.10819, section 2.3).
 * loss = mean over positions of the mean over C of (teacher − student)² after the final norm, teacher = all heads full; with DUO_DISTILL_KL the mean
 * over positions of KL(teacher's next-token distribution ‖ student's), natural logarithm.
 *   gates as above, required      flags DUO_DISTILL_…
 *   loss [1] double, written      gradient [L, G] fp32, written, without the penalty
 * Memory: layer inputs [L, T, C] and the working set of one layer. Progress: layers passed. */
DUO_API int32_t duo_distill(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions, int64_t num_positions,
                            const float *gates, const int64_t *windows, int64_t sink_tokens, int32_t flags, duo_task_t *task, double *loss,
                            float *gradient);

/* Log-probability of given next tokens, and the greedy prediction, from the true prefix.
 *   targets [num_positions] int32, read: the token expected after positions[i]
 *   log_probs [num_positions] fp32, written, natural log      predictions [num_positions] int32, written, argmax, lowest id on a tie */
DUO_API int32_t duo_evaluate(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions,
                             const int32_t *targets, int64_t num_positions, const float *gates, const int64_t *windows, int64_t sink_tokens,
                             duo_task_t *task, float *log_probs, int32_t *predictions);

/* Hidden states after the final norm.   hidden [num_positions, C] fp32, written */
DUO_API int32_t duo_hidden(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions, int64_t num_positions,
                           const float *gates, const int64_t *windows, int64_t sink_tokens, duo_task_t *task, float *hidden);

/* Logits.   logits [num_positions, V] fp32, written */
DUO_API int32_t duo_logits(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions, int64_t num_positions,
                           const float *gates, const int64_t *windows, int64_t sink_tokens, duo_task_t *task, float *logits);

/* What changing one gate does to the final hidden states: for each KV head i = layer·G + head of [head_begin, head_end),
 * differences[i − head_begin] = h(base_gates) − h(base_gates with gate i set to probe_gates[i]).
 *   base_gates, probe_gates [L, G] fp32, read, finite, 0 … 1 (a finite step: base 1, probe 0; a tangent: probe = base − ε, divided by ε by the caller)
 *   differences [head_end − head_begin, num_positions, C] fp32, written; zeros, without computing, where both gates are equal
 * The layers below the first probed head's are computed once per call, so ask for heads of few layers at a time. Progress: heads done. */
DUO_API int32_t duo_probe(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions, int64_t num_positions,
                          const float *base_gates, const float *probe_gates, int32_t head_begin, int32_t head_end,
                          const int64_t *windows, int64_t sink_tokens, duo_task_t *task, float *differences);

/* What closing each KV head to each of several windows would do to the final hidden states, seen through vectors over them, around a mask:
 * products[d, i, w] = ⟨vectors[d], ∂h/∂(gate i)⟩ with window w in gate i's streaming branch, i = layer·G + head: the inner product with
 * h(mask) − h(gate i lowered by ε), divided by ε, for small ε; 0 for heads that stream in the mask.
 *   base_gates [L, G] fp32, read, each 0 or 1      base_windows [L, G] int64, read: of the heads whose gate is 0; 0 = the whole context
 *   vectors [num_vectors, num_positions, C] fp32, read, finite      windows [num_windows] int64, read, ≥ 1, recent tokens      sink_tokens ≥ 0
 *   products [num_vectors, L, G, num_windows] fp32, written
 * One forward pass, and one backward pass a vector for all heads and windows. On CUDA outputs under windows come from f16 products and a float32 stream,
 * gradients from bf16 products; the inputs of all layers stay on the device, 4·T·C bytes each.
 * Progress: layers of the forward pass and of each backward pass. */
DUO_API int32_t duo_sketch(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions, int64_t num_positions,
                           const float *base_gates, const int64_t *base_windows, const float *vectors, int64_t num_vectors,
                           const int64_t *windows, int64_t num_windows, int64_t sink_tokens, duo_task_t *task, float *products);

/* Features of changes of the final hidden states whose inner products are, to second order, those of the KL divergence of next-token distributions:
 * for a small change δ, |features(δ)|² of a position = ½ Σ p_v (δz_v − Σ p δz)² ≈ KL(p ‖ p') in nats, δz the change of the logits, p the reference's distribution.
 * With an anchor p gives way to its mean on the straight way to the anchor's logits (weights 2(1 − t)), and squared lengths are scaled so that the change to the
 * anchor has its true divergence: where the model is sure of a token, the curvature at p alone says nothing of large changes.
 * K = min(DUO_KL_TOKENS, V) + 1: one feature for each of the likeliest tokens, and one for all others together, by their mean. Linear in δ.
 * Computed on the model's device: on the CPU in fp32 from the weights as stored, on CUDA with fp32 sums from the f16 weights that measurements take, a few rows of
 * logits and 128 MB of changes and features at a time; the same bits for any number of either.
 *   reference [num_positions, C] fp32, read: hidden states after the final norm, as duo_hidden gives them      anchor the same, or null
 *   changes [num_changes, num_positions, C] fp32, read
 *   features [num_changes, num_positions, K] fp32, written */
DUO_API int32_t duo_kl_features(duo_model_t *model, const float *reference, const float *anchor, int64_t num_positions, const float *changes,
                                int64_t num_changes, duo_task_t *task, float *features);

/* The transpose of duo_kl_features: vectors over hidden states whose inner product with any change is that of the given ones with its features.
 *   vectors [num_vectors, num_positions, K] fp32, read      hidden_vectors [num_vectors, num_positions, C] fp32, written */
DUO_API int32_t duo_kl_vectors(duo_model_t *model, const float *reference, const float *anchor, int64_t num_positions, const float *vectors,
                               int64_t num_vectors, duo_task_t *task, float *hidden_vectors);

/* What heads attend to under full attention, and their mean queries and keys: one forward pass, no T×T matrix.
 *   key_ranges [num_positions, 2] int32, read: keys [begin, end), 0 ≤ begin ≤ end ≤ num_tokens, of each position
 *   masses [num_positions, L, H] fp32, written: the attention that head h pays at positions[i] to the keys of its range (keys after it have none)
 *   top_keys [num_positions, L, H] int32, written: the key it attends to most, the first on a tie
 *   mean_queries [L, H, D] fp32, mean_keys [L, G, D] fp32, written: after Q/K norm and before RoPE, means over tokens 0 … the last position
 * Results may be null: key_ranges, masses and top_keys together, mean_queries and mean_keys together, not all. On CUDA operands are f16, sums fp32 and
 * fp64. Progress: layers. Memory: the working set of a forward pass. Deterministic. */
DUO_API int32_t duo_attention(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions, int64_t num_positions,
                              const int32_t *key_ranges, duo_task_t *task, float *masses, int32_t *top_keys, float *mean_queries, float *mean_keys);

/* One block of a Gram matrix: gram[r, c] += scale · ⟨a_r, b_c⟩, summed in fp64 in a fixed order, on the model's device: the same bits on all.
 *   a [num_a, length] fp32, read, num_a ≤ 2^19      b [num_b, length] fp32, read; may be a      scale finite
 *   gram [num_a, num_b] double, read and written; rows lie gram_stride elements apart, gram_stride ≥ num_b
 * On CUDA a and b are copied to the device for the call. */
DUO_API int32_t duo_gram(duo_model_t *model, const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length, double scale,
                         duo_task_t *task, double *gram, int64_t gram_stride);

/* ---- Sessions: one running text with its KV cache. Calls on one session are serialised by the library. ---- */

/* Open an empty session.
 *   windows [L, G] int64, read: 0 = retrieval, the whole context (max_tokens slots), w ≥ 1 = streaming, the w nearest tokens
 *           (min(max_tokens, S+w) slots); null = every head full
 *   sink_tokens ≥ 0 (ignored when windows is null)      max_tokens ≥ 1, prompt and generated
 *   kv_dtype DUO_DTYPE_F32, _BF16, _INT8, _FP8, _INT4, _K8V4      kv_rotation DUO_KV_ROTATION_…, of no effect on F32 and BF16      prefill DUO_PREFILL_…
 *   chunk_tokens ≥ 1, tokens of one internal prefill chunk, 0 = the library chooses
 *   session [1], written
 * Keys are cached after RoPE at absolute positions; dynamic rope scaling takes its base from max_tokens.
 * Returns DUO_STATUS_ARGUMENT, _UNSUPPORTED (kv_dtype), _MEMORY, _HANDLE, _CUDA. */
DUO_API int32_t duo_session_open(duo_model_t *model, const int64_t *windows, int64_t sink_tokens, int64_t max_tokens,
                                 int32_t kv_dtype, int32_t kv_rotation, int32_t prefill, int64_t chunk_tokens, duo_task_t *task,
                                 duo_session_t **session);

/* Feed tokens; afterwards logits are those after the last one. May be called again: the text continues.
 *   tokens [num_tokens] int32, read, num_tokens ≥ 1, length + num_tokens ≤ max_tokens. Progress: tokens done.
 * An aborted or failed prefill leaves the session with the chunks that were finished. */
DUO_API int32_t duo_session_prefill(duo_session_t *session, const int32_t *tokens, int64_t num_tokens, duo_task_t *task);

/* Feed one token; equals a prefill of one. */
DUO_API int32_t duo_session_decode(duo_session_t *session, int32_t token, duo_task_t *task);

/* Feed one token to each of several different sessions of one model in one pass over the weights; each equals its own duo_session_decode
 * within rounding. On CUDA a pass takes up to 64 neighbours of one kv_dtype and rotation; more are fed in several.
 *   sessions [num_sessions] handles, read      tokens [num_sessions] int32, read */
DUO_API int32_t duo_session_decode_batch(duo_session_t *const *sessions, const int32_t *tokens, int32_t num_sessions, duo_task_t *task);

/* Logits after the last token fed.   logits [num_logits] fp32, written; num_logits = V.   DUO_STATUS_ARGUMENT before any token. */
DUO_API int32_t duo_session_logits(duo_session_t *session, float *logits, int64_t num_logits);

/* Draw a token from the logits; the session is not changed.
 *   temperature ≥ 0; 0 = greedy, lowest id on a tie      top_k ≥ 1, 0 = all      top_p 0 < p ≤ 1; 1 = all (k cuts before p)
 *   seed any: the draw is a function of seed, the session's length and the logits      token [1] int32, written */
DUO_API int32_t duo_session_sample(duo_session_t *session, float temperature, int32_t top_k, float top_p, uint64_t seed, int32_t *token);

/* Sample as duo_session_sample and feed, again and again, without coming back to the caller.
 *   stop_tokens [num_stop_tokens] int32, read, may be null when 0: a drawn stop token is written, not fed, and ends the call
 *   tokens [num_tokens] int32, written      num_generated [1] int64, written, ≤ num_tokens. Progress: tokens done.
 * The last token is fed too (unless a stop token), so a further call continues the text. */
DUO_API int32_t duo_session_generate(duo_session_t *session, int64_t num_tokens, float temperature, int32_t top_k, float top_p,
                                     uint64_t seed, const int32_t *stop_tokens, int32_t num_stop_tokens, duo_task_t *task, int32_t *tokens,
                                     int64_t *num_generated);

/* An independent session with the same state; cost: a copy of the KV cache, on CUDA of its rings alone: pages are shared until one of both writes to
 * one.   forked [1], written */
DUO_API int32_t duo_session_fork(duo_session_t *session, duo_task_t *task, duo_session_t **forked);

/* Tokens fed so far.   length [1] int64, written */
DUO_API int32_t duo_session_length(duo_session_t *session, int64_t *length);

/* Bytes of the session once it holds max_tokens. On CUDA a retrieval head takes them as its text grows, see duo_session_held.
 *   kv_bytes [1] int64, written: (2·D·bytes + scale bytes)·slots, summed over heads: max_tokens of a retrieval head, min(max_tokens, S+w) of a streaming one
 *   full_kv_bytes [1] int64, written: the same with every head full
 *   workspace_bytes [1] int64, written: activations and scratch, but for what sessions of a model share, which duo_model_memory counts */
DUO_API int32_t duo_session_memory(duo_session_t *session, int64_t *kv_bytes, int64_t *full_kv_bytes, int64_t *workspace_bytes);

/* What the session holds now. On CUDA a retrieval head's slots are pages of 256, taken when a text reaches them and given back when its session closes;
 * a call that finds no memory for its pages returns DUO_STATUS_MEMORY before anything is fed, and the session stays as it was.
 *   kv_bytes [1] int64, written: of all slots that are there      shared_bytes [1] int64, written: of these, in pages that forks have too
 *   room_tokens [1] int64, written: tokens that could be fed now, up to max_tokens, with a prefill's activations set aside; others may take them first */
DUO_API int32_t duo_session_held(duo_session_t *session, int64_t *kv_bytes, int64_t *shared_bytes, int64_t *room_tokens);

/* For benches: set the length and fill every cached key and value with seeded random numbers of unit scale, as if `length` tokens
 * had been fed; logits are then invalid until the next token.   length 0 … max_tokens */
DUO_API int32_t duo_session_fill(duo_session_t *session, int64_t length, uint64_t seed, duo_task_t *task);

DUO_API int32_t duo_session_close(duo_session_t *session);

#ifdef __cplusplus
}
#endif
#endif

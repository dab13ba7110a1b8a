// The mirror of kernels/include/duo.h, one to one: codes, the model's struct, and every function with its arguments.
// A test parses both files and fails on drift. Types are the header's, except that handles are named for what they are.

/** DUO_ABI_VERSION this mirror was written for. */
export const ABI_VERSION = 6;

/** DUO_STATUS_… */
export const STATUS = {
  OK: 0,
  NULL: 1,
  ARGUMENT: 2,
  SHAPE: 3,
  UNSUPPORTED: 4,
  FILE: 5,
  FORMAT: 6,
  MEMORY: 7,
  CUDA: 8,
  ABORTED: 9,
  HANDLE: 10,
  NUMERIC: 11,
  INTERNAL: 12,
} as const;

/** DUO_DTYPE_… */
export const DTYPE = { STORED: -1, F32: 0, F16: 1, BF16: 2, INT8: 3, FP8: 4, INT4: 5, K8V4: 6 } as const;

/** DUO_ROPE_… */
export const ROPE = { NONE: 0, LINEAR: 1, DYNAMIC: 2, LLAMA3: 3, YARN: 4 } as const;

/** DUO_KV_ROTATION_… */
export const KV_ROTATION = { OFF: 0, ON: 1 } as const;

/** DUO_COMPUTE_… */
export const COMPUTE = { ACCURATE: 0, BF16: 1, INT8: 2 } as const;

/** DUO_WEIGHTS_… */
export const WEIGHTS = { AUTO: 0, DEVICE: 1, HOST: 2 } as const;

/** DUO_PASS_… */
export const PASS = { NONE: 0, FORWARD: 1, DISTILL: 2, MEASURE: 3 } as const;

/** DUO_DISTILL_… */
export const DISTILL = { DEFAULT: 0, TEACHER_BRANCH: 1, KL: 2 } as const;

/** DUO_KL_… */
export const KL = { TOKENS: 255 } as const;

/** DUO_PREFILL_… */
export const PREFILL = { EXACT: 0, CHUNKED: 1 } as const;

/** DUO_MEASURE_… */
export const MEASURE = {
  READ_BANDWIDTH: 0,
  COPY_BANDWIDTH: 1,
  MATMUL_F32: 2,
  MATMUL_BF16: 3,
  FREE_MEMORY: 4,
  UPLOAD_BANDWIDTH: 5,
} as const;

/** Fields of duo_model_config_t in memory order; all are naturally aligned without gaps. */
export const MODEL_CONFIG_FIELDS = {
  struct_bytes: 'int64_t',
  rms_norm_eps: 'double',
  rope_theta: 'double',
  rope_factor: 'double',
  rope_low_freq_factor: 'double',
  rope_high_freq_factor: 'double',
  rope_beta_fast: 'double',
  rope_beta_slow: 'double',
  rope_attention_factor: 'double',
  rope_original_max_positions: 'int64_t',
  max_positions: 'int64_t',
  layers: 'int32_t',
  heads: 'int32_t',
  kv_heads: 'int32_t',
  head_dim: 'int32_t',
  hidden: 'int32_t',
  intermediate: 'int32_t',
  vocab: 'int32_t',
  rope_type: 'int32_t',
  rope_truncate: 'int32_t',
  tied_embeddings: 'int32_t',
  qkv_bias: 'int32_t',
  output_bias: 'int32_t',
  mlp_bias: 'int32_t',
  qk_norm: 'int32_t',
} as const;

/** Values of every field but `struct_bytes`. */
export type ModelConfigValues = Record<Exclude<keyof typeof MODEL_CONFIG_FIELDS, 'struct_bytes'>, number>;

/** Result type, then `[type, name]` of each argument. */
export interface FunctionMirror {
  readonly result: string;
  readonly parameters: readonly (readonly [type: string, name: string])[];
}

function mirror(result: string, ...parameters: [type: string, name: string][]): FunctionMirror {
  return { result, parameters };
}

const TASK: [string, string] = ['duo_task_t *', 'task'];
const MODEL: [string, string] = ['duo_model_t *', 'model'];
const SESSION: [string, string] = ['duo_session_t *', 'session'];
const PASSAGE: [string, string][] = [
  ['const int32_t *', 'tokens'],
  ['int64_t', 'num_tokens'],
  ['const int32_t *', 'positions'],
  ['int64_t', 'num_positions'],
];
const WINDOWS: [string, string][] = [
  ['const int64_t *', 'windows'],
  ['int64_t', 'sink_tokens'],
];
const REFERENCE: [string, string][] = [
  ['const float *', 'reference'],
  ['const float *', 'anchor'],
  ['int64_t', 'num_positions'],
];
const GATES: [string, string] = ['const float *', 'gates'];
const DEVICE: [string, string][] = [
  ['const char *', 'device'],
  ['int32_t', 'num_threads'],
];
const STORAGE: [string, string][] = [
  ['int32_t', 'weight_dtype'],
  ['int32_t', 'compute'],
];
const PLACEMENT: [string, string][] = [
  ['int32_t', 'weights_on'],
  ['int32_t', 'next_pass'],
  ['int64_t', 'pass_tokens'],
  ['int64_t', 'beside_bytes'],
];
const SAMPLING: [string, string][] = [
  ['float', 'temperature'],
  ['int32_t', 'top_k'],
  ['float', 'top_p'],
  ['uint64_t', 'seed'],
];

/** Every function of the header, in its order. */
export const FUNCTIONS = {
  duo_abi_version: mirror('int32_t'),
  duo_last_error: mirror('const char *'),
  duo_device_count: mirror('int32_t', ['int32_t *', 'num_devices']),
  duo_device_describe: mirror('int32_t', ['int32_t', 'device_index'], ['char *', 'json'], ['int64_t', 'json_bytes']),
  duo_device_measure: mirror('int32_t', ...DEVICE, ['int32_t', 'measure'], TASK, ['double *', 'rate']),
  duo_task_open: mirror('int32_t', ['duo_task_t **', 'task']),
  duo_task_abort: mirror('int32_t', TASK),
  duo_task_reset: mirror('int32_t', TASK),
  duo_task_progress: mirror('int32_t', TASK, ['int64_t *', 'done'], ['int64_t *', 'total']),
  duo_task_error: mirror('int32_t', TASK, ['char *', 'text'], ['int64_t', 'text_bytes']),
  duo_task_close: mirror('int32_t', TASK),
  duo_model_open: mirror(
    'int32_t',
    ['const duo_model_config_t *', 'config'],
    ['const char *const *', 'shard_paths'],
    ['int32_t', 'num_shards'],
    ...DEVICE,
    ...STORAGE,
    ...PLACEMENT,
    TASK,
    ['duo_model_t **', 'model'],
  ),
  duo_model_open_random: mirror(
    'int32_t',
    ['const duo_model_config_t *', 'config'],
    ['uint64_t', 'seed'],
    ...DEVICE,
    ...STORAGE,
    ...PLACEMENT,
    ['int32_t', 'distinct_layers'],
    TASK,
    ['duo_model_t **', 'model'],
  ),
  duo_model_close: mirror('int32_t', MODEL),
  duo_model_device: mirror('int32_t', MODEL, ['char *', 'text'], ['int64_t', 'text_bytes']),
  duo_model_memory: mirror('int32_t', MODEL, ['int64_t *', 'weight_bytes'], ['int64_t *', 'workspace_bytes']),
  duo_model_streamed: mirror(
    'int32_t',
    MODEL,
    ['int64_t *', 'pass_bytes'],
    ['int64_t *', 'pinned_bytes'],
    ['int64_t *', 'device_bytes'],
    ['int64_t *', 'copied_bytes'],
  ),
  duo_distill_estimate: mirror(
    'int32_t',
    MODEL,
    ['int64_t', 'num_tokens'],
    ['int64_t', 'num_positions'],
    ['const int64_t *', 'windows'],
    ['int64_t', 'sink_tokens'],
    ['int64_t *', 'memory_bytes'],
    ['double *', 'operations'],
  ),
  duo_distill: mirror(
    'int32_t',
    MODEL,
    ...PASSAGE,
    GATES,
    ...WINDOWS,
    ['int32_t', 'flags'],
    TASK,
    ['double *', 'loss'],
    ['float *', 'gradient'],
  ),
  duo_evaluate: mirror(
    'int32_t',
    MODEL,
    ['const int32_t *', 'tokens'],
    ['int64_t', 'num_tokens'],
    ['const int32_t *', 'positions'],
    ['const int32_t *', 'targets'],
    ['int64_t', 'num_positions'],
    GATES,
    ...WINDOWS,
    TASK,
    ['float *', 'log_probs'],
    ['int32_t *', 'predictions'],
  ),
  duo_hidden: mirror('int32_t', MODEL, ...PASSAGE, GATES, ...WINDOWS, TASK, ['float *', 'hidden']),
  duo_logits: mirror('int32_t', MODEL, ...PASSAGE, GATES, ...WINDOWS, TASK, ['float *', 'logits']),
  duo_probe: mirror(
    'int32_t',
    MODEL,
    ...PASSAGE,
    ['const float *', 'base_gates'],
    ['const float *', 'probe_gates'],
    ['int32_t', 'head_begin'],
    ['int32_t', 'head_end'],
    ...WINDOWS,
    TASK,
    ['float *', 'differences'],
  ),
  duo_sketch: mirror(
    'int32_t',
    MODEL,
    ...PASSAGE,
    ['const float *', 'base_gates'],
    ['const int64_t *', 'base_windows'],
    ['const float *', 'vectors'],
    ['int64_t', 'num_vectors'],
    ['const int64_t *', 'windows'],
    ['int64_t', 'num_windows'],
    ['int64_t', 'sink_tokens'],
    TASK,
    ['float *', 'products'],
  ),
  duo_kl_features: mirror(
    'int32_t',
    MODEL,
    ...REFERENCE,
    ['const float *', 'changes'],
    ['int64_t', 'num_changes'],
    TASK,
    ['float *', 'features'],
  ),
  duo_kl_vectors: mirror(
    'int32_t',
    MODEL,
    ...REFERENCE,
    ['const float *', 'vectors'],
    ['int64_t', 'num_vectors'],
    TASK,
    ['float *', 'hidden_vectors'],
  ),
  duo_attention: mirror(
    'int32_t',
    MODEL,
    ...PASSAGE,
    ['const int32_t *', 'key_ranges'],
    TASK,
    ['float *', 'masses'],
    ['int32_t *', 'top_keys'],
    ['float *', 'mean_queries'],
    ['float *', 'mean_keys'],
  ),
  duo_gram: mirror(
    'int32_t',
    MODEL,
    ['const float *', 'a'],
    ['int64_t', 'num_a'],
    ['const float *', 'b'],
    ['int64_t', 'num_b'],
    ['int64_t', 'length'],
    ['double', 'scale'],
    TASK,
    ['double *', 'gram'],
    ['int64_t', 'gram_stride'],
  ),
  duo_session_open: mirror(
    'int32_t',
    MODEL,
    ...WINDOWS,
    ['int64_t', 'max_tokens'],
    ['int32_t', 'kv_dtype'],
    ['int32_t', 'kv_rotation'],
    ['int32_t', 'prefill'],
    ['int64_t', 'chunk_tokens'],
    TASK,
    ['duo_session_t **', 'session'],
  ),
  duo_session_prefill: mirror('int32_t', SESSION, ['const int32_t *', 'tokens'], ['int64_t', 'num_tokens'], TASK),
  duo_session_decode: mirror('int32_t', SESSION, ['int32_t', 'token'], TASK),
  duo_session_decode_batch: mirror(
    'int32_t',
    ['duo_session_t *const *', 'sessions'],
    ['const int32_t *', 'tokens'],
    ['int32_t', 'num_sessions'],
    TASK,
  ),
  duo_session_logits: mirror('int32_t', SESSION, ['float *', 'logits'], ['int64_t', 'num_logits']),
  duo_session_sample: mirror('int32_t', SESSION, ...SAMPLING, ['int32_t *', 'token']),
  duo_session_generate: mirror(
    'int32_t',
    SESSION,
    ['int64_t', 'num_tokens'],
    ...SAMPLING,
    ['const int32_t *', 'stop_tokens'],
    ['int32_t', 'num_stop_tokens'],
    TASK,
    ['int32_t *', 'tokens'],
    ['int64_t *', 'num_generated'],
  ),
  duo_session_fork: mirror('int32_t', SESSION, TASK, ['duo_session_t **', 'forked']),
  duo_session_length: mirror('int32_t', SESSION, ['int64_t *', 'length']),
  duo_session_memory: mirror(
    'int32_t',
    SESSION,
    ['int64_t *', 'kv_bytes'],
    ['int64_t *', 'full_kv_bytes'],
    ['int64_t *', 'workspace_bytes'],
  ),
  duo_session_held: mirror(
    'int32_t',
    SESSION,
    ['int64_t *', 'kv_bytes'],
    ['int64_t *', 'shared_bytes'],
    ['int64_t *', 'room_tokens'],
  ),
  duo_session_fill: mirror('int32_t', SESSION, ['int64_t', 'length'], ['uint64_t', 'seed'], TASK),
  duo_session_close: mirror('int32_t', SESSION),
} as const satisfies Record<string, FunctionMirror>;

export type FunctionName = keyof typeof FUNCTIONS;

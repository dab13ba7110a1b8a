// A model of the native library: open, whole-sample operations, close. Arrays go in and out; no pointer and no handle leaves src/native.
import { COMPUTE, DISTILL, DTYPE, KL, MODEL_CONFIG_FIELDS, type ModelConfigValues, PASS } from './abi.ts';
import { call, decodeText, runCall, TASK_ARGUMENT, type TaskOptions } from './call.ts';
import { NativeHandle } from './handle.ts';
import { WEIGHTS_ON, type WeightPlace } from './weight-place.ts';

export interface ModelOpenOptions extends TaskOptions {
  /** `cpu` (default), `cpu:plain`, `cpu:avx2`, `cpu:avx512`, `cuda:0` … */
  readonly device?: string | undefined;
  /** CPU threads; default one for each CPU the process may use */
  readonly threads?: number | undefined;
  readonly compute?: 'accurate' | 'bf16' | 'int8' | undefined;
  /** how the device holds the weights; default as stored (random: bf16) */
  readonly weightDtype?: keyof typeof WEIGHT_DTYPES | undefined;
  /** CUDA only: where the weights of the layers are; default `auto`: on the device where they fit together with what `next` needs */
  readonly weightsOn?: WeightPlace | undefined;
  /** for `auto`: the most demanding pass to come */
  readonly next?: NextPass | undefined;
}

/** What a device must hold in addition to weights. */
export interface NextPass {
  /** `none`: sessions only; `forward`: scores; `distill`: steps of the gates; `measure`: probes and sketches */
  readonly pass: keyof typeof PASSES;
  /** of the longest one */
  readonly tokens: number;
  /** further device memory, such as KV caches */
  readonly besideBytes?: number | undefined;
}

/** Of weights that are streamed from pinned host memory, in bytes. */
export interface StreamedWeights {
  /** copied by one pass through all layers */
  readonly passBytes: number;
  /** of host memory */
  readonly pinnedBytes: number;
  /** of weights in device memory meanwhile */
  readonly deviceBytes: number;
  /** to the device so far */
  readonly copiedBytes: number;
}

/** Where a sample is looked at, and through which heads. */
export interface Passage {
  /** `[T]` */
  readonly tokens: Int32Array;
  /** ascending, 0 … T−1 */
  readonly positions: Int32Array;
  /** `[L·G]`, 0 … 1; null = every head full */
  readonly gates: Float32Array | null;
  /** `[L·G]`, of the streaming branches: 0 = the whole context, w = the w nearest tokens; null with `gates` null */
  readonly windows: BigInt64Array | null;
  readonly sinkTokens: number;
}

const WEIGHT_DTYPES = { f32: DTYPE.F32, bf16: DTYPE.BF16, int8: DTYPE.INT8, int4: DTYPE.INT4 } as const;
const COMPUTES = { accurate: COMPUTE.ACCURATE, bf16: COMPUTE.BF16, int8: COMPUTE.INT8 } as const;
const PASSES = { none: PASS.NONE, forward: PASS.FORWARD, distill: PASS.DISTILL, measure: PASS.MEASURE } as const;
const DEVICE_BYTES = 256;

/** An open model. Not usable after close; its sessions stay usable. */
export class NativeModel {
  readonly handle: NativeHandle<'model'>;
  readonly config: ModelConfigValues;
  /** what computes, such as `cpu avx512` */
  readonly device: string;

  constructor(id: bigint, config: ModelConfigValues) {
    this.handle = new NativeHandle('model', id);
    this.config = config;
    const text = new Uint8Array(DEVICE_BYTES);
    call('duo_model_device', id, text, DEVICE_BYTES);
    this.device = decodeText(text);
  }

  /** Bytes of weights mapped or allocated, and of scratch kept between calls. */
  memory(): { weightBytes: number; workspaceBytes: number } {
    const weightBytes = new BigInt64Array(1);
    const workspaceBytes = new BigInt64Array(1);
    call('duo_model_memory', this.handle.id, weightBytes, workspaceBytes);
    return { weightBytes: Number(weightBytes[0]), workspaceBytes: Number(workspaceBytes[0]) };
  }

  /** Null where the device has all weights. */
  streamed(): StreamedWeights | null {
    const counts = Array.from({ length: 4 }, () => new BigInt64Array(1));
    call('duo_model_streamed', this.handle.id, ...counts);
    const [passBytes, pinnedBytes, deviceBytes, copiedBytes] = counts.map((count) => Number(count[0])) as [
      number,
      number,
      number,
      number,
    ];
    return passBytes === 0 ? null : { passBytes, pinnedBytes, deviceBytes, copiedBytes };
  }

  /** Memory beyond the weights and operations of a distillation step.  @param size.windows `[L·G]`, 0 = the whole context. */
  estimate(size: { tokens: number; positions: number; windows: BigInt64Array; sinkTokens: number }): {
    memoryBytes: number;
    operations: number;
  } {
    const memoryBytes = new BigInt64Array(1);
    const operations = new Float64Array(1);
    const { tokens, positions, windows, sinkTokens } = size;
    call('duo_distill_estimate', this.handle.id, tokens, positions, windows, sinkTokens, memoryBytes, operations);
    return { memoryBytes: Number(memoryBytes[0]), operations: operations[0] as number };
  }

  /** Loss and its gradient `[L·G]` with respect to the gates, which are required. */
  async distill(
    passage: Passage,
    options: TaskOptions & {
      fullBranch?: 'student' | 'teacher' | undefined;
      distance?: 'hidden' | 'kl' | undefined;
    } = {},
  ): Promise<{ loss: number; gradient: Float32Array }> {
    const loss = new Float64Array(1);
    const gradient = new Float32Array(this.#numGates);
    const branch = options.fullBranch === 'teacher' ? DISTILL.TEACHER_BRANCH : DISTILL.DEFAULT;
    const flags = branch | (options.distance === 'kl' ? DISTILL.KL : DISTILL.DEFAULT);
    await runCall('duo_distill', [...this.#lead(passage), flags, TASK_ARGUMENT, loss, gradient], options);
    return { loss: loss[0] as number, gradient };
  }

  /** Natural-log probability of each target, the token expected after its position, and the greedy predictions. */
  async evaluate(
    passage: Passage,
    targets: Int32Array,
    options: TaskOptions = {},
  ): Promise<{ logProbs: Float32Array; predictions: Int32Array }> {
    const { tokens, positions, gates, windows, sinkTokens } = passage;
    const logProbs = new Float32Array(positions.length);
    const predictions = new Int32Array(positions.length);
    const sample = [tokens, tokens.length, positions, targets, positions.length, gates, windows, sinkTokens];
    await runCall('duo_evaluate', [this.handle.id, ...sample, TASK_ARGUMENT, logProbs, predictions], options);
    return { logProbs, predictions };
  }

  /** Hidden states after the final norm, `[P, C]`. */
  async hidden(passage: Passage, options: TaskOptions = {}): Promise<Float32Array> {
    const hidden = new Float32Array(passage.positions.length * this.config.hidden);
    await runCall('duo_hidden', [...this.#lead(passage), TASK_ARGUMENT, hidden], options);
    return hidden;
  }

  /** `[P, V]` */
  async logits(passage: Passage, options: TaskOptions = {}): Promise<Float32Array> {
    const logits = new Float32Array(passage.positions.length * this.config.vocab);
    await runCall('duo_logits', [...this.#lead(passage), TASK_ARGUMENT, logits], options);
    return logits;
  }

  /** What each head of [begin, end) (layer·G + head) does alone: h(gates) − h(gates with that head's gate from `probeGates`).
   * @param passage gates are the base, required.  @returns `[end − begin, P, C]`. */
  async probe(
    passage: Passage,
    heads: { probeGates: Float32Array; begin: number; end: number },
    options: TaskOptions = {},
  ): Promise<Float32Array> {
    const { tokens, positions, gates, windows, sinkTokens } = passage;
    const { probeGates, begin, end } = heads;
    const differences = new Float32Array((end - begin) * positions.length * this.config.hidden);
    const sample = [tokens, tokens.length, positions, positions.length, gates, probeGates, begin, end];
    const values = [this.handle.id, ...sample, windows, sinkTokens, TASK_ARGUMENT, differences];
    await runCall('duo_probe', values, options);
    return differences;
  }

  /** Inner products of vectors over the hidden states with the derivative of closing each head to each window.
   * @param passage gates, each 0 or 1, are the base, required.  @param vectors `[m, P, C]`.  @returns `[m, L·G, windows]`. @throws {NativeError}. */
  async sketch(
    passage: Passage,
    request: { vectors: Float32Array; windows: readonly number[]; sinkTokens: number },
    options: TaskOptions = {},
  ): Promise<Float32Array> {
    const { tokens, positions, gates, windows: base } = passage;
    const { vectors, windows, sinkTokens } = request;
    const numVectors = vectors.length / (positions.length * this.config.hidden);
    const products = new Float32Array(numVectors * this.#numGates * windows.length);
    const sizes = BigInt64Array.from(windows, BigInt);
    const sample = [tokens, tokens.length, positions, positions.length, gates, base, vectors, numVectors];
    const values = [this.handle.id, ...sample, sizes, windows.length, sinkTokens, TASK_ARGUMENT, products];
    await runCall('duo_sketch', values, options);
    return products;
  }

  /** scale · ⟨aᵢ, bⱼ⟩ of all rows, summed in fp64 in a fixed order: the same bits on every device, for any number of threads.
   * @param a `[numA, length]` and @param b `[numB, length]` fp32, row-major.  @returns `[numA, numB]`. */
  async multiplyGram(
    a: Float32Array,
    b: Float32Array,
    options: { readonly length: number; readonly scale: number },
  ): Promise<Float64Array> {
    const { length, scale } = options;
    const numA = a.length / length;
    const numB = b.length / length;
    const gram = new Float64Array(numA * numB);
    await runCall('duo_gram', [this.handle.id, a, numA, b, numB, length, scale, TASK_ARGUMENT, gram, numB]);
    return gram;
  }

  /** Features of changes of the hidden states whose squared lengths are KL divergences of next-token distributions, to second order.
   * @param options.anchor `[P, C]`, hidden states towards which large changes are taken to lead.
   * @param reference `[P, C]`, hidden states of the distributions.  @param changes `[n, P, C]`.
   * @returns `[n, P, K]`, K = `numKlFeatures`. */
  async klFeatures(
    reference: Float32Array,
    changes: Float32Array,
    options: TaskOptions & { anchor?: Float32Array | undefined } = {},
  ): Promise<Float32Array> {
    const positions = reference.length / this.config.hidden;
    const count = changes.length / reference.length;
    const features = new Float32Array(count * positions * this.numKlFeatures);
    const given = [reference, options.anchor ?? null, positions, changes, count];
    await runCall('duo_kl_features', [this.handle.id, ...given, TASK_ARGUMENT, features], options);
    return features;
  }

  /** Its transpose. @param vectors `[n, P, K]` over the features.  @returns `[n, P, C]` over the hidden states. */
  async klVectors(
    reference: Float32Array,
    vectors: Float32Array,
    options: TaskOptions & { anchor?: Float32Array | undefined } = {},
  ): Promise<Float32Array> {
    const positions = reference.length / this.config.hidden;
    const count = vectors.length / (positions * this.numKlFeatures);
    const hidden = new Float32Array(count * reference.length);
    const given = [reference, options.anchor ?? null, positions, vectors, count];
    await runCall('duo_kl_vectors', [this.handle.id, ...given, TASK_ARGUMENT, hidden], options);
    return hidden;
  }

  /** Features of a position: of each of the likeliest tokens, and of the others together. */
  get numKlFeatures(): number {
    return Math.min(KL.TOKENS, this.config.vocab) + 1;
  }

  /** At each position and query head under full attention: the mass on the keys of the position's range, and the key of the most.
   * @param passage its gates are not looked at.  @param keyRanges `[P, 2]`: begin, end.  @returns both `[P, L, H]`. @throws {NativeError}. */
  async attention(
    { tokens, positions }: Pick<Passage, 'tokens' | 'positions'>,
    keyRanges: Int32Array,
    options: TaskOptions = {},
  ): Promise<{ masses: Float32Array; topKeys: Int32Array }> {
    const count = positions.length * this.config.layers * this.config.heads;
    const [masses, topKeys] = [new Float32Array(count), new Int32Array(count)];
    const sample = [this.handle.id, tokens, tokens.length, positions, positions.length];
    await runCall('duo_attention', [...sample, keyRanges, TASK_ARGUMENT, masses, topKeys, null, null], options);
    return { masses, topKeys };
  }

  /** Mean queries `[L, H, D]` and keys `[L, G, D]` over tokens, after Q/K norm and before RoPE. @throws {NativeError}. */
  async meanHeads(
    tokens: Int32Array,
    options: TaskOptions = {},
  ): Promise<{ queries: Float32Array; keys: Float32Array }> {
    const { layers, heads, kv_heads: kvHeads, head_dim: headDim } = this.config;
    const queries = new Float32Array(layers * heads * headDim);
    const keys = new Float32Array(layers * kvHeads * headDim);
    const sample = [this.handle.id, tokens, tokens.length, Int32Array.of(tokens.length - 1), 1];
    await runCall('duo_attention', [...sample, null, TASK_ARGUMENT, null, null, queries, keys], options);
    return { queries, keys };
  }

  close(): void {
    this.handle.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #numGates(): number {
    return this.config.layers * this.config.kv_heads;
  }

  #lead({ tokens, positions, gates, windows, sinkTokens }: Passage): unknown[] {
    const sample = [tokens, tokens.length, positions, positions.length];
    return [this.handle.id, ...sample, gates, windows, sinkTokens];
  }
}

/** Open a model from safetensors shards, which stay mapped.
 * @throws {NativeError} a shard does not open, is malformed or lacks a tensor; an unknown or unusable device; no memory. {AbortedError}. */
export async function openModel(
  config: ModelConfigValues,
  shardPaths: readonly string[],
  options: ModelOpenOptions = {},
): Promise<NativeModel> {
  const weightDtype = options.weightDtype === undefined ? DTYPE.STORED : WEIGHT_DTYPES[options.weightDtype];
  const source = [encodeModelConfig(config), shardPaths, shardPaths.length];
  const given = [...source, ...listDevice(options), weightDtype, ...listPlacement(options)];
  return openWith('duo_model_open', config, given, options);
}

/** Open a model of seeded random weights, for benches of named shapes.
 * @param options.distinctLayers layer n has the weights of layer n mod this, held once on the host; default: each its own.  @throws {NativeError}; {AbortedError}. */
export async function openRandomModel(
  config: ModelConfigValues,
  seed: number,
  options: ModelOpenOptions & { readonly distinctLayers?: number | undefined } = {},
): Promise<NativeModel> {
  const weightDtype = WEIGHT_DTYPES[options.weightDtype ?? 'bf16'];
  const source = [encodeModelConfig(config), seed, ...listDevice(options), weightDtype];
  const given = [...source, ...listPlacement(options), options.distinctLayers ?? 0];
  return openWith('duo_model_open_random', config, given, options);
}

async function openWith(
  name: 'duo_model_open' | 'duo_model_open_random',
  config: ModelConfigValues,
  values: readonly unknown[],
  options: ModelOpenOptions,
): Promise<NativeModel> {
  const id = new BigUint64Array(1);
  await runCall(name, [...values, TASK_ARGUMENT, id], options);
  return new NativeModel(id[0] as bigint, config);
}

/** What follows weight dtype and compute. */
function listPlacement({ compute, weightsOn, next }: ModelOpenOptions): unknown[] {
  const pass = [PASSES[next?.pass ?? 'none'], next?.tokens ?? 0, next?.besideBytes ?? 0];
  return [COMPUTES[compute ?? 'accurate'], WEIGHTS_ON[weightsOn ?? 'auto'], ...pass];
}

function listDevice({ device, threads }: ModelOpenOptions): unknown[] {
  return [device ?? 'cpu', threads ?? 0];
}

/** The bytes of a duo_model_config_t, little-endian as every machine duo builds for. */
function encodeModelConfig(config: ModelConfigValues): Uint8Array {
  const fields = Object.entries(MODEL_CONFIG_FIELDS);
  const size = fields.reduce((sum, [, type]) => sum + (type === 'int32_t' ? 4 : 8), 0);
  const view = new DataView(new ArrayBuffer(size));
  let offset = 0;
  for (const [name, type] of fields) {
    const value = name === 'struct_bytes' ? size : config[name as keyof ModelConfigValues];
    if (type === 'double') view.setFloat64(offset, value, true);
    else if (type === 'int64_t') view.setBigInt64(offset, BigInt(value), true);
    else view.setInt32(offset, value, true);
    offset += type === 'int32_t' ? 4 : 8;
  }
  return new Uint8Array(view.buffer);
}

// The `native` engine: kernels/ behind the Engine interface, on the CPU or an NVIDIA GPU. The default where the library loads.
import type { Session, SessionOptions } from '../../core/session.ts';
import {
  filledGrid,
  type GateGrid,
  type HeadMask,
  type ModelShape,
  type Sample,
  type StreamingWindows,
  supervisedPositions,
} from '../../core/shapes.ts';
import { EngineError, ModelError } from '../../errors/errors.ts';
import type { ModelConfig } from '../../model/config.ts';
import type { ModelFolder } from '../../model/folder.ts';
import { attendMeanHeads } from '../../model/mean-attention.ts';
import {
  type NativeModel,
  type NextPass,
  openModel,
  openRandomModel,
  type StreamedWeights,
} from '../../native/model.ts';
import type { WeightPlace } from '../../native/weight-place.ts';
import {
  checkAttention,
  checkGates,
  checkMask,
  checkProbe,
  checkSample,
  checkTokens,
  checkWindows,
} from '../check-inputs.ts';
import type {
  AttentionReading,
  AttentionRequest,
  DistillOptions,
  DistillResult,
  Engine,
  EvaluateResult,
  HiddenOptions,
  KlMetric,
  ProbeRequest,
  SketchRequest,
  StepEstimate,
} from '../engine.ts';
import { listModelConfigValues } from './model-config.ts';
import { decodeNativeBatch, openNativeSession } from './native-session.ts';
import { listBranches, makePassage, splitBranches } from './passage.ts';
import { flattenWindows } from './windows.ts';

export interface NativeEngineOptions {
  /** `cpu` (default), `cpu:plain`, `cpu:avx2`, `cpu:avx512`, `cuda:0` … */
  readonly device?: string;
  /** CPU threads; default one for each CPU the process may use. Results do not depend on it. */
  readonly threads?: number;
  /** Default `accurate`. On the CPU, `bf16` rounds activations to bf16 before products with bf16 weights, and `int8` those of sessions
   * to int8 in blocks of 32 before products with quantised weights. */
  readonly compute?: 'accurate' | 'bf16' | 'int8';
  /** CUDA only; default as stored, GGUF blocks in 4 or 8 bits. `int8` has one scale per row, `int4` one scale and minimum per 32 elements,
   * with embeddings and LM head as int8. */
  readonly weightDtype?: 'bf16' | 'int8' | 'int4';
  /** CUDA only: where the weights of the layers are. `host`: in pinned host memory, each layer copied while the one before it computes, with the
   * same results; `auto` (default): on the device where they fit together with what `next` needs. */
  readonly weightsOn?: WeightPlace;
  /** for `auto`: the most demanding work to come; default: none */
  readonly next?: NextPass;
}

/** What an estimate assumes if only a length is given: the base preset's window; and always that an eighth of the positions is supervised. */
const ESTIMATE_WINDOW = { sinkTokens: 128, recentTokens: 256 };
const ESTIMATE_SUPERVISED = 1 / 8;

/** Open a model in the native library; its weight files stay mapped.
 * @param folder opened with its weights; the engine maps the files itself and does not need it open.
 * @throws {ModelError} no weights; {NativeError} an unusable device, a malformed file, no memory; {EngineError} the library does not load. */
export async function openNativeEngine(folder: ModelFolder, options: NativeEngineOptions = {}): Promise<Engine> {
  if (folder.weights === null) {
    throw new ModelError(
      `Expected *.safetensors files next to config.json in ${folder.path}, found none; fetch them too`,
    );
  }
  const model = await openModel(listModelConfigValues(folder.config), folder.weights.files, options);
  return new NativeEngine(model, folder.config);
}

/** Open seeded random weights of a shape, for benches. @throws {NativeError} as openNativeEngine; no memory. */
export async function openRandomNativeEngine(
  config: ModelConfig,
  options: Omit<NativeEngineOptions, 'weightDtype'> & {
    seed: number;
    weightDtype: 'f32' | 'bf16' | 'int8' | 'int4';
    /** layer n has the weights of layer n mod this, held once on the host; default: each its own */
    distinctLayers?: number;
  },
): Promise<Engine> {
  const model = await openRandomModel(listModelConfigValues(config), options.seed, options);
  return new NativeEngine(model, config);
}

class NativeEngine implements Engine {
  readonly name = 'native';
  readonly device: string;
  readonly model: ModelShape;
  readonly klMetric: KlMetric;
  readonly weightBytes: number;
  readonly #native: NativeModel;
  readonly #config: ModelConfig;
  #isOpen = true;

  constructor(native: NativeModel, config: ModelConfig) {
    this.device = native.device;
    this.model = config.shape;
    this.#config = config;
    this.weightBytes = native.memory().weightBytes;
    this.#native = native;
    this.klMetric = {
      features: native.numKlFeatures,
      project: ({ reference, anchor }, changes, options) =>
        this.#requireOpen().klFeatures(reference, changes, { ...options, anchor }),
      pullBack: ({ reference, anchor }, vectors, options) =>
        this.#requireOpen().klVectors(reference, vectors, { ...options, anchor }),
    };
  }

  streamed(): StreamedWeights | null {
    return this.#requireOpen().streamed();
  }

  async distill(
    sample: Sample,
    gates: GateGrid,
    window: StreamingWindows,
    options: DistillOptions = {},
  ): Promise<DistillResult> {
    const native = this.#requireOpen();
    checkSample(sample, this.model);
    checkGates(gates, this.model);
    checkWindows(window, this.model);
    const positions = supervisedPositions(sample.answers, options.supervise ?? 'predict');
    const passage = makePassage(sample, positions, listBranches(gates, window));
    const { fullBranch, distance, signal } = options;
    const onProgress = toFraction(options.onProgress);
    const { loss, gradient } = await native.distill(passage, { fullBranch, distance, signal, onProgress });
    return { loss, gradient: this.#toGrid(gradient) };
  }

  async evaluate(
    sample: Sample,
    mask: HeadMask | 'full',
    options: { signal?: AbortSignal } = {},
  ): Promise<EvaluateResult> {
    const native = this.#requireOpen();
    checkSample(sample, this.model);
    if (mask !== 'full') checkMask(mask, this.model);
    const positions = supervisedPositions(sample.answers, 'predict');
    const targets = Int32Array.from(positions, (position) => sample.tokens[position + 1] as number);
    const passage = makePassage(sample, positions, mask === 'full' ? null : splitBranches(mask));
    const { logProbs, predictions } = await native.evaluate(passage, targets, options);
    const numRight = predictions.reduce((count, token, index) => count + Number(token === targets[index]), 0);
    const sum = logProbs.reduce((total, logProb) => total + logProb, 0);
    return { accuracy: numRight / targets.length, logProb: sum / targets.length };
  }

  async scoreTokens(
    tokens: readonly number[],
    mask: HeadMask | 'full',
    options: { signal?: AbortSignal } = {},
  ): Promise<Float32Array> {
    const native = this.#requireOpen();
    const sample: Sample = { tokens: [...tokens], answers: [[1, tokens.length]] };
    checkSample(sample, this.model);
    if (mask !== 'full') checkMask(mask, this.model);
    const positions = supervisedPositions(sample.answers, 'predict');
    const passage = makePassage(sample, positions, mask === 'full' ? null : splitBranches(mask));
    const { logProbs } = await native.evaluate(passage, Int32Array.from(tokens.slice(1)), options);
    return logProbs;
  }

  async computeHidden(
    sample: Sample,
    gates: GateGrid | 'full',
    window: StreamingWindows,
    options: HiddenOptions = {},
  ): Promise<Float32Array> {
    const native = this.#requireOpen();
    checkSample(sample, this.model);
    checkWindows(window, this.model);
    if (gates !== 'full') checkGates(gates, this.model);
    const positions = supervisedPositions(sample.answers, options.supervise ?? 'predict');
    const passage = makePassage(sample, positions, gates === 'full' ? null : listBranches(gates, window));
    return native.hidden(passage, { signal: options.signal, onProgress: toFraction(options.onProgress) });
  }

  async probe(sample: Sample, request: ProbeRequest, options: HiddenOptions = {}): Promise<Float32Array> {
    const native = this.#requireOpen();
    checkSample(sample, this.model);
    checkProbe(request, this.model);
    const { gates, window, begin, end } = request;
    const positions = supervisedPositions(sample.answers, options.supervise ?? 'predict');
    const passage = makePassage(sample, positions, listBranches(gates, window));
    const heads = { probeGates: Float32Array.from(request.probeGates.flat()), begin, end };
    return native.probe(passage, heads, { signal: options.signal, onProgress: toFraction(options.onProgress) });
  }

  async readAttention(
    tokens: readonly number[],
    request: AttentionRequest,
    options: { signal?: AbortSignal } = {},
  ): Promise<AttentionReading> {
    const native = this.#requireOpen();
    checkAttention(tokens, request, this.model);
    const passage = { tokens: Int32Array.from(tokens), positions: Int32Array.from(request.positions) };
    return native.attention(passage, Int32Array.from(request.keyRanges.flat()), options);
  }

  async attendMeans(
    tokens: readonly number[],
    length: number,
    options: { signal?: AbortSignal } = {},
  ): Promise<Float32Array> {
    const native = this.#requireOpen();
    checkTokens(tokens, this.model);
    return attendMeanHeads(this.#config, await native.meanHeads(Int32Array.from(tokens), options), length);
  }

  async sketch(sample: Sample, request: SketchRequest, options: HiddenOptions = {}): Promise<Float32Array> {
    const native = this.#requireOpen();
    checkSample(sample, this.model);
    for (const recentTokens of request.windows)
      checkWindows({ sinkTokens: request.sinkTokens, recentTokens }, this.model);
    const { layers, kvHeads } = this.model;
    const { gates, recentTokens } = request.base ?? { gates: filledGrid(layers, kvHeads, 1), recentTokens: 1 };
    const window = { sinkTokens: request.sinkTokens, recentTokens };
    checkGates(gates, this.model);
    checkWindows(window, this.model);
    const positions = supervisedPositions(sample.answers, options.supervise ?? 'predict');
    const passage = makePassage(sample, positions, listBranches(gates, window));
    return native.sketch(passage, request, { signal: options.signal, onProgress: toFraction(options.onProgress) });
  }

  async multiplyGram(
    a: Float32Array,
    b: Float32Array,
    options: { readonly length: number; readonly scale: number },
  ): Promise<Float64Array> {
    return this.#requireOpen().multiplyGram(a, b, options);
  }

  estimate(tokens: number, window: StreamingWindows = ESTIMATE_WINDOW): StepEstimate {
    checkWindows(window, this.model);
    const { layers, kvHeads } = this.model;
    const { windows, sinkTokens } = listBranches(filledGrid(layers, kvHeads, 1), window);
    const positions = Math.max(1, Math.floor(tokens * ESTIMATE_SUPERVISED));
    const native = this.#requireOpen();
    const { memoryBytes, operations } = native.estimate({
      tokens,
      positions,
      windows: flattenWindows(windows),
      sinkTokens,
    });
    const weightBytes = native.streamed()?.deviceBytes ?? native.memory().weightBytes;
    return { memoryBytes: memoryBytes + weightBytes, operations };
  }

  async openSession(mask: HeadMask | 'full', options: SessionOptions): Promise<Session> {
    return openNativeSession(this.#requireOpen(), mask, { shape: this.model, options });
  }

  async decodeBatch(
    sessions: readonly Session[],
    tokens: readonly number[],
    into?: readonly Float32Array[],
  ): Promise<Float32Array[]> {
    this.#requireOpen();
    return decodeNativeBatch(sessions, tokens, into);
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    this.#native.close();
  }

  #requireOpen(): NativeModel {
    if (!this.#isOpen) throw new EngineError('Expected an open engine, found a closed one; open another');
    return this.#native;
  }

  #toGrid(values: Float32Array): GateGrid {
    const { layers, kvHeads } = this.model;
    return Array.from({ length: layers }, (_, layer) => [...values.subarray(layer * kvHeads, (layer + 1) * kvHeads)]);
  }
}

function toFraction(
  onProgress: ((fraction: number) => void) | undefined,
): ((done: number, total: number) => void) | undefined {
  return onProgress && ((done, total) => onProgress(done / total));
}

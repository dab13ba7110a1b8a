// The `tensorflow` engine: the transformer in tfjs ops on whichever tfjs backend is installed.
// It is the readable reference and the portable fallback; the computation is in src/model/transformer.
import type { Session, SessionOptions } from '../../core/session.ts';
import {
  type GateGrid,
  type HeadMask,
  type ModelShape,
  type Sample,
  type StreamingWindows,
  supervisedPositions,
} from '../../core/shapes.ts';
import { ConfigError, EngineError, ModelError } from '../../errors/errors.ts';
import type { ModelFolder } from '../../model/folder.ts';
import { attendMeanHead, measureMeanHeads } from '../../model/transformer/attention-statistics.ts';
import { computeDistillation } from '../../model/transformer/distillation.ts';
import { computeHiddenStates } from '../../model/transformer/forward.ts';
import { computeProbe } from '../../model/transformer/probe.ts';
import { loadTransformer, type Transformer } from '../../model/transformer/transformer.ts';
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
  ProbeRequest,
  StepEstimate,
} from '../engine.ts';
import { readAttention } from './attention.ts';
import { type Backend, openBackend } from './backend.ts';
import type { BackendName } from './backend-names.ts';
import { estimateStep } from './estimate.ts';
import { evaluateSample, scorePositions } from './evaluate.ts';
import { openTensorflowSession, type SessionHost } from './tensorflow-session.ts';

/** wasm32 addresses no more. */
const WASM_LIMIT_BYTES = 2 ** 32;

/** Load a model's weights onto a tfjs backend.
 * @param folder opened with its weights, and open as long as the engine is.  @param options.backend default: the best that loads.
 * @throws {ModelError} no weights; {EngineError} no backend loads, or the weights do not fit its memory; {ConfigError} unknown backend. */
export async function openTensorflowEngine(
  folder: ModelFolder,
  options: { backend?: BackendName } = {},
): Promise<Engine & { readonly notes: readonly string[] }> {
  if (folder.weights === null) {
    throw new ModelError(
      `Expected *.safetensors files next to config.json in ${folder.path}, found none; fetch them too`,
    );
  }
  const backend = await openBackend(options.backend);
  const { memoryBytes } = estimateStep(folder.config, { tokens: 1, weightCopies: countWeightCopies(backend) });
  requireMemory(backend, memoryBytes, 'the weights');
  return new TensorflowEngine(backend, loadTransformer(folder.config, folder.weights));
}

/** tfjs has one current backend for the process: engines on different ones must not compute at the same time. */
class TensorflowEngine implements Engine {
  readonly name = 'tensorflow';
  readonly device: string;
  readonly model: ModelShape;
  /** what kept better backends from loading */
  readonly notes: readonly string[];
  readonly #backend: Backend;
  #transformer: Transformer | null;

  constructor(backend: Backend, transformer: Transformer) {
    this.device = backend.device;
    this.notes = backend.notes;
    this.model = transformer.config.shape;
    this.#backend = backend;
    this.#transformer = transformer;
  }

  async distill(
    sample: Sample,
    gates: GateGrid,
    window: StreamingWindows,
    options: DistillOptions = {},
  ): Promise<DistillResult> {
    const transformer = this.#requireOpen();
    checkSample(sample, this.model);
    checkGates(gates, this.model);
    checkWindows(window, this.model);
    if (options.distance === 'kl') {
      throw new ConfigError(
        'Expected `distance` hidden with engine tensorflow, which has no KL divergences, got `kl`; use engine native.',
      );
    }
    const { tokens } = sample;
    requireMemory(this.#backend, this.estimate(tokens.length).memoryBytes, `a step over ${tokens.length} tokens`);
    const positions = supervisedPositions(sample.answers, options.supervise ?? 'predict');
    const fullBranch = options.fullBranch ?? 'student';
    // teacher forward, student forward, student backward, a layer each
    const parts = 3 * this.model.layers;
    let done = 0;
    const onLayer = (): void => options.onProgress?.(++done / parts);
    await this.#backend.activate();
    const input = { tokens, positions, gates, window, fullBranch };
    return computeDistillation(transformer, input, { signal: options.signal, onLayer });
  }

  async evaluate(
    sample: Sample,
    mask: HeadMask | 'full',
    options: { signal?: AbortSignal } = {},
  ): Promise<EvaluateResult> {
    const transformer = this.#requireOpen();
    checkSample(sample, this.model);
    if (mask !== 'full') checkMask(mask, this.model);
    await this.#backend.activate();
    return evaluateSample(transformer, sample, { mask, signal: options.signal });
  }

  async scoreTokens(
    tokens: readonly number[],
    mask: HeadMask | 'full',
    options: { signal?: AbortSignal } = {},
  ): Promise<Float32Array> {
    const transformer = this.#requireOpen();
    const sample: Sample = { tokens: [...tokens], answers: [[1, tokens.length]] };
    checkSample(sample, this.model);
    if (mask !== 'full') checkMask(mask, this.model);
    await this.#backend.activate();
    const { logProbs } = await scorePositions(transformer, sample, { mask, signal: options.signal });
    return Float32Array.from(logProbs);
  }

  async computeHidden(
    sample: Sample,
    gates: GateGrid | 'full',
    window: StreamingWindows,
    options: HiddenOptions = {},
  ): Promise<Float32Array> {
    const transformer = this.#requireOpen();
    checkSample(sample, this.model);
    checkWindows(window, this.model);
    if (gates !== 'full') checkGates(gates, this.model);
    const positions = supervisedPositions(sample.answers, options.supervise ?? 'predict');
    const branches = gates === 'full' ? { gates: null, window: null } : { gates, window };
    await this.#backend.activate();
    let done = 0;
    const onLayer = (): void => options.onProgress?.(++done / this.model.layers);
    const control = { positions, signal: options.signal, onLayer };
    const hidden = await computeHiddenStates(transformer, sample.tokens, { ...branches, ...control });
    if (hidden.every(Number.isFinite)) return hidden;
    throw new EngineError("Expected finite hidden states, got a value that is not a number; check the model's weights");
  }

  async probe(sample: Sample, request: ProbeRequest, options: HiddenOptions = {}): Promise<Float32Array> {
    const transformer = this.#requireOpen();
    checkSample(sample, this.model);
    checkProbe(request, this.model);
    const { tokens } = sample;
    requireMemory(this.#backend, this.estimate(tokens.length).memoryBytes, `probing ${tokens.length} tokens`);
    const positions = supervisedPositions(sample.answers, options.supervise ?? 'predict');
    await this.#backend.activate();
    let done = 0;
    const onLayer = (): void => options.onProgress?.(++done / (request.end - request.begin));
    return computeProbe(transformer, { ...request, tokens, positions }, { signal: options.signal, onLayer });
  }

  estimate(tokens: number): StepEstimate {
    const { config } = this.#requireOpen();
    return estimateStep(config, { tokens, weightCopies: countWeightCopies(this.#backend) });
  }

  async openSession(mask: HeadMask | 'full', options: SessionOptions): Promise<Session> {
    const host: SessionHost = {
      transformer: this.#requireOpen(),
      activate: async () => {
        this.#requireOpen();
        await this.#backend.activate();
      },
    };
    return openTensorflowSession(host, mask, options);
  }

  async readAttention(
    tokens: readonly number[],
    request: AttentionRequest,
    options: { signal?: AbortSignal } = {},
  ): Promise<AttentionReading> {
    const transformer = this.#requireOpen();
    checkAttention(tokens, request, this.model);
    await this.#backend.activate();
    return readAttention(transformer, tokens, request, options.signal);
  }

  async attendMeans(
    tokens: readonly number[],
    length: number,
    options: { signal?: AbortSignal } = {},
  ): Promise<Float32Array> {
    const transformer = this.#requireOpen();
    checkTokens(tokens, this.model);
    await this.#backend.activate();
    const means = await measureMeanHeads(transformer, tokens, options);
    const { layers, heads } = this.model;
    const out = new Float32Array(layers * heads * length);
    let head = 0;
    for (const mean of means)
      for (const row of attendMeanHead(transformer, mean, length)) out.set(row, head++ * length);
    return out;
  }

  async close(): Promise<void> {
    this.#transformer?.dispose();
    this.#transformer = null;
  }

  #requireOpen(): Transformer {
    if (this.#transformer === null) throw new EngineError('Expected an open engine, found a closed one; open another');
    return this.#transformer;
  }
}

/** Copies of each linear weight: both orders, and on wasm what its matrix product packs of each. */
function countWeightCopies(backend: Backend): number {
  return backend.name === 'wasm' ? 4 : 2;
}

/** Refuse beforehand what would abort the wasm module for good. */
function requireMemory(backend: Backend, memoryBytes: number, what: string): void {
  if (backend.name !== 'wasm' || memoryBytes <= WASM_LIMIT_BYTES) return;
  const gibibytes = (memoryBytes / 2 ** 30).toFixed(1);
  throw new EngineError(
    `Expected ${what} to fit the 4 GiB that wasm can address, estimated ${gibibytes} GiB; use the native engine or install @tensorflow/tfjs-node`,
  );
}

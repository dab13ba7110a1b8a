// The Engine interface: what computes the model. Two implementations: `tensorflow` (tfjs ops) and `native` (kernels/).
import type { Session, SessionOptions } from '../core/session.ts';
import type { GateGrid, HeadMask, ModelShape, Sample, StreamingWindows, Supervise } from '../core/shapes.ts';
import type { StreamedWeights } from '../native/model.ts';

/** How far a changed model is from the full one at a supervised position: the mean square change of the final hidden state, or the KL divergence
 * of the next-token distribution from full attention's, in nats. */
export type Distance = 'hidden' | 'kl';

export interface DistillOptions {
  /** default 'predict' */
  readonly supervise?: Supervise;
  /** whose full attention enters the gate mix: the student's own (default) or the teacher's, as the reference does */
  readonly fullBranch?: 'student' | 'teacher';
  /** what the loss measures, default 'hidden'; 'kl' where the engine has `klMetric` */
  readonly distance?: Distance;
  readonly signal?: AbortSignal;
  /** fraction of the step done, 0..1 */
  readonly onProgress?: (fraction: number) => void;
}

export interface DistillResult {
  /** mean over supervised positions of the mean over C of (teacher − student)², or of KL(teacher ‖ student), fp32 */
  readonly loss: number;
  /** d loss / d gate, `[layers][kvHeads]`; the penalty is not part of it */
  readonly gradient: GateGrid;
}

export interface EvaluateResult {
  /** share of answer tokens whose greedy prediction from the true prefix is right, 0..1 */
  readonly accuracy: number;
  /** mean natural-log probability of the answer tokens */
  readonly logProb: number;
}

/** One-gate changes to measure. A KV head's index is layer·kvHeads + head. */
export interface ProbeRequest {
  /** gates of all heads, `[layers][kvHeads]`, 0..1 */
  readonly gates: GateGrid;
  /** what the gate of the probed head becomes, `[layers][kvHeads]`, 0..1; only [begin, end) is looked at */
  readonly probeGates: GateGrid;
  /** of the streaming branches */
  readonly window: StreamingWindows;
  /** first head probed */
  readonly begin: number;
  /** one past the last, begin < end ≤ layers·kvHeads */
  readonly end: number;
}

/** Vectors over the hidden states at the supervised positions, and windows to look at through them. */
export interface SketchRequest {
  /** `[m, positions, hidden]` fp32, row-major */
  readonly vectors: Float32Array;
  /** w of each window, ≥ 1 */
  readonly windows: readonly number[];
  /** S of all of them */
  readonly sinkTokens: number;
  /** the mask that heads are closed around, gates 0 or 1; default: every head full */
  readonly base?: { readonly gates: GateGrid; readonly recentTokens: number };
}

/** What KL divergences are measured around. */
export interface KlPoint {
  /** `[positions, hidden]`, full attention's hidden states as `computeHidden` gives them */
  readonly reference: Float32Array;
  /** the same of the farthest that changes lead to, such as every head streaming: divergences on the way there count, and that of the whole way is
   * exact. Without it the divergence is that of small changes, which is nearly zero where the model is certain of a token */
  readonly anchor?: Float32Array | undefined;
}

/** KL divergences as squared lengths: a linear map from changes of the hidden states to features. */
export interface KlMetric {
  /** K, features of a position */
  readonly features: number;
  /** @param changes `[n, positions, hidden]`.  @returns `[n, positions, K]`; the squared length of a position's K is its KL divergence in nats.
   * Deterministic. @throws {EngineError}; {AbortedError}. */
  project(point: KlPoint, changes: Float32Array, options?: { signal?: AbortSignal }): Promise<Float32Array>;
  /** The transpose. @param vectors `[n, positions, K]`.  @returns `[n, positions, hidden]`: vectors with the same inner products with
   * changes as `vectors` have with their features. */
  pullBack(point: KlPoint, vectors: Float32Array, options?: { signal?: AbortSignal }): Promise<Float32Array>;
}

/** Options of measurements at the supervised positions. */
export interface HiddenOptions {
  /** default 'predict' */
  readonly supervise?: Supervise;
  readonly signal?: AbortSignal;
  /** fraction done, 0..1 */
  readonly onProgress?: (fraction: number) => void;
}

/** Positions to look at attention from, and keys to look for. */
export interface AttentionRequest {
  /** ascending, in 0 … T−1 */
  readonly positions: readonly number[];
  /** [begin, end) of each position */
  readonly keyRanges: readonly (readonly [begin: number, end: number])[];
}

/** Attention of every query head from each position, both `[positions, layers, heads]`. */
export interface AttentionReading {
  /** share of attention on the keys of the position's range, 0..1 */
  readonly masses: Float32Array;
  /** the key attended to most, the first on a tie */
  readonly topKeys: Int32Array;
}

/** What an engine expects one distillation step to take. */
export interface StepEstimate {
  readonly memoryBytes: number;
  /** floating-point operations of one step */
  readonly operations: number;
}

export interface Engine {
  readonly name: 'tensorflow' | 'native';
  /** what computes, for run.json: backend or device, and instruction set */
  readonly device: string;
  readonly model: ModelShape;
  /** bytes that the weights take on the device; native only */
  readonly weightBytes?: number;
  /** where weights are streamed from host memory: what of them is where, and what was copied so far; else null; native only */
  streamed?(): StreamedWeights | null;
  /** Loss and gate gradient of one sample. Deterministic. @param window of the streaming branches.
   * @throws {EngineError} not a number, out of memory; {AbortedError}. */
  distill(sample: Sample, gates: GateGrid, window: StreamingWindows, options?: DistillOptions): Promise<DistillResult>;
  evaluate(sample: Sample, mask: HeadMask | 'full', options?: { signal?: AbortSignal }): Promise<EvaluateResult>;
  /** Where the engine can: natural-log probability of each token from the second on, from the true prefix: `[tokens − 1]` fp32.
   * One forward pass. Deterministic. @throws as `evaluate`. */
  scoreTokens?(
    tokens: readonly number[],
    mask: HeadMask | 'full',
    options?: { signal?: AbortSignal },
  ): Promise<Float32Array>;
  /** Where the engine can: hidden states after the final norm at the supervised positions, `[positions, hidden]` fp32, row-major.
   * Forward passes only. @param gates 'full': every head full, `window` is not looked at. @throws as `distill`. */
  computeHidden?(
    sample: Sample,
    gates: GateGrid | 'full',
    window: StreamingWindows,
    options?: HiddenOptions,
  ): Promise<Float32Array>;
  /** Where the engine can: what each head of [begin, end) does alone, h(gates) − h(gates with that head's gate from `probeGates`), h as
   * `computeHidden` gives it: `[end − begin, positions, hidden]` fp32, row-major; zeros at no cost for a head whose gate stays. Layers
   * below the first probed head are computed once per call. Deterministic. @throws as `distill`; {ConfigError} an impossible range. */
  probe?(sample: Sample, request: ProbeRequest, options?: HiddenOptions): Promise<Float32Array>;
  /** Where the engine can: the inner product of each vector with the derivative of h(all full) − h(one head closed to one window) with respect
   * to how far it is closed, all others as in `base`; h as `computeHidden` gives it; 0 for heads that stream there. `[m, layers·kvHeads, windows]` fp32. One forward pass, and
   * one backward pass per vector for all heads and windows. Deterministic. @throws as `distill`. */
  sketch?(sample: Sample, request: SketchRequest, options?: HiddenOptions): Promise<Float32Array>;
  /** where the engine can measure by KL divergence */
  readonly klMetric?: KlMetric;
  /** Where the engine can: what heads attend to under full attention. One forward pass. Deterministic. @throws as `evaluate`. */
  readAttention?(
    tokens: readonly number[],
    request: AttentionRequest,
    options?: { signal?: AbortSignal },
  ): Promise<AttentionReading>;
  /** Where the engine can: attention that the last of `length` equal queries pays to `length` equal keys at their own positions, of each
   * head's mean query and key over `tokens`, from Q/K norm to RoPE. `[layers, heads, length]` fp32. One forward pass. @throws as `evaluate`. */
  attendMeans?(tokens: readonly number[], length: number, options?: { signal?: AbortSignal }): Promise<Float32Array>;
  /** Where the engine can: scale · ⟨aᵢ, bⱼ⟩ of all rows, summed in fp64 in a fixed order.
   * @param a `[numA, length]` and @param b `[numB, length]` fp32, row-major.  @returns `[numA, numB]`. */
  multiplyGram?(
    a: Float32Array,
    b: Float32Array,
    options: { readonly length: number; readonly scale: number },
  ): Promise<Float64Array>;
  /** Memory and work of a distillation step at `tokens` tokens.  @param window of the streaming branches, which cost what they see where an
   * engine computes no more than that; default the base preset's. */
  estimate(tokens: number, window?: StreamingWindows): StepEstimate;
  openSession(mask: HeadMask | 'full', options: SessionOptions): Promise<Session>;
  /** Where the engine can: feed one token to each of several different sessions of this engine in one pass over the weights.
   * @param into `[vocab]` for each session, filled and returned; without it new ones
   * @returns the logits of each, equal to its own `decode` within rounding. */
  decodeBatch?(
    sessions: readonly Session[],
    tokens: readonly number[],
    into?: readonly Float32Array[],
  ): Promise<Float32Array[]>;
  close(): Promise<void>;
}

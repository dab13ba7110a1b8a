// The Engine interface: what computes the model. Two implementations: `tensorflow` (tfjs ops) and `native` (kernels/).
import type { Session, SessionOptions } from '../core/session.ts';
import type { GateGrid, HeadMask, ModelShape, Sample, Supervise, Window } from '../core/shapes.ts';

export interface DistillOptions {
  /** default 'predict' */
  readonly supervise?: Supervise;
  /** whose full attention enters the gate mix: the student's own (default) or the teacher's, as the reference does */
  readonly fullBranch?: 'student' | 'teacher';
  readonly signal?: AbortSignal;
  /** fraction of the step done, 0..1 */
  readonly onProgress?: (fraction: number) => void;
}

export interface DistillResult {
  /** mean over supervised positions of the mean over C of (teacher − student)², fp32 */
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
  /** Loss and gate gradient of one sample. Deterministic. @throws {EngineError} not a number, out of memory; {AbortedError}. */
  distill(sample: Sample, gates: GateGrid, window: Window, options?: DistillOptions): Promise<DistillResult>;
  evaluate(sample: Sample, mask: HeadMask | 'full', options?: { signal?: AbortSignal }): Promise<EvaluateResult>;
  /** Memory and work of a distillation step at `tokens` tokens. */
  estimate(tokens: number): StepEstimate;
  openSession(mask: HeadMask | 'full', options: SessionOptions): Promise<Session>;
  /** Where the engine can: feed one token to each of several different sessions of this engine in one pass over the weights.
   * @returns the logits of each, equal to its own `decode` within rounding. */
  decodeBatch?(sessions: readonly Session[], tokens: readonly number[]): Promise<Float32Array[]>;
  close(): Promise<void>;
}

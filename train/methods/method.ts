// The interface that every way to score heads shares: an engine and samples in, one value in [0,1] per KV head out.
// A method is one file of this folder and one line of the registry in index.ts.
import type { GateGrid, Sample } from '../../src/core/shapes.ts';
import type { WindowRule } from '../../src/core/window-rule.ts';
import type { Engine } from '../../src/engine/engine.ts';
import type { LadderEffects, LambdaPath } from '../../src/formats/gates.ts';
import type { MetricsLine } from '../../src/formats/metrics.ts';
import type { JsonRecord } from '../../src/formats/read-json.ts';
import type { DistanceRule } from '../distance.ts';
import type { RunEstimate } from '../estimate.ts';
import type { CutResult } from '../mask-stability.ts';
import type { OptimizeFiles, OptimizeSettings } from '../optimize.ts';
import type { SharedResults } from '../shared-results.ts';

/** Settings of the quadratic method. */
export interface QuadraticMethodSettings {
  /** samples measured in each round, ≥ 1 */
  readonly samples: number;
  /** most rounds, ≥ 1 */
  readonly rounds: number;
  /** a probed head goes all the way to the other side, or a little */
  readonly step: 'finite' | 'tangent';
  /** what samples are measured by; absent = hidden */
  readonly distance?: DistanceRule;
  /** windows whose effects are measured in addition to the gates, ascending tokens; absent = none */
  readonly windows?: readonly number[];
  /** how `windows` depend on the length of a sample; absent = the same in every sample */
  readonly windowRule?: WindowRule;
  /** random vectors of a sketch that estimates their effects; absent or 0 = probe each window */
  readonly ladderVectors?: number;
  /** random vectors of a sketch that estimates measurements of many heads; absent or 0 = probe each head */
  readonly vectors?: number;
}

/** Preset keys of some methods. */
export type MethodSetting =
  | 'steps'
  | 'lr'
  | 'lambda'
  | 'supervise'
  | 'fullBranch'
  | 'distance'
  | 'checkpointEvery'
  | 'earlyStopSteps'
  | 'quadraticSamples'
  | 'quadraticRounds'
  | 'quadraticVectors'
  | 'quadraticStep';

/** What a method may use; it needs not use all of it. */
export interface ScoreOptions {
  readonly engine: Engine;
  /** engines of other devices of the same kind, where the method shares samples; the result does not depend on them */
  readonly helpers?: readonly Engine[];
  /** the sample of step i; the same one each time it is asked */
  readonly sampleAt: (step: number) => Sample | Promise<Sample>;
  readonly settings: OptimizeSettings;
  /** default: DEFAULT_QUADRATIC of train/methods/quadratic.ts */
  readonly quadratic?: QuadraticMethodSettings;
  /** where processes of a joined run keep what they measure for one another; of methods that join */
  readonly shared?: SharedResults;
  /** where progress is kept */
  readonly files: OptimizeFiles;
  /** what else decides the numbers, by value or hash; a resume with another is refused */
  readonly identity: JsonRecord;
  readonly resume?: boolean;
  /** the mask that an early stop watches */
  readonly cut?: (gates: GateGrid) => CutResult;
  readonly signal?: AbortSignal;
  readonly onStep?: (line: MetricsLine) => void;
  readonly onProgress?: (fraction: number) => void;
}

/** Scores of all heads; larger = needs the whole context more. */
export interface ScoredGates {
  /** `[layers][kvHeads]`, 0..1 */
  readonly gates: GateGrid;
  /** gates of other λ, where one measurement gives them */
  readonly path?: LambdaPath;
  /** what each head costs at each window, where windows were asked for */
  readonly ladder?: LadderEffects;
  /** samples used */
  readonly stepsDone: number;
  /** what the method adds to gates.json's provenance: no time, path, host or thread count */
  readonly provenance: JsonRecord;
}

export interface HeadMethod {
  /** as in `--method` */
  readonly name: string;
  /** one line for help and reports */
  readonly description: string;
  /** True where it works step by step, reports each through `onStep` and writes metrics.jsonl; the others report their share of
   * the whole through `onProgress` and write no metrics. Default false. */
  readonly isStepwise?: boolean;
  /** True where samples can be shared out over several engines. Default false. */
  readonly sharesSamples?: boolean;
  /** True where several processes can divide its samples. Default false. */
  readonly joins?: boolean;
  /** Preset keys that act on it and not on every method; `windows`, `windowRule` and `ladderVectors` are not listed, as the ladder handles them. A key
   * of another method is refused where a person set it. */
  readonly settings: readonly MethodSetting[];
  /** Score every KV head. Deterministic. @throws {AbortedError} after a checkpoint; {EngineError}; {ConfigError}; {FileError}. */
  score(options: ScoreOptions): Promise<ScoredGates>;
  /** Memory and time of `score`, where it is not a distillation step per sample. @param options.shortSample is timed. */
  estimate?(options: ScoreOptions & { readonly shortSample: Sample }): Promise<RunEstimate>;
}

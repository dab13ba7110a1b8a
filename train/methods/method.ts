// The interface that every way to score heads shares: an engine and samples in, one value in [0,1] per KV head out.
// A method is one file of this folder and one line of the registry in index.ts.
import type { GateGrid, Sample } from '../../src/core/shapes.ts';
import type { Engine } from '../../src/engine/engine.ts';
import type { MetricsLine } from '../../src/formats/metrics.ts';
import type { JsonRecord } from '../../src/formats/read-json.ts';
import type { CutResult } from '../mask-stability.ts';
import type { OptimizeFiles, OptimizeSettings } from '../optimize.ts';

/** What a method may use; it needs not use all of it. */
export interface ScoreOptions {
  readonly engine: Engine;
  /** the sample of step i; the same one each time it is asked */
  readonly sampleAt: (step: number) => Sample | Promise<Sample>;
  readonly settings: OptimizeSettings;
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
  /** Score every KV head. Deterministic. @throws {AbortedError} after a checkpoint; {EngineError}; {ConfigError}; {FileError}. */
  score(options: ScoreOptions): Promise<ScoredGates>;
}

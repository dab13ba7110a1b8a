// The loop of gate optimisation (DuoAttention, arXiv 2410.10819, section 3.2): one sample per step through the engine, Adam on the
// gates, a line of metrics, a checkpoint every so often and on abort. Entering the run folder and cutting the mask are the caller's.

import { countGateStates } from '../src/core/numbers.ts';
import type { GateGrid, Sample, Supervise, Window } from '../src/core/shapes.ts';
import type { Engine } from '../src/engine/engine.ts';
import { AbortedError, ConfigError, EngineError } from '../src/errors/errors.ts';
import { type MetricsLine, type MetricsWriter, openMetrics, roundGates } from '../src/formats/metrics.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import { type Checkpoint, findCheckpoint, type MaskStability, writeCheckpoint } from './checkpoint.ts';
import { chooseDistance, type DistanceRule, isLongRangeSample } from './distance.ts';
import type { GateOptimizer } from './gate-optimizer.ts';
import { type LossScales, measureLossScales } from './loss-scales.ts';
import { type CutResult, trackStability, UNSETTLED } from './mask-stability.ts';
import { describeDifference, findIdentityDifference } from './run-identity.ts';
import { computeLearningRate, warmupSteps } from './schedule.ts';

export interface OptimizeSettings {
  /** N ≥ 1 */
  readonly steps: number;
  /** full learning rate, > 0 */
  readonly lr: number;
  /** λ ≥ 0, weight of the penalty */
  readonly lambda: number;
  readonly window: Window;
  readonly supervise: Supervise;
  readonly fullBranch: 'student' | 'teacher';
  /** what samples are measured by; absent = hidden */
  readonly distance?: DistanceRule | undefined;
  /** steps between checkpoints, ≥ 1; does not change the numbers */
  readonly checkpointEvery: number;
  /** steps between metrics lines that hold the gates, ≥ 1 */
  readonly gatesEvery: number;
  /** stop once the mask has not changed for so many steps after the warm-up; 0 = never */
  readonly stableSteps: number;
}

/** The two files the loop writes. */
export interface OptimizeFiles {
  readonly metrics: string;
  readonly checkpoint: string;
}

export interface OptimizeOptions {
  readonly engine: Engine;
  /** the sample of step i; must give the same one each time it is asked */
  readonly sampleAt: (step: number) => Sample | Promise<Sample>;
  readonly settings: OptimizeSettings;
  readonly files: OptimizeFiles;
  /** what else decides the numbers: samples by hash, model fingerprint, engine, device, the cut */
  readonly identity: JsonRecord;
  /** continue from the checkpoint, if there is one; default: start at step 0 */
  readonly resume?: boolean;
  /** the mask that the early stop watches; needed where stableSteps > 0 */
  readonly cut?: (gates: GateGrid) => CutResult;
  readonly signal?: AbortSignal;
  /** after each step, its line already written */
  readonly onStep?: (line: MetricsLine) => void;
  /** fraction 0..1 of the step in progress */
  readonly onProgress?: (fraction: number) => void;
}

export interface OptimizeResult {
  /** `[layers][kvHeads]`, float32 values in [0,1] */
  readonly gates: GateGrid;
  readonly stepsDone: number;
  /** what losses were multiplied by */
  readonly scales: LossScales;
  /** step at which this call began; above 0 after a resume */
  readonly firstStep: number;
  readonly isStoppedEarly: boolean;
}

/** Optimise the gates to the end, or to an abort. Same settings, samples, engine and device: the same bytes in metrics (less `seconds`)
 * and the same gates, however often it was killed and resumed.
 * @throws {AbortedError} after a checkpoint; {ConfigError} settings out of range, or a resume with others; {EngineError}; {FileError}; {FormatError}. */
export async function optimizeGates(options: OptimizeOptions): Promise<OptimizeResult> {
  checkSettings(options);
  const { engine, settings, files } = options;
  const { layers, kvHeads } = engine.model;
  const checkpoint = options.resume ? findCheckpoint(files.checkpoint, layers * kvHeads) : null;
  const identity = describeRun(options);
  const difference = checkpoint && findIdentityDifference(checkpoint.identity, identity);
  if (difference) throw new ConfigError(describeDifference(difference));

  const firstStep = checkpoint?.state.steps ?? 0;
  const rule = settings.distance ?? 'hidden';
  const scales = await measureLossScales({ ...options, ...settings, rule });
  const metrics = openMetrics(files.metrics, firstStep);
  const state = checkpoint ? { state: checkpoint.state } : {};
  // TensorFlow.js is loaded when gates are optimised, not when this module is imported.
  const { GateOptimizer } = await import('./gate-optimizer.ts');
  const optimizer = new GateOptimizer({ layers, kvHeads, lambda: settings.lambda, ...state });
  try {
    const loop = new Loop({ options, optimizer, metrics, identity, checkpoint, scales });
    await loop.run();
    const isStoppedEarly = loop.step < settings.steps;
    return { gates: optimizer.gates(), stepsDone: loop.step, scales, firstStep, isStoppedEarly };
  } finally {
    optimizer.dispose();
    metrics.close();
  }
}

/** One call's moving parts. */
class Loop {
  step: number;
  readonly #options: OptimizeOptions;
  readonly #optimizer: GateOptimizer;
  readonly #metrics: MetricsWriter;
  readonly #identity: JsonRecord;
  readonly #scales: LossScales;
  #stability: MaskStability;
  /** step of the checkpoint on disk; −1 = none */
  #savedStep: number;

  constructor(parts: {
    options: OptimizeOptions;
    optimizer: GateOptimizer;
    metrics: MetricsWriter;
    identity: JsonRecord;
    checkpoint: Checkpoint | null;
    scales: LossScales;
  }) {
    this.#options = parts.options;
    this.#optimizer = parts.optimizer;
    this.#metrics = parts.metrics;
    this.#identity = parts.identity;
    this.#scales = parts.scales;
    this.#stability = parts.checkpoint?.stability ?? UNSETTLED;
    this.step = parts.checkpoint?.state.steps ?? 0;
    this.#savedStep = parts.checkpoint ? this.step : -1;
  }

  async run(): Promise<void> {
    const { settings, signal } = this.#options;
    try {
      while (!this.#isFinished()) {
        if (signal?.aborted) throw new AbortedError(`Stopped before step ${this.step} of ${settings.steps}.`);
        await this.#runStep();
        if (this.#isFinished() || this.step % settings.checkpointEvery === 0) this.#save();
      }
    } catch (cause) {
      // An abort in the middle of a step drops that step; the state is still the one before it.
      if (cause instanceof AbortedError) this.#save();
      throw cause;
    }
  }

  #isFinished(): boolean {
    const { steps, stableSteps } = this.#options.settings;
    return this.step >= steps || (stableSteps > 0 && this.#stability.unchangedSteps >= stableSteps);
  }

  async #runStep(): Promise<void> {
    const { engine, settings, sampleAt, signal, onProgress, onStep, cut } = this.#options;
    const start = performance.now();
    const sample = await sampleAt(this.step);
    const before = this.#optimizer.gates();
    const penalty = this.#optimizer.penalty();
    const scale = isLongRangeSample(sample) ? this.#scales.long : this.#scales.plain;
    const { loss, gradient } = await engine.distill(sample, before, settings.window, {
      supervise: settings.supervise,
      distance: chooseDistance(sample, settings.distance ?? 'hidden'),
      fullBranch: settings.fullBranch,
      ...(signal ? { signal } : {}),
      ...(onProgress ? { onProgress } : {}),
    });
    if (!Number.isFinite(loss)) {
      throw new EngineError(
        `Expected a finite loss at step ${this.step}, got \`${loss}\`; check the model's weights for NaN or Inf.`,
      );
    }
    const lr = computeLearningRate({ step: this.step, steps: settings.steps, lr: settings.lr });
    const distillation = scale * loss;
    const scaled = scale === 1 ? gradient : gradient.map((row) => row.map((slope) => scale * slope));
    this.#optimizer.apply({ gradient: scaled, lr });
    const gates = this.#optimizer.gates();
    const line = this.step;
    this.step++;
    if (cut && settings.stableSteps > 0) {
      const isWarm = this.step > warmupSteps(settings.steps);
      this.#stability = trackStability(this.#stability, { cut: cut(gates), isWarm });
    }
    const hasGates = line % settings.gatesEvery === 0 || this.#isFinished();
    const values = gates.flat();
    const metrics: MetricsLine = {
      step: line,
      loss: distillation + penalty,
      distillation,
      penalty,
      lr,
      length: sample.tokens.length,
      gateMean: values.reduce((sum, gate) => sum + gate, 0) / values.length,
      undecided: countGateStates(values).undecided / values.length,
      ...(hasGates ? { gates: roundGates(gates) } : {}),
      seconds: Number(((performance.now() - start) / 1000).toFixed(3)),
    };
    this.#metrics.append(metrics);
    onStep?.(metrics);
  }

  #save(): void {
    if (this.#savedStep === this.step) return;
    // The lines a checkpoint counts must be on disk before it is.
    this.#metrics.sync();
    writeCheckpoint(this.#options.files.checkpoint, {
      identity: this.#identity,
      state: this.#optimizer.exportState(),
      stability: this.#stability,
    });
    this.#savedStep = this.step;
  }
}

/** The caller's identity and the settings that change numbers; `checkpointEvery` does not. */
function describeRun({ identity, settings }: OptimizeOptions): JsonRecord {
  const { checkpointEvery: _, window, distance = 'hidden', ...rest } = settings;
  return { ...identity, optimizer: { ...rest, distance, sink: window.sinkTokens, recent: window.recentTokens } };
}

function checkSettings({ settings, cut }: OptimizeOptions): void {
  const expect = (isValid: boolean, name: keyof OptimizeSettings, words: string): void => {
    if (!isValid) throw new ConfigError(`Expected \`${name}\` to be ${words}, got \`${settings[name]}\`.`);
  };
  const isCount = (value: number, least: number): boolean => Number.isInteger(value) && value >= least;
  expect(isCount(settings.steps, 1), 'steps', 'an integer of at least 1');
  expect(Number.isFinite(settings.lr) && settings.lr > 0, 'lr', 'a number above 0');
  expect(Number.isFinite(settings.lambda) && settings.lambda >= 0, 'lambda', 'a number of at least 0');
  expect(isCount(settings.checkpointEvery, 1), 'checkpointEvery', 'an integer of at least 1');
  expect(isCount(settings.gatesEvery, 1), 'gatesEvery', 'an integer of at least 1');
  expect(isCount(settings.stableSteps, 0), 'stableSteps', 'an integer of at least 0');
  if (settings.stableSteps > 0 && !cut)
    throw new ConfigError('Expected a cut where `stableSteps` is above 0, got none.');
}

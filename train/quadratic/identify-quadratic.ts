// The quadratic method from samples to gates: measure, solve, and where more rounds are asked, move to the solution as far as the
// true loss agrees and measure again there (Gauss–Newton), so that heads which back each other up are seen without their backing.
// Then the order of closing by elimination, measured again around ever smaller masks; masks of a budget are cut on it.
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { GateGrid, Sample } from '../../src/core/shapes.ts';
import { AbortedError, ConfigError } from '../../src/errors/errors.ts';
import type { LambdaPath } from '../../src/formats/gates.ts';
import type { JsonRecord } from '../../src/formats/read-json.ts';
import { describeDifference, findIdentityDifference } from '../run-identity.ts';
import { findQuadraticState, type QuadraticState, type RoundRecord, writeQuadraticState } from './checkpoint.ts';
import { countClosing, eliminateHeads, listStages, rankClosing } from './eliminate-heads.ts';
import {
  computeFull,
  isFull,
  type MeasureOptions,
  measureLoss,
  measureSample,
  type ProbeStep,
} from './measure-sample.ts';
import { type QuadraticModel, solveGates, solvePath, toGrid } from './quadratic-model.ts';

/** Shares of the way to the quadratic's minimum that are tried, the first that lowers the true objective is taken. */
const STEP_SHARES = [1, 1 / 2, 1 / 4, 1 / 8];

/** Hidden states of samples under full attention that are kept from one measurement to the next; beyond, they are computed again. */
const KEPT_BYTES = 256 * 2 ** 20;

export interface QuadraticSettings {
  /** samples of each measurement, ≥ 1 */
  readonly samples: number;
  /** most rounds, ≥ 1 */
  readonly rounds: number;
  readonly step: ProbeStep;
  /** λ > 0 */
  readonly lambda: number;
}

export interface QuadraticOptions {
  readonly settings: QuadraticSettings;
  readonly measure: Pick<MeasureOptions, 'engine' | 'window' | 'supervise' | 'signal'>;
  /** sample i; the same one each time it is asked */
  readonly sampleAt: (index: number) => Sample | Promise<Sample>;
  /** where the state is kept after each sample; blocks that memory does not hold go beside it */
  readonly checkpointPath: string;
  /** what decides the numbers; a resume with another is refused */
  readonly identity: JsonRecord;
  /** continue from the checkpoint, if there is one */
  readonly resume?: boolean;
  /** fraction of the work done, 0..1, were every round to run */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** A run with what it keeps of its samples. */
interface Run extends QuadraticOptions {
  /** h(all full) by sample index */
  readonly full: Map<number, Float32Array>;
}

export interface QuadraticResult {
  /** at λ, `[layers][kvHeads]`, 0..1 */
  readonly gates: GateGrid;
  /** of the first measurement, around all heads full: later ones know only the neighbourhood of the run's λ; ranked by elimination */
  readonly path: LambdaPath;
  readonly rounds: readonly RoundRecord[];
}

/** Run the rounds and the elimination to the end, or to an abort. Same settings, samples, engine and device: the same result, however often it was
 * aborted and resumed; an abort drops at most the sample under way.
 * @throws {AbortedError}; {ConfigError} settings out of range, or a resume with others; {FormatError} a sample without supervised
 * positions; {EngineError}; {FileError}. */
export async function identifyQuadratic(options: QuadraticOptions): Promise<QuadraticResult> {
  checkQuadraticSettings(options.settings);
  const { settings, checkpointPath, identity } = options;
  const { layers, kvHeads } = options.measure.engine.model;
  const found = options.resume ? findQuadraticState(checkpointPath, layers * kvHeads) : null;
  const difference = found && findIdentityDifference(found.identity, identity);
  if (difference) throw new ConfigError(describeDifference(difference));
  if (!found) rmSync(checkpointPath, { force: true });
  const begin = { rounds: [], path: null, closed: [], solution: null };
  let state = found?.state ?? startMeasurement(begin, new Float64Array(layers * kvHeads).fill(1));
  const run: Run = { ...options, full: new Map() };
  for (;;) {
    state = await measure(state, run);
    const model = toModel(state, settings.samples);
    state = state.solution ? closeMore(model, state) : await endRound(model, state, run);
    const { path, closed, solution, rounds } = state;
    if (path && solution && closed.length === solution.length) {
      return { gates: toGrid(solution, kvHeads), path: { ...path, ranking: rankClosing(closed, kvHeads) }, rounds };
    }
    writeQuadraticState(checkpointPath, identity, state);
  }
}

function startMeasurement(
  done: Pick<QuadraticState, 'rounds' | 'path' | 'closed' | 'solution'>,
  gates: Float64Array,
): QuadraticState {
  return { ...done, gates, samplesDone: 0, sums: new Float64Array((gates.length + 1) ** 2) };
}

/** What a round leads to: another one around its gates, or the elimination, whose first heads close by the first round's measurement. */
async function endRound(model: QuadraticModel, state: QuadraticState, run: Run): Promise<QuadraticState> {
  const { settings, measure } = run;
  const { gates, record } = await takeStep(model, state, run);
  const rounds = [...state.rounds, record];
  const path = state.path ?? solvePath(model, { lambda: settings.lambda, kvHeads: measure.engine.model.kvHeads });
  const closed = state.path ? state.closed : closeMore(model, state).closed;
  const isLast = rounds.length === settings.rounds || record.stepTaken === 0 || isStable(state.gates, gates, record);
  if (!isLast) return startMeasurement({ rounds, path, closed, solution: null }, gates);
  return startMeasurement({ rounds, path, closed, solution: gates }, toMask(closed, gates.length));
}

/** One stage of elimination. */
function closeMore(model: QuadraticModel, state: QuadraticState): QuadraticState {
  const heads = model.slope.length;
  const open = listOpen(state.closed, heads);
  const closing = eliminateHeads(model, { open, count: countClosing(open.length) });
  const closed = [...state.closed, ...closing];
  return startMeasurement({ ...state, closed }, toMask(closed, heads));
}

function listOpen(closed: readonly number[], heads: number): number[] {
  const streams = new Set(closed);
  return Array.from({ length: heads }, (_, head) => head).filter((head) => !streams.has(head));
}

function toMask(closed: readonly number[], heads: number): Float64Array {
  const mask = new Float64Array(heads).fill(1);
  for (const head of closed) mask[head] = 0;
  return mask;
}

/** Measure the samples that are left; the state is on disk after each. */
async function measure(begun: QuadraticState, run: Run): Promise<QuadraticState> {
  const { settings, checkpointPath, identity, sampleAt, onProgress } = run;
  const { engine, signal } = run.measure;
  const grid = toGrid(begun.gates, engine.model.kvHeads);
  const stages = listStages(begun.gates.length);
  const isElimination = begun.solution !== null;
  const open = listOpen(begun.closed, begun.gates.length);
  const heads = isElimination ? open : undefined;
  // Work in rounds: a stage of elimination measures only the open heads.
  const toRounds = (sizes: readonly number[]): number =>
    sizes.reduce((total, size) => total + size, 0) / begun.gates.length;
  const before = isElimination
    ? settings.rounds + toRounds(stages.filter((size) => size > open.length))
    : begun.rounds.length;
  const share = isElimination ? open.length / begun.gates.length : 1;
  const all = settings.rounds + toRounds(stages);
  let state = begun;
  while (state.samplesDone < settings.samples) {
    const { samplesDone } = state;
    if (signal?.aborted) {
      throw new AbortedError(`Stopped before sample ${samplesDone} of ${settings.samples} of a measurement.`);
    }
    const sample = await sampleAt(samplesDone);
    const gram = await measureSample(sample, grid, {
      ...(await optionsOf({ index: samplesDone, sample, gates: grid }, run)),
      heads,
      onProgress: (fraction) => onProgress?.((before + (share * (samplesDone + fraction)) / settings.samples) / all),
    });
    const sums = state.sums.map((sum, index) => sum + (gram[index] as number));
    state = { ...state, samplesDone: samplesDone + 1, sums };
    writeQuadraticState(checkpointPath, identity, state);
  }
  return state;
}

/** Solve at λ and take as much of the step as the true objective allows; a single round takes the solution as it is. */
async function takeStep(
  model: QuadraticModel,
  state: QuadraticState,
  run: Run,
): Promise<{ gates: Float64Array; record: RoundRecord }> {
  const { lambda, rounds } = run.settings;
  const solution = solveGates(model, lambda, model.center);
  if (rounds === 1) {
    const record = { loss: model.loss, lossAfter: null, stepTaken: 1, streamingHeads: countStreaming(solution) };
    return { gates: solution, record };
  }
  const objectiveBefore = model.loss + lambda * mean(state.gates);
  for (const share of STEP_SHARES) {
    const gates = state.gates.map((gate, head) => Math.fround(gate + share * ((solution[head] as number) - gate)));
    const lossAfter = await measureMeanLoss(gates, run);
    if (lossAfter + lambda * mean(gates) >= objectiveBefore) continue;
    const record = { loss: model.loss, lossAfter, stepTaken: share, streamingHeads: countStreaming(gates) };
    return { gates, record };
  }
  const record = { loss: model.loss, lossAfter: model.loss, stepTaken: 0, streamingHeads: countStreaming(state.gates) };
  return { gates: state.gates, record };
}

async function measureMeanLoss(flat: Float64Array, run: Run): Promise<number> {
  const { samples } = run.settings;
  const gates = toGrid(flat, run.measure.engine.model.kvHeads);
  let sum = 0;
  for (let index = 0; index < samples; index++) {
    const sample = await run.sampleAt(index);
    sum += await measureLoss(sample, gates, await optionsOf({ index, sample, gates }, run));
  }
  return sum / samples;
}

/** How to measure a sample around some gates. */
async function optionsOf(at: { index: number; sample: Sample; gates: GateGrid }, run: Run): Promise<MeasureOptions> {
  const { index, sample, gates } = at;
  const scratchFolder = join(dirname(run.checkpointPath), '.probe');
  const options: MeasureOptions = { ...run.measure, step: run.settings.step, scratchFolder };
  if (isFull(gates)) return options;
  const full = run.full.get(index) ?? (await computeFull(sample, options));
  if (full.byteLength * run.settings.samples <= KEPT_BYTES) run.full.set(index, full);
  return { ...options, full };
}

function toModel(state: QuadraticState, samples: number): QuadraticModel {
  const size = state.gates.length;
  const gram = new Float64Array(size * size);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      gram[row * size + column] = (state.sums[row * (size + 1) + column] as number) / samples;
    }
  }
  const last = state.sums.subarray(size * (size + 1)).map((sum) => sum / samples);
  return {
    center: state.gates.map((gate) => 1 - gate),
    loss: last[size] as number,
    slope: last.slice(0, size),
    gram,
  };
}

/** True iff a whole step left every head on its side of one half. */
function isStable(before: Float64Array, after: Float64Array, record: RoundRecord): boolean {
  return record.stepTaken === 1 && before.every((gate, head) => gate < 0.5 === (after[head] as number) < 0.5);
}

function countStreaming(gates: Float64Array): number {
  return gates.reduce((count, gate) => count + Number(gate < 0.5), 0);
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** @throws {ConfigError} counts below 1, an unknown step, λ that is not above 0. */
export function checkQuadraticSettings(settings: QuadraticSettings): void {
  const expect = (isValid: boolean, name: keyof QuadraticSettings, words: string): void => {
    if (!isValid) throw new ConfigError(`Expected \`${name}\` to be ${words}, got \`${settings[name]}\`.`);
  };
  expect(Number.isInteger(settings.samples) && settings.samples >= 1, 'samples', 'an integer of at least 1');
  expect(Number.isInteger(settings.rounds) && settings.rounds >= 1, 'rounds', 'an integer of at least 1');
  expect(settings.step === 'finite' || settings.step === 'tangent', 'step', 'finite or tangent');
  const isLambdaValid = Number.isFinite(settings.lambda) && settings.lambda > 0;
  expect(isLambdaValid, 'lambda', 'a number above 0 for the quadratic method, which has nothing to trade without it');
}

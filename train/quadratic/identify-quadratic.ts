// The quadratic method from samples to gates: measure, solve, and where more rounds are asked, move to the solution as far as the
// true loss agrees and measure again there (Gauss–Newton), so that heads which back each other up are seen without their backing.
// Then the order of closing by elimination, measured again around ever smaller masks; masks of a budget are cut on it.
import { rmSync } from 'node:fs';
import type { GateGrid, Sample } from '../../src/core/shapes.ts';
import { AbortedError, ConfigError } from '../../src/errors/errors.ts';
import type { LadderEffects, LambdaPath } from '../../src/formats/gates.ts';
import { chooseDistance, isLongRangeSample } from '../distance.ts';
import { describeDifference, findIdentityDifference } from '../run-identity.ts';
import { addValues, countSamples, findBalance, startSums, toMeans } from './balanced-sums.ts';
import { findQuadraticState, type QuadraticState, type RoundRecord, writeQuadraticState } from './checkpoint.ts';
import { climb } from './climb.ts';
import { countClosing, eliminateHeads, listStages, rankClosing } from './eliminate-heads.ts';
import { startLadder, toEffects } from './ladder.ts';
import { isFull, type MeasureOptions, measureLoss, measureSample, type ProbingEngine } from './measure-sample.ts';
import { measureOverEngines } from './over-engines.ts';
import { type QuadraticModel, readModel, solveGates, solvePath, toGrid } from './quadratic-model.ts';
import { checkQuadraticSettings, isFirstSpared } from './quadratic-settings.ts';
import { countWork, enginesOf, type QuadraticOptions, type Run, scratchOf, sharedBy } from './run.ts';
import { computeFull, computeStreaming } from './sample-metric.ts';
import { shrinkSketch } from './shrink-sketch.ts';
import { isSketched, sketchSample } from './sketch-sample.ts';

/** Shares of the way to the quadratic's minimum that are tried, the first that lowers the true objective is taken. */
const STEP_SHARES = [1, 1 / 2, 1 / 4, 1 / 8];

/** Hidden states of samples under full attention, and with every head streaming, that are kept from one measurement to the next; beyond, they are computed again. */
const KEPT_BYTES = 256 * 2 ** 20;

export interface QuadraticResult {
  /** at λ, `[layers][kvHeads]`, 0..1 */
  readonly gates: GateGrid;
  /** of the first measurement, around all heads full: later ones know only the neighbourhood of the run's λ; ranked by elimination */
  readonly path: LambdaPath;
  readonly rounds: readonly RoundRecord[];
  /** what closing each head alone does, all others full, by the run's distance, `[N]` fp64 */
  readonly effects: Float64Array;
  /** weight of long-range samples relative to others, chosen so that both have the same trace; 1 for one kind alone */
  readonly balance: number;
  /** where windows were asked for */
  readonly ladder?: LadderEffects;
}

/** Run the rounds and the elimination to the end, or to an abort. Same settings, samples, engine and device: the same result, however often it was
 * aborted and resumed; an abort drops at most the sample under way.
 * @throws {AbortedError}; {ConfigError} settings out of range, or a resume with others; {FormatError} a sample without supervised
 * positions; {EngineError}; {FileError}. */
export async function identifyQuadratic(options: QuadraticOptions): Promise<QuadraticResult> {
  const { settings, checkpointPath, identity } = options;
  const { layers, kvHeads } = options.measure.engine.model;
  checkQuadraticSettings(settings, layers * kvHeads);
  const numOptions = layers * kvHeads * (settings.windows?.length ?? 0);
  const found = options.resume ? findQuadraticState(checkpointPath, { heads: layers * kvHeads, numOptions }) : null;
  const difference = found && findIdentityDifference(found.identity, identity);
  if (difference) throw new ConfigError(describeDifference(difference));
  if (!found) rmSync(checkpointPath, { force: true });
  const ladder = settings.windows ? startLadder(numOptions) : null;
  const begin = { rounds: [], path: null, effects: null, closed: [], solution: null, balance: null, ladder };
  let state = found?.state ?? startMeasurement(begin, new Float64Array(layers * kvHeads).fill(1));
  const run: Run = { ...options, ends: new Map() };
  if (settings.windows) state = await climb(state, { run, windows: settings.windows });
  for (;;) {
    state = await measure(state, run);
    state = { ...state, balance: state.balance ?? findBalanceOf(state) };
    const model = toModel(state, run.settings.samples * chooseVectors(state, run));
    state = state.solution ? closeMore(model, state) : await endRound(model, state, run);
    const { path, effects, closed, solution, rounds, balance } = state;
    if (path && effects && solution && closed.length === solution.length) {
      const ranked = { ...path, ranking: rankClosing(closed, kvHeads) };
      const found = { gates: toGrid(solution, kvHeads), path: ranked, rounds, effects, balance: balance ?? 1 };
      return { ...found, ...describeLadder(state, run) };
    }
    writeQuadraticState(checkpointPath, identity, state);
  }
}

function describeLadder(state: QuadraticState, { settings, measure }: Run): Pick<QuadraticResult, 'ladder'> {
  if (!state.ladder || !settings.windows) return {};
  const { samples, windows, windowRule: rule, ladderVectors = 0 } = settings;
  const options = { sinkTokens: measure.window.sinkTokens, windows, rule, draws: samples * ladderVectors };
  return { ladder: toEffects(state.ladder, options) };
}

function startMeasurement(
  done: Pick<QuadraticState, 'rounds' | 'path' | 'effects' | 'closed' | 'solution' | 'balance' | 'ladder'>,
  gates: Float64Array,
): QuadraticState {
  const { rounds, path, effects, closed, solution, balance, ladder } = done;
  return {
    rounds,
    path,
    effects,
    closed,
    solution,
    balance,
    ladder,
    gates,
    measured: startSums((gates.length + 1) ** 2),
  };
}

/** What a round leads to: another one around its gates, or the elimination, whose first heads close by the first round's measurement. */
async function endRound(model: QuadraticModel, state: QuadraticState, run: Run): Promise<QuadraticState> {
  const { settings, measure } = run;
  const { gates, record } = await takeStep(model, state, run);
  const rounds = [...state.rounds, record];
  const path = state.path ?? solvePath(model, { lambda: settings.lambda, kvHeads: measure.engine.model.kvHeads });
  const effects = state.effects ?? model.slope.map((_, head) => model.gram[head * (model.slope.length + 1)] as number);
  const closed = state.path ? state.closed : closeMore(model, state).closed;
  const isLast = rounds.length === settings.rounds || record.stepTaken === 0 || isStable(state.gates, gates, record);
  if (!isLast) return startMeasurement({ ...state, rounds, path, effects, closed, solution: null }, gates);
  return startMeasurement({ ...state, rounds, path, effects, closed, solution: gates }, toMask(closed, gates.length));
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
  const stagesDone = stages.filter((size) => size > open.length).reduce((sum, size) => sum + size, 0);
  const work = countWork(run);
  const done = isElimination ? settings.rounds + stagesDone / begun.gates.length : begun.rounds.length;
  const before = work.ladder - work.spared + done;
  const share = isElimination ? open.length / begun.gates.length : 1;
  const vectors = chooseVectors(begun, run);
  let state = begun;
  await measureOverEngines({
    begin: countSamples(begun.measured),
    end: settings.samples,
    engines: enginesOf(run),
    shared: sharedBy(run, 'gram', { gates: [...begun.gates], heads: heads ?? null }),
    signal,
    sampleAt,
    async measure(sample, { index, engine: own, slot, onProgress: report }) {
      if (signal?.aborted)
        throw new AbortedError(`Stopped before sample ${index} of ${settings.samples} of a measurement.`);
      const options = await optionsOf({ index, sample, gates: grid, engine: own, slot }, run);
      return vectors > 0
        ? sketchSample(sample, grid, { ...options, vectors, sampleIndex: index, onProgress: report })
        : measureSample(sample, grid, { ...options, heads, onProgress: report });
    },
    onMeasured(gram, { sample }) {
      state = { ...state, measured: addValues(state.measured, gram, isLongRangeSample(sample)) };
      writeQuadraticState(checkpointPath, identity, state);
    },
    onProgress: (samplesDone) => onProgress?.((before + (share * samplesDone) / settings.samples) / work.total),
  });
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
    const lossAfter = await measureMeanLoss(gates, { run, balance: state.balance ?? 1 });
    if (lossAfter + lambda * mean(gates) >= objectiveBefore) continue;
    const record = { loss: model.loss, lossAfter, stepTaken: share, streamingHeads: countStreaming(gates) };
    return { gates, record };
  }
  const record = { loss: model.loss, lossAfter: model.loss, stepTaken: 0, streamingHeads: countStreaming(state.gates) };
  return { gates: state.gates, record };
}

async function measureMeanLoss(flat: Float64Array, { run, balance }: { run: Run; balance: number }): Promise<number> {
  const { samples } = run.settings;
  const gates = toGrid(flat, run.measure.engine.model.kvHeads);
  let losses = startSums(1);
  for (let index = 0; index < samples; index++) {
    const sample = await run.sampleAt(index);
    const loss = await measureLoss(sample, gates, await optionsOf({ index, sample, gates }, run));
    losses = addValues(losses, Float64Array.of(loss), isLongRangeSample(sample));
  }
  return toMeans(losses, balance)[0] as number;
}

/** How to measure a sample around some gates. */
async function optionsOf(
  at: { index: number; sample: Sample; gates: GateGrid; engine?: ProbingEngine; slot?: number },
  run: Run,
): Promise<MeasureOptions> {
  const { index, sample, gates, engine = run.measure.engine, slot = 0 } = at;
  const { step, distance: rule = 'hidden' } = run.settings;
  const distance = chooseDistance(sample, rule);
  const options: MeasureOptions = {
    ...run.measure,
    engine,
    distance,
    step,
    scratchFolder: scratchOf(run, slot),
  };
  if (isFull(gates) && distance === 'hidden') return options;
  let ends = run.ends.get(index);
  if (ends === undefined) {
    const full = await computeFull(sample, options);
    ends = distance === 'kl' ? { full, streaming: await computeStreaming(sample, options) } : { full };
    if (2 * full.byteLength * run.settings.samples <= KEPT_BYTES) run.ends.set(index, ends);
  }
  return { ...options, ...ends };
}

/** By the heads' own effects, the residual left out. */
function findBalanceOf({ measured, gates }: QuadraticState): number {
  return findBalance(
    measured,
    Array.from(gates, (_, head) => head * (gates.length + 2)),
  );
}

/** Random vectors that the measurement under way is sketched by; 0 = it is probed, or was with the ladder. */
function chooseVectors(
  { gates, closed, solution, rounds }: QuadraticState,
  { settings, measure: { engine, window } }: Run,
): number {
  const { kvHeads } = engine.model;
  const { vectors = 0 } = settings;
  if (rounds.length === 0 && isFirstSpared(settings, window.recentTokens)) return 0;
  const open = solution === null ? gates.length : gates.length - closed.length;
  return isSketched(toGrid(gates, kvHeads), { open, kvHeads, vectors }) ? vectors : 0;
}

/** @param draws random vectors of all samples where they were sketched, 0 = they were probed. */
function toModel({ measured, balance, gates }: QuadraticState, draws: number): QuadraticModel {
  const model = readModel(toMeans(measured, balance ?? 1), gates);
  if (draws > 0) shrinkSketch(model.gram, { headOf: (head) => head, draws });
  return model;
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

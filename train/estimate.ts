// What a run is expected to take, reported before its first step: memory of the longest step, time of all of them.
// The engine counts bytes and operations; the rate is measured on one short sample, so that a wrong guess cannot cost hours unseen.
import type { GateGrid, Sample, Window } from '../src/core/shapes.ts';
import { filledGrid } from '../src/core/shapes.ts';
import { formatBytes, formatExpectedSeconds } from '../src/core/words.ts';
import type { DistillOptions, Engine } from '../src/engine/engine.ts';

/** From here on a person should be asked twice. */
const LONG_RUN_SECONDS = 3600;

export interface RunEstimate {
  /** bytes of the longest step */
  readonly memoryBytes: number;
  /** floating-point operations of all steps */
  readonly operations: number;
  readonly seconds: number;
  /** true from one hour on */
  readonly isLong: boolean;
}

/** Seconds of one call; on a GPU of its second run, because the first one loads kernels and makes what all later ones find. */
export async function timeCall(engine: Pick<Engine, 'device'>, call: () => Promise<unknown>): Promise<number> {
  if (engine.device.startsWith('cuda')) await call();
  const start = performance.now();
  await call();
  // A clock of microsecond steps may show 0 for a tiny model.
  return Math.max(performance.now() - start, 1e-3) / 1000;
}

/** Operations a second of one distillation step, measured. Costs that step; the gates it uses are all 1.
 * @param sample a short one: the rate of longer ones is close to it or better. */
export async function measureRate(options: {
  engine: Engine;
  sample: Sample;
  window: Window;
  distill?: DistillOptions;
}): Promise<number> {
  const { engine, sample, window, distill } = options;
  const gates: GateGrid = filledGrid(engine.model.layers, engine.model.kvHeads, 1);
  const seconds = await timeCall(engine, () => engine.distill(sample, gates, window, distill));
  return engine.estimate(sample.tokens.length, window).operations / seconds;
}

/** Memory and time of a run.
 * @param lengths tokens of each step's sample.  @param window of the streaming branches.  @param operationsPerSecond from `measureRate` or a step of this run. */
export function estimateRun(options: {
  engine: Engine;
  lengths: readonly number[];
  window: Window;
  operationsPerSecond: number;
}): RunEstimate {
  const { engine, lengths, window, operationsPerSecond } = options;
  const steps = new Map<number, { memoryBytes: number; operations: number }>();
  let operations = 0;
  let memoryBytes = 0;
  for (const length of lengths) {
    const step = steps.get(length) ?? engine.estimate(length, window);
    steps.set(length, step);
    operations += step.operations;
    memoryBytes = Math.max(memoryBytes, step.memoryBytes);
  }
  const seconds = operations / operationsPerSecond;
  return { memoryBytes, operations, seconds, isLong: seconds >= LONG_RUN_SECONDS };
}

/** The estimate as one sentence. */
export function describeEstimate(estimate: RunEstimate): string {
  return `Expected: ${formatBytes(estimate.memoryBytes)} of memory, ${formatExpectedSeconds(estimate.seconds)}.`;
}

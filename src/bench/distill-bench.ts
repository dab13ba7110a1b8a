// One identification step at a length: seconds, the operations it needs, the memory it takes. Checked first on a text that the window holds whole,
// where teacher and student are the same function.
import type { GateGrid, Sample, Window } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError } from '../errors/errors.ts';
import type { SessionCheck } from './session-checks.ts';

export interface DistillFigures {
  readonly tokens: number;
  /** of each timed step, in order */
  readonly seconds: readonly number[];
  /** by the engine's own count */
  readonly operations: number;
  /** by the engine's own count, weights included */
  readonly memoryBytes: number;
  /** bytes of weights copied from host memory in the last step; 0 where the device has them all */
  readonly copiedBytes: number;
  readonly loss: number;
}

/** Ten passkeys of 32 words, in tokens: what a sample of the recipe supervises. */
const SUPERVISED_TOKENS = 640;
const CHECKED_TOKENS = 48;
/** The square of rounding between operations in bf16, far below what any masked head costs. */
const LOSS_LIMIT = 1e-4;

/** @param options.window what a streaming branch sees.  @throws {AbortedError} between steps; as the engine's `distill`. */
export async function measureDistill(
  engine: Engine,
  options: {
    readonly tokens: number;
    readonly window: Window;
    /** timed steps, at least 1 */
    readonly repeats: number;
    /** a step before them that is not counted: the first of a length allocates and plans; default true */
    readonly warmsUp?: boolean;
    readonly seed: number;
    readonly signal?: AbortSignal;
  },
): Promise<DistillFigures> {
  const sample = makeSample(engine, options);
  const seconds: number[] = [];
  let loss = 0;
  let copiedBytes = 0;
  const countCopied = (): number => engine.streamed?.()?.copiedBytes ?? 0;
  const warmUps = (options.warmsUp ?? true) ? 1 : 0;
  for (let run = 0; run < warmUps + options.repeats; run++) {
    if (options.signal?.aborted) throw new AbortedError('The bench was stopped.');
    const copiedBefore = countCopied();
    const startMs = performance.now();
    ({ loss } = await engine.distill(sample, halfGates(engine), options.window));
    if (run >= warmUps) seconds.push((performance.now() - startMs) / 1000);
    copiedBytes = countCopied() - copiedBefore;
  }
  return { tokens: options.tokens, seconds, ...engine.estimate(options.tokens, options.window), copiedBytes, loss };
}

/** Checks that a window which holds the whole text leaves no loss. */
export async function checkDistill(engine: Engine): Promise<SessionCheck> {
  const sample = makeSample(engine, { tokens: CHECKED_TOKENS, seed: 1 });
  const window = { sinkTokens: 2, recentTokens: CHECKED_TOKENS };
  const { loss } = await engine.distill(sample, halfGates(engine), window);
  const law = 'a distillation whose window holds the whole text has no loss';
  return { law, error: loss, limit: LOSS_LIMIT, holds: loss <= LOSS_LIMIT };
}

function halfGates({ model }: Engine): GateGrid {
  return Array.from({ length: model.layers }, () => new Array<number>(model.kvHeads).fill(0.5));
}

function makeSample(engine: Engine, options: { readonly tokens: number; readonly seed: number }): Sample {
  const { tokens, seed } = options;
  return {
    tokens: Array.from({ length: tokens }, (_, index) => (index * 7919 + seed) % engine.model.vocab),
    answers: [[tokens - Math.min(SUPERVISED_TOKENS, tokens - 1), tokens]],
  };
}

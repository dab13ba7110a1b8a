// The ladder of a run: sums over samples of what each head costs at each window, alone and in pairs, as they are kept in the checkpoint,
// and what gates.json says of them. Predicted loss of a choice of windows = sum of the effects of all pairs of chosen options.
import type { WindowRule } from '../../src/core/window-rule.ts';
import { ConfigError } from '../../src/errors/errors.ts';
import {
  type LadderEffects,
  MAX_LADDER_OPTIONS,
  MAX_LADDER_WINDOWS,
  makeLadderEffects,
} from '../../src/formats/ladder-effects.ts';
import { addValues, type BalancedSums, findBalance, startSums, toMeans } from './balanced-sums.ts';
import { countPairs } from './measure-ladder.ts';
import { shrinkSketch } from './shrink-sketch.ts';

/** Measured samples of a ladder. */
export interface LadderState {
  /** of the longest sample so far */
  readonly tokens: number;
  /** inner products, lower triangle, fp64 */
  readonly measured: BalancedSums;
}

export function startLadder(numOptions: number): LadderState {
  return { tokens: 0, measured: startSums(countPairs(numOptions)) };
}

/** The state with one more sample. @param triangle as `measureLadder` gives it. */
export function addSample(
  state: LadderState,
  sample: { tokens: number; triangle: Float64Array; isLongRange: boolean },
): LadderState {
  return {
    tokens: Math.max(state.tokens, sample.tokens),
    measured: addValues(state.measured, sample.triangle, sample.isLongRange),
  };
}

/** Means as gates.json holds them; where samples of both objectives were measured, brought to the same trace.
 * @param options.draws random vectors of all samples where they were sketched, 0 = they were probed. */
export function toEffects(
  { tokens, measured }: LadderState,
  options: { sinkTokens: number; windows: readonly number[]; rule?: WindowRule | undefined; draws: number },
): LadderEffects {
  const { sinkTokens, windows, rule, draws } = options;
  const size = Math.round((Math.sqrt(8 * measured.sums.length + 1) - 1) / 2);
  const diagonal = Array.from({ length: size }, (_, row) => countPairs(row + 1) - 1);
  const means = toMeans(measured, findBalance(measured, diagonal));
  const matrix = new Float64Array(size * size);
  for (let row = 0, at = 0; row < size; row++) {
    for (let column = 0; column <= row; column++, at++) {
      const mean = means[at] as number;
      matrix[row * size + column] = mean;
      matrix[column * size + row] = mean;
    }
  }
  if (draws > 0) shrinkSketch(matrix, { headOf: (row) => Math.floor(row / windows.length), draws });
  return makeLadderEffects({ sink: sinkTokens, windows: [...windows], rule, tokens, matrix });
}

/** One rung of the sums as a measurement with that window alone leaves them around all heads full: the same bytes, for products do not
 * depend on the other rows.
 * @returns `[N+1, N+1]` fp64; the residual's row is 0. */
export function pickRung(sums: Float64Array, options: { heads: number; rungs: number; rung: number }): Float64Array {
  const { heads, rungs, rung } = options;
  const picked = new Float64Array((heads + 1) ** 2);
  for (let row = 0; row < heads; row++) {
    for (let column = 0; column <= row; column++) {
      const value = sums[countPairs(row * rungs + rung) + column * rungs + rung] as number;
      picked[row * (heads + 1) + column] = value;
      picked[column * (heads + 1) + row] = value;
    }
  }
  return picked;
}

/** @throws {ConfigError} windows not ascending integers of at least 1, or more options than a gates.json takes. */
export function checkWindows(windows: readonly number[], heads: number): void {
  const isValid = windows.every(
    (window, rung) => Number.isInteger(window) && window > (rung === 0 ? 0 : (windows[rung - 1] as number)),
  );
  if (windows.length === 0 || windows.length > MAX_LADDER_WINDOWS || !isValid) {
    throw new ConfigError(
      `Expected \`windows\` to be 1 to ${MAX_LADDER_WINDOWS} ascending integers of at least 1, got \`${windows.join(', ')}\`.`,
    );
  }
  if (windows.length * heads <= MAX_LADDER_OPTIONS) return;
  throw new ConfigError(
    `Expected at most ${MAX_LADDER_OPTIONS} pairs of a KV head and a window, got ${heads} heads with ${windows.length} windows; give at most ${Math.floor(MAX_LADDER_OPTIONS / heads)} --windows.`,
  );
}

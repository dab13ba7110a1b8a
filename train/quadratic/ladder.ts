// The ladder of a run: sums over samples of what each head costs at each window, alone and in pairs, as they are kept in the checkpoint,
// and what gates.json says of them. Predicted loss of a choice of windows = sum of the effects of all pairs of chosen options.
import { ConfigError } from '../../src/errors/errors.ts';
import {
  type LadderEffects,
  MAX_LADDER_OPTIONS,
  MAX_LADDER_WINDOWS,
  makeLadderEffects,
} from '../../src/formats/ladder-effects.ts';
import { countPairs } from './measure-ladder.ts';

/** Measured samples of a ladder. */
export interface LadderState {
  readonly samplesDone: number;
  /** of the longest sample so far */
  readonly tokens: number;
  /** summed inner products, lower triangle, fp64 */
  readonly sums: Float64Array;
}

export function startLadder(numOptions: number): LadderState {
  return { samplesDone: 0, tokens: 0, sums: new Float64Array(countPairs(numOptions)) };
}

/** The state with one more sample. @param triangle as `measureLadder` gives it. */
export function addSample(state: LadderState, sample: { tokens: number; triangle: Float64Array }): LadderState {
  return {
    samplesDone: state.samplesDone + 1,
    tokens: Math.max(state.tokens, sample.tokens),
    sums: state.sums.map((sum, index) => sum + (sample.triangle[index] as number)),
  };
}

/** Means as gates.json holds them. */
export function toEffects(
  { samplesDone, tokens, sums }: LadderState,
  { sinkTokens, windows }: { sinkTokens: number; windows: readonly number[] },
): LadderEffects {
  const size = Math.round((Math.sqrt(8 * sums.length + 1) - 1) / 2);
  const matrix = new Float64Array(size * size);
  for (let row = 0, at = 0; row < size; row++) {
    for (let column = 0; column <= row; column++, at++) {
      const mean = (sums[at] as number) / samplesDone;
      matrix[row * size + column] = mean;
      matrix[column * size + row] = mean;
    }
  }
  return makeLadderEffects({ sink: sinkTokens, windows: [...windows], tokens, matrix });
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

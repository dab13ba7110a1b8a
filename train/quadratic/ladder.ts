// The ladder of a run: sums over samples of what each head costs at each window, alone and in pairs, as they are kept in the checkpoint,
// and what gates.json says of them. Predicted loss of a choice of windows = sum of the effects of all pairs of chosen options.
import { ConfigError } from '../../src/errors/errors.ts';
import { countPairs } from './measure-ladder.ts';

/** A matrix of so many options is 30 MB in gates.json. */
export const MAX_LADDER_OPTIONS = 2048;
/** Beyond what probes in single precision tell apart. */
const EFFECT_DIGITS = 7;

/** Measured samples of a ladder. */
export interface LadderState {
  readonly samplesDone: number;
  /** of the longest sample so far */
  readonly tokens: number;
  /** summed inner products, lower triangle, fp64 */
  readonly sums: Float64Array;
}

/** What a head costs at each window: effects[i][j] = mean over samples of ⟨Dᵢ, Dⱼ⟩ over supervised positions and C, j ≤ i, of the options
 * i = (layer·kvHeads + head)·windows + rung. */
export interface LadderEffects {
  readonly sink: number;
  /** tokens, ascending */
  readonly windows: readonly number[];
  /** of the longest sample measured */
  readonly tokens: number;
  /** lower triangle, row i has i + 1 values */
  readonly effects: readonly (readonly number[])[];
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

/** Means as gates.json holds them, to seven digits. */
export function toEffects(
  { samplesDone, tokens, sums }: LadderState,
  { sinkTokens, windows }: { sinkTokens: number; windows: readonly number[] },
): LadderEffects {
  const effects: number[][] = [];
  for (let begin = 0; begin < sums.length; begin += effects.length) {
    const row = sums.subarray(begin, begin + effects.length + 1);
    effects.push(Array.from(row, (sum) => Number((sum / samplesDone).toPrecision(EFFECT_DIGITS))));
  }
  return { sink: sinkTokens, windows: [...windows], tokens, effects };
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
export function checkLadder(windows: readonly number[], heads: number): void {
  const isValid = windows.every(
    (window, rung) => Number.isInteger(window) && window > (rung === 0 ? 0 : (windows[rung - 1] as number)),
  );
  if (windows.length === 0 || !isValid) {
    throw new ConfigError(
      `Expected \`windows\` to be ascending integers of at least 1, got \`${windows.join(', ')}\`.`,
    );
  }
  if (windows.length * heads <= MAX_LADDER_OPTIONS) return;
  throw new ConfigError(
    `Expected at most ${MAX_LADDER_OPTIONS} pairs of a KV head and a window, got ${heads} heads with ${windows.length} windows; give at most ${Math.floor(MAX_LADDER_OPTIONS / heads)} --windows.`,
  );
}

// 95 % intervals. Accuracies get Wilson's score interval: it stays honest at 0 and 1, where a bootstrap of equal values has
// no width. Quantities without bounds (log-probability) get a seeded percentile bootstrap over samples.
import type { Random } from '../../core/random.ts';

/** Normal quantile of 97.5 %. */
const Z = 1.959963984540054;

const BOOTSTRAP_ROUNDS = 1000;

export type Interval = [low: number, high: number];

/** Wilson's 95 % score interval of a mean of `samples` values that each lie in 0..1.
 * For values between 0 and 1 it is on the safe side: no such variable of mean p varies more than a coin of bias p.
 * @param mean 0 to 1.  @param samples effective number of independent samples, above 0; 0 gives [0, 1]. */
export function computeWilsonInterval(mean: number, samples: number): Interval {
  if (samples <= 0) return [0, 1];
  const square = (Z * Z) / samples;
  const centre = (mean + square / 2) / (1 + square);
  const half = (Z / (1 + square)) * Math.sqrt((mean * (1 - mean)) / samples + square / (4 * samples));
  const low = mean === 0 ? 0 : Math.max(0, centre - half);
  const high = mean === 1 ? 1 : Math.min(1, centre + half);
  return [Math.min(low, mean), Math.max(high, mean)];
}

/** Kish's effective number of samples for weighted means: (Σw)² / Σw². */
export function countEffectiveSamples(weights: readonly number[]): number {
  const sum = weights.reduce((a, b) => a + b, 0);
  const squares = weights.reduce((a, b) => a + b * b, 0);
  return squares === 0 ? 0 : (sum * sum) / squares;
}

/** Mean of `values` weighted by `weights`; NaN for none. */
export function computeWeightedMean(values: readonly number[], weights: readonly number[]): number {
  let sum = 0;
  let total = 0;
  for (const [index, value] of values.entries()) {
    sum += value * (weights[index] as number);
    total += weights[index] as number;
  }
  return sum / total;
}

/** Mean of b − a over samples that both scored, with the half-width of its 95 % interval; infinite for fewer than two samples. */
export function comparePairs(a: readonly number[], b: readonly number[]): { mean: number; halfWidth: number } {
  const differences = b.map((value, index) => value - (a[index] as number));
  const count = differences.length;
  const mean = differences.reduce((sum, value) => sum + value, 0) / count;
  if (count < 2) return { mean, halfWidth: Number.POSITIVE_INFINITY };
  const squares = differences.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, halfWidth: Z * Math.sqrt(squares / (count - 1) / count) };
}

/** Percentile bootstrap over samples: 2.5 % and 97.5 % of the weighted means of `rounds` draws with replacement.
 * @param options.random decides the draws: same state, same interval.  @param options.rounds default 1000. */
export function bootstrapInterval(
  values: readonly number[],
  options: { readonly weights?: readonly number[]; readonly random: Random; readonly rounds?: number },
): Interval {
  const { random, rounds = BOOTSTRAP_ROUNDS } = options;
  const weights = options.weights ?? values.map(() => 1);
  if (values.length === 0) return [Number.NaN, Number.NaN];
  const means = Array.from({ length: rounds }, () => {
    const drawn = values.map(() => random.integer(values.length));
    return computeWeightedMean(
      drawn.map((index) => values[index] as number),
      drawn.map((index) => weights[index] as number),
    );
  });
  return takePercentiles(means);
}

/** Percentile bootstrap of a ratio over items drawn with replacement; draws whose ratio is not finite are left out.
 * @param measure the ratio of a draw.  @param random decides the draws. */
export function bootstrapRatio<Item>(
  items: readonly Item[],
  measure: (drawn: readonly Item[]) => number,
  random: Random,
): Interval {
  const ratios = Array.from({ length: BOOTSTRAP_ROUNDS }, () =>
    measure(items.map(() => items[random.integer(items.length)] as Item)),
  );
  return takePercentiles(ratios.filter(Number.isFinite));
}

/** 2.5 % and 97.5 % of values, which are sorted in place. */
function takePercentiles(values: number[]): Interval {
  values.sort((a, b) => a - b);
  const at = (share: number): number => values[Math.round(share * (values.length - 1))] as number;
  return [at(0.025), at(0.975)];
}

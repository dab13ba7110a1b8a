// Mean and 95 % interval of the scores of one cell. Right-or-wrong scores are a proportion and get Wilson's interval; graded ones
// get a bootstrap over samples, seeded by their number, so that the same scores give the same interval.
import { makeRandom } from '../../core/random.ts';
import { bootstrapInterval, computeWilsonInterval, type Interval } from './confidence.ts';

const PERFECT = 100;

/** @param scores 0 to 100, at least one.  @returns mean and interval over 100, in 0 to 1. */
export function summariseScores(scores: readonly number[]): {
  readonly mean: number;
  readonly interval: Interval;
  readonly intervalKind: 'wilson' | 'bootstrap';
} {
  const shares = scores.map((score) => Math.min(1, score / PERFECT));
  const mean = Math.min(1, shares.reduce((a, b) => a + b, 0) / shares.length);
  const isProportion = shares.every((share) => share === 0 || share === 1);
  // equal graded scores have no spread to draw from; Wilson's interval is on the safe side for them
  if (isProportion || new Set(shares).size === 1)
    return { mean, interval: computeWilsonInterval(mean, shares.length), intervalKind: 'wilson' };
  const random = makeRandom(0, 'score interval', shares.length);
  const [low, high] = bootstrapInterval(shares, { random });
  return { mean, interval: [Math.min(low, mean), Math.max(high, mean)], intervalKind: 'bootstrap' };
}

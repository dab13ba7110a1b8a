// Intervals: published values of Wilson's formula, seeded bootstrap.
import { describe, expect, it } from 'vitest';
import { makeRandom } from '../../../../src/core/random.ts';
import {
  bootstrapInterval,
  comparePairs,
  computeWilsonInterval,
  countEffectiveSamples,
} from '../../../../src/eval/metrics/confidence.ts';

describe('computeWilsonInterval', () => {
  it('gives the textbook values', () => {
    // 81 of 263 (Newcombe 1998, table I): 0.2553 to 0.3662; 0 of 20: 0 to 0.1611
    const [low, high] = computeWilsonInterval(81 / 263, 263);
    expect(low).toBeCloseTo(0.2553, 4);
    expect(high).toBeCloseTo(0.3662, 4);
    expect(computeWilsonInterval(0, 20)[0]).toBe(0);
    expect(computeWilsonInterval(0, 20)[1]).toBeCloseTo(0.1611, 4);
  });

  it('keeps width at 1 and contains the mean', () => {
    expect(computeWilsonInterval(1, 10)[1]).toBe(1);
    expect(computeWilsonInterval(1, 10)[0]).toBeCloseTo(0.7225, 4);
    expect(computeWilsonInterval(0.3, 0)).toEqual([0, 1]);
    for (let mean = 0; mean <= 1; mean += 0.125) {
      const [low, high] = computeWilsonInterval(mean, 7);
      expect(low).toBeLessThanOrEqual(mean);
      expect(high).toBeGreaterThanOrEqual(mean);
    }
  });
});

it('compares pairs by the spread of their differences alone', () => {
  // Differences 1, 2, 3: mean 2, standard error √(1/3).
  const { mean, halfWidth } = comparePairs([10, -20, 0], [11, -18, 3]);
  expect(mean).toBeCloseTo(2, 12);
  expect(halfWidth).toBeCloseTo(1.959963984540054 / Math.sqrt(3), 12);
  expect(comparePairs([1], [2])).toEqual({ mean: 1, halfWidth: Number.POSITIVE_INFINITY });
});

it('counts equal weights fully and one large weight once', () => {
  expect(countEffectiveSamples([3, 3, 3, 3])).toBe(4);
  expect(countEffectiveSamples([1, 1_000_000])).toBeCloseTo(1, 5);
});

it('bootstraps the same interval from the same seed, around the mean', () => {
  const values = Array.from({ length: 60 }, (_, index) => Math.sin(index));
  const first = bootstrapInterval(values, { random: makeRandom(1, 'b') });
  expect(bootstrapInterval(values, { random: makeRandom(1, 'b') })).toEqual(first);
  const mean = values.reduce((a, b) => a + b, 0) / 60;
  expect(first[0]).toBeLessThan(mean);
  expect(first[1]).toBeGreaterThan(mean);
  // normal approximation: 1.96 · σ/√n with σ² ≈ 1/2
  expect((first[1] - first[0]) / 2).toBeCloseTo((1.96 * Math.SQRT1_2) / Math.sqrt(60), 1);
});

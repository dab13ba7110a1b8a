// Kept recall: a ratio of sums, its paired interval, and when there is none.
import { describe, expect, it } from 'vitest';
import { measureKeptRecall } from '../../../../src/eval/metrics/kept-recall.ts';

const pairs = (full: readonly number[], mask: readonly number[]) =>
  full.map((right, index) => ({ full: right, mask: mask[index]! }));

describe('measureKeptRecall', () => {
  it('is the ratio of the sums, not the mean of ratios', () => {
    const { value } = measureKeptRecall(pairs([10, 1, 1, 1, 1, 1, 1, 0], [5, 1, 1, 1, 1, 1, 1, 0]));
    expect(value).toBe(11 / 16);
  });

  it('pairs the samples: a mask that keeps nine tenths of each has no width, whatever full attention does', () => {
    const full = [10, 20, 30, 40, 50, 60, 70, 80];
    const { value, interval } = measureKeptRecall(
      pairs(
        full,
        full.map((right) => 0.9 * right),
      ),
    );
    expect(value).toBeCloseTo(0.9, 12);
    expect(interval![0]).toBeCloseTo(0.9, 12);
    expect(interval![1]).toBeCloseTo(0.9, 12);
  });

  it('has a lower end below the value where samples differ, the same each time', () => {
    const samples = pairs(new Array<number>(20).fill(10), [...new Array<number>(18).fill(10), 5, 0]);
    const { value, interval } = measureKeptRecall(samples);
    expect(value).toBeCloseTo(0.925, 12);
    expect(interval![0]).toBeLessThan(0.9);
    expect(interval![0]).toBeGreaterThan(0.7);
    expect(measureKeptRecall(samples).interval).toEqual(interval);
  });

  it('may be above 1', () => {
    expect(measureKeptRecall(pairs(new Array<number>(8).fill(4), new Array<number>(8).fill(5))).value).toBe(1.25);
  });

  it('says why there is none', () => {
    expect(measureKeptRecall(pairs([1, 1], [1, 1]))).toEqual({
      value: null,
      interval: null,
      reason: 'too little to measure: 2 samples, of at least 8',
    });
    expect(measureKeptRecall(pairs(new Array<number>(8).fill(0), new Array<number>(8).fill(0))).reason).toBe(
      'full attention itself predicts no answer token right',
    );
  });
});

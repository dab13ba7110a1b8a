// Sums of two kinds of samples: one kind alone is its plain mean to the bit, both are brought to the same trace and count alike.
import { describe, expect, it } from 'vitest';
import {
  addValues,
  countSamples,
  findBalance,
  mapSums,
  startSums,
  toMeans,
} from '../../../train/quadratic/balanced-sums.ts';

const of = (...values: number[]): Float64Array => Float64Array.from(values);
/** of a 2 × 2 matrix */
const DIAGONAL = [0, 3];

describe('balanced sums', () => {
  it.each([false, true])('of one kind (long-range: %s) are their mean', (isLongRange) => {
    let sums = startSums(4);
    for (const values of [of(0.1, 1, 1, 0.3), of(0.7, 2, 2, 0.2), of(0.1, 0, 0, 0)])
      sums = addValues(sums, values, isLongRange);
    expect(countSamples(sums)).toBe(3);
    expect(findBalance(sums, DIAGONAL)).toBe(1);
    expect(toMeans(sums, 1)).toEqual(of((0.1 + 0.7 + 0.1) / 3, 1, 1, (0.3 + 0.2) / 3));
  });

  it('of both kinds have the trace of the first and half of each', () => {
    let sums = addValues(startSums(4), of(1, 4, 4, 3), false);
    sums = addValues(sums, of(3, 0, 0, 1), false);
    sums = addValues(sums, of(200, 100, 100, 600), true);
    const balance = findBalance(sums, DIAGONAL);
    expect(balance).toBeCloseTo(4 / 800, 15);
    expect([...toMeans(sums, balance)].map((value) => Number(value.toFixed(12)))).toEqual([1.5, 1.25, 1.25, 2.5]);
  });

  it('leave scales alone where a kind moves nothing', () => {
    const sums = addValues(addValues(startSums(4), of(1, 0, 0, 1), false), of(0, 0, 0, 0), true);
    expect(findBalance(sums, DIAGONAL)).toBe(1);
  });

  it('map both kinds', () => {
    const sums = addValues(addValues(startSums(2), of(1, 2), false), of(3, 4), true);
    const picked = mapSums(sums, (values) => values.slice(1));
    expect([picked.sums, picked.long?.sums, countSamples(picked)]).toEqual([of(2), of(4), 2]);
  });
});

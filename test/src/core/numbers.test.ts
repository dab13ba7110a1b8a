import { describe, expect, it } from 'vitest';
import { argmax, countGateStates, median } from '../../../src/core/numbers.ts';

describe('median', () => {
  it('takes the middle, of an even number the mean of the two, and leaves its input as it was', () => {
    const values = [3, 1, 2];
    expect(median(values)).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(median([10, 9, 100])).toBe(10);
    expect(values).toEqual([3, 1, 2]);
  });
});

describe('argmax', () => {
  it.each([
    [[5], 0],
    [[-3, -1, -2], 1],
    [[1, 7, 7, 2], 1],
    [[0, 1, 2], 2],
  ])('of %j is %d', (values, index) => {
    expect(argmax(Float32Array.from(values))).toBe(index);
  });
});

describe('countGateStates', () => {
  it('counts both bounds as decided', () => {
    expect(countGateStates([0, 0.05, 0.0501, 0.5, 0.9499, 0.95, 1])).toEqual({ open: 2, closed: 2, undecided: 3 });
  });
});

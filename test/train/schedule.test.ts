import { describe, expect, test } from 'vitest';
import { computeLearningRate, warmupSteps } from '../../train/schedule.ts';

const factors = (steps: number) =>
  Array.from({ length: steps }, (_, step) => computeLearningRate({ step, steps, lr: 1 }));

describe('learning rate', () => {
  test.each([
    [1, [1]],
    [2, [1, 1]],
    [4, [1, 1, 1, 1]],
    [9, [1, 1, 1, 1, 1, 1, 1, 1, 1]],
    [10, [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 0.5]],
    [15, [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3]],
  ])('of %i steps', (steps, expected) => {
    expect(factors(steps)).toEqual(expected);
  });

  test('of 2000 steps: floor of a tenth at both ends, full in the middle', () => {
    const values = factors(2000);
    expect(warmupSteps(2000)).toBe(400);
    expect(values[0]).toBe(0.1);
    expect(values[38]).toBe(0.1);
    expect(values[40]).toBeCloseTo(41 / 400, 12);
    expect(values[399]).toBe(1);
    expect(values[1600]).toBe(1);
    expect(values[1601]).toBeCloseTo(399 / 400, 12);
    expect(values[1999]).toBe(0.1);
  });

  test.each([1, 2, 3, 5, 7, 9, 11, 60, 999])('of %i steps is symmetric, within 0.1 and 1', (steps) => {
    const values = factors(steps);
    values.forEach((value, step) => {
      expect(value).toBe(values[steps - 1 - step]);
      expect(value).toBeGreaterThanOrEqual(0.1);
      expect(value).toBeLessThanOrEqual(1);
    });
  });

  test('scales with lr', () => {
    expect(computeLearningRate({ step: 0, steps: 60, lr: 0.05 })).toBeCloseTo(0.005, 15);
  });
});

// Critical footprint on curves drawn by hand.
import { expect, it } from 'vitest';
import { findCriticalFootprint } from '../../../../src/eval/metrics/critical-footprint.ts';

const points = [
  { budget: 0.25, score: 40 },
  { budget: 0.5, score: 80 },
  { budget: 0.75, score: 100 },
];

it('interpolates between the points', () => {
  expect(findCriticalFootprint(points, { fullScore: 100, keep: 0.9 })).toEqual({ budget: 0.625, isUpperBound: false });
  expect(findCriticalFootprint(points, { fullScore: 100, keep: 0.8 }).budget).toBe(0.5);
  expect(findCriticalFootprint([...points].reverse(), { fullScore: 100, keep: 0.5 }).budget).toBe(0.3125);
});

it('says so when every point keeps the share', () => {
  expect(findCriticalFootprint(points, { fullScore: 100, keep: 0.4 })).toEqual({ budget: 0.25, isUpperBound: true });
});

it('takes the crossing above a dip, and full attention as the last point', () => {
  const dipped = [...points, { budget: 0.9, score: 50 }];
  expect(findCriticalFootprint(dipped, { fullScore: 100, keep: 0.9 }).budget).toBeCloseTo(0.98, 12);
  expect(findCriticalFootprint([], { fullScore: 100, keep: 0.9 })).toEqual({ budget: 1, isUpperBound: true });
});

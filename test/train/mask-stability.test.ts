import { expect, test } from 'vitest';
import { trackStability, UNSETTLED } from '../../train/mask-stability.ts';

const cut = (labels: number[], tieDecided = 0) => ({ mask: [labels], tieDecided });

test('counts steps without a change, and starts again at one', () => {
  let stability = UNSETTLED;
  const counts = [
    [1, 0],
    [1, 0],
    [1, 0],
    [0, 1],
    [0, 1],
  ].map((labels) => {
    stability = trackStability(stability, { cut: cut(labels), isWarm: true });
    return stability.unchangedSteps;
  });
  expect(counts).toEqual([0, 1, 2, 0, 1]);
});

test('counts nothing while the rate rises or ties decide', () => {
  const still = trackStability(UNSETTLED, { cut: cut([1, 0]), isWarm: true });
  expect(trackStability(still, { cut: cut([1, 0]), isWarm: false }).unchangedSteps).toBe(0);
  expect(trackStability(still, { cut: cut([1, 0], 2), isWarm: true }).unchangedSteps).toBe(0);
});

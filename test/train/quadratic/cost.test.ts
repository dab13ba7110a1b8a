// The counts of forward passes against the formula's own terms, written out for small shapes.
import { describe, expect, it } from 'vitest';
import { countMeasureForwards, countOptimizerForwards, countQuadraticForwards } from '../../../train/quadratic/cost.ts';
import { countBlocks, countHeldBytes } from '../../../train/quadratic/measure-sample.ts';

describe('forward passes', () => {
  it('count a head of layer l as the layers from l on', () => {
    // 2 layers of 3 heads: base 1, then 3 heads × (2 + 1 layers) / 2 layers.
    expect(countMeasureForwards({ layers: 2, kvHeads: 3, callsPerSample: 1, isFirst: true })).toBe(1 + 4.5);
    expect(countMeasureForwards({ layers: 2, kvHeads: 3, callsPerSample: 2, isFirst: false })).toBe(2 + 4.5 + 2);
  });

  it('add up over samples and rounds, with one tried step a round', () => {
    const shape = { layers: 2, kvHeads: 3, callsPerSample: 1 };
    expect(countQuadraticForwards({ ...shape, samples: 4, rounds: 1 })).toBe(4 * 5.5);
    expect(countQuadraticForwards({ ...shape, samples: 4, rounds: 2 })).toBe(4 * (5.5 + 7.5 + 4));
  });

  it('are four a step of the optimiser', () => {
    expect(countOptimizerForwards(100)).toBe(400);
  });
});

describe('blocks', () => {
  it('hold as many heads as fit, at least one', () => {
    expect(countBlocks({ numHeads: 10, length: 100 }, 1600)).toBe(3);
    expect(countBlocks({ numHeads: 10, length: 100 }, 1)).toBe(10);
  });

  it('of small models are held whole, of large ones two at a time', () => {
    expect(countHeldBytes({ numHeads: 3, length: 5 })).toBe(4 * 5 * 4);
    const large = countHeldBytes({ numHeads: 256, length: 320 * 4096 });
    expect(large).toBeLessThanOrEqual(2 * 256 * 2 ** 20);
    expect(large).toBeGreaterThan(0);
  });
});

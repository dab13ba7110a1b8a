// The counts of forward passes against the formula's own terms, written out for small shapes.
import { describe, expect, it } from 'vitest';
import { loadPreset } from '../../../src/config/presets.ts';
import {
  countEliminationForwards,
  countMeasureForwards,
  countOptimizerForwards,
  countQuadraticForwards,
} from '../../../train/quadratic/cost.ts';
import { countBlocks, countHeldBytes } from '../../../train/quadratic/measure-sample.ts';

describe('forward passes', () => {
  it('count a head of layer l as the layers from l on', () => {
    // 2 layers of 3 heads: base 1, then 3 heads × (2 + 1 layers) / 2 layers.
    expect(countMeasureForwards({ layers: 2, kvHeads: 3, callsPerSample: 1, isFirst: true })).toBe(1 + 4.5);
    expect(countMeasureForwards({ layers: 2, kvHeads: 3, callsPerSample: 2, isFirst: false })).toBe(2 + 4.5 + 1);
  });

  it('add up over samples, rounds with one tried step each, and elimination', () => {
    const shape = { layers: 2, kvHeads: 3, callsPerSample: 1 };
    // Six heads are measured again as three, half as many in each layer: base 1, 1.5 heads × 3 / 2 layers, residual 1.
    expect(countEliminationForwards(shape)).toBe(1 + 2.25 + 1);
    expect(countQuadraticForwards({ ...shape, samples: 4, rounds: 1 })).toBe(4 * (1 + 2 + 5.5 + 4.25));
    expect(countQuadraticForwards({ ...shape, samples: 4, rounds: 2 })).toBe(4 * (1 + 2 + 5.5 + 6.5 + 2 + 4.25));
  });

  it('of two samples, the least that are taken of 256 heads on a GPU, are less than a tenth of the optimiser’s', () => {
    const { quadraticRounds: rounds, steps } = loadPreset('base').config;
    const forwards = countQuadraticForwards({ layers: 32, kvHeads: 8, callsPerSample: 3, samples: 2, rounds });
    expect(forwards).toBeLessThan(countOptimizerForwards(steps) / 10);
  });

  it('are four per step of the optimiser', () => {
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
    const large = countHeldBytes({ numHeads: 4096, length: 640 * 4096 });
    expect(large).toBeLessThanOrEqual(2 * 2 ** 30);
    expect(large).toBeGreaterThan(0);
  });
});

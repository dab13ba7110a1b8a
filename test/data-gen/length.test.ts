import { describe, expect, it } from 'vitest';
import { drawLength, heldOutLengths, listLengths } from '../../data-gen/length.ts';

const grid = { minTokens: 10, maxTokens: 100, lengthCount: 4, lengthDraw: 'grid' as const };
const place = { seed: 1, split: 'train' as const };

describe('listLengths', () => {
  it('holds both ends, and the longest alone for a grid of one', () => {
    expect(listLengths(grid)).toEqual([10, 40, 70, 100]);
    expect(listLengths({ ...grid, lengthCount: 1 })).toEqual([100]);
    expect(listLengths({ minTokens: 2048, maxTokens: 32768, lengthCount: 50 })).toHaveLength(50);
  });
});

describe('drawLength', () => {
  it('takes each grid point once per epoch, in another order each time', () => {
    const epochs = Array.from({ length: 20 }, (_, epoch) =>
      Array.from({ length: 4 }, (_, index) => drawLength(grid, { ...place, index: 4 * epoch + index })),
    );
    for (const lengths of epochs) expect([...lengths].sort((a, b) => a - b)).toEqual([10, 40, 70, 100]);
    expect(new Set(epochs.map(String)).size).toBeGreaterThan(5);
  });

  it('covers the whole range when uniform', () => {
    const uniform = { minTokens: 5, maxTokens: 8, lengthCount: 1, lengthDraw: 'uniform' as const };
    const lengths = Array.from({ length: 200 }, (_, index) => drawLength(uniform, { ...place, index }));
    expect([...new Set(lengths)].sort()).toEqual([5, 6, 7, 8]);
  });
});

describe('heldOutLengths', () => {
  it('is capped at the model and never turned round', () => {
    const settings = { ...grid, heldOutSamples: 0, heldOutLengthFactor: 2 };
    expect(heldOutLengths(settings)).toMatchObject({ minTokens: 10, maxTokens: 200, lengthCount: 1 });
    expect(heldOutLengths(settings, 7)).toMatchObject({ minTokens: 7, maxTokens: 7 });
  });
});

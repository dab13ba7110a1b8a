// Baseline masks: sizes, seeds, and what each refuses.

import { describe, expect, it } from 'vitest';
import { findOneWindow, makeHeadMask, toMaskGrid } from '../../../src/core/head-mask.ts';
import { countRetrievalHeads, streamingFractionOf } from '../../../src/core/masks.ts';
import type { HeadMask } from '../../../src/core/shapes.ts';
import {
  listBaselines,
  makeLayerUniformMask,
  type NamedMask,
  summariseRandomRows,
} from '../../../src/eval/baselines.ts';

const model = { layers: 3, kvHeads: 4 };
const grid = [
  [1, 1, 1, 1],
  [0, 1, 0, 0],
  [0, 0, 0, 0],
];
const window = { sinkTokens: 2, recentTokens: 3 };
const given = makeHeadMask(grid, window);
const names = ['full', 'streaming', 'random', 'inverted', 'layer-uniform'];

describe('listBaselines', () => {
  it('names rows in the order asked, with the given window', () => {
    const rows = listBaselines({ names, model, given, seed: 1 });
    expect(rows.map((row) => row.name)).toEqual([
      'full',
      'streaming',
      'random-0',
      'random-1',
      'random-2',
      'inverted',
      'layer-uniform',
    ]);
    for (const row of rows.slice(1)) expect(findOneWindow(row.mask as HeadMask)).toEqual(window);
  });

  it('draws random masks of the same size: same seed same masks, other seed others', () => {
    const draw = (seed: number) => listBaselines({ names: ['random'], model, given, seed, randomMasks: 20 });
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    for (const row of draw(1)) expect(countRetrievalHeads(toMaskGrid(row.mask as HeadMask))).toBe(5);
    expect(new Set(draw(1).map((row) => JSON.stringify(row.mask))).size).toBeGreaterThan(10);
  });

  it('inverts head for head', () => {
    const row = listBaselines({ names: ['inverted'], model, given, seed: 1 })[0] as NamedMask;
    const inverted = toMaskGrid(row.mask as HeadMask);
    expect(inverted.map((line, layer) => line.map((value, head) => value + (grid[layer]?.[head] ?? 9)))).toEqual(
      grid.map((line) => line.map(() => 1)),
    );
    expect(streamingFractionOf(inverted)).toBeCloseTo(5 / 12, 12);
  });

  it('refuses an unknown name, and a baseline without the mask it needs', () => {
    expect(() => listBaselines({ names: ['best'], model, given, seed: 1 })).toThrow(
      'Expected a baseline of full, streaming, random, inverted, layer-uniform, got `best`',
    );
    expect(() => listBaselines({ names: ['random'], model, given: null, seed: 1 })).toThrow('give one with --mask');
    expect(listBaselines({ names: ['streaming'], model, given: null, window, seed: 1 })).toHaveLength(1);
  });
});

describe('makeLayerUniformMask', () => {
  it('spreads the budget and keeps the best gates of each layer', () => {
    const gates = [
      [0.1, 0.9, 0.5, 0.2],
      [0.1, 0.2, 0.3, 0.4],
      [0.9, 0.1, 0.1, 0.1],
    ];
    expect(makeLayerUniformMask(grid, gates)).toEqual([
      [0, 1, 1, 0],
      [0, 0, 1, 1],
      [1, 0, 0, 0],
    ]);
  });

  it('prefers the retrieval heads of the mask without gates', () => {
    expect(makeLayerUniformMask(grid)[1]).toEqual([0, 1, 0, 1]);
    expect(countRetrievalHeads(makeLayerUniformMask(grid))).toBe(5);
  });
});

it('summarises random rows by mean and sample deviation', () => {
  expect(summariseRandomRows([1, 2, 3])).toEqual({ mean: 2, deviation: 1 });
  expect(summariseRandomRows([0.5])).toEqual({ mean: 0.5, deviation: 0 });
});

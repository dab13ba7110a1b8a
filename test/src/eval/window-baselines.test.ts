// Baselines of a mask with windows of several sizes: they keep its windows, and `inverted` its sizes.
import { describe, expect, it } from 'vitest';
import { measureKvShare } from '../../../src/core/kv-cost.ts';
import type { HeadMask } from '../../../src/core/shapes.ts';
import { listBaselines } from '../../../src/eval/baselines.ts';

const given: HeadMask = {
  sinkTokens: 4,
  windows: [
    [null, 8, 32],
    [8, 8, 16],
  ],
};
const options = { model: { layers: 2, kvHeads: 3 }, given, seed: 5 };
const build = (name: string, more: object = {}): HeadMask[] =>
  listBaselines({ ...options, names: [name], ...more }).map(({ mask }) => mask as HeadMask);
const sorted = ({ windows }: HeadMask) => [...windows.flat()].sort((a, b) => (a ?? 1e9) - (b ?? 1e9));

describe('baselines of a mask with several windows', () => {
  it('random ones have its windows and so its entries, in another order for each index and the same for a seed', () => {
    const masks = build('random', { randomMasks: 4 });
    expect(masks).toHaveLength(4);
    for (const mask of masks) {
      expect(sorted(mask)).toEqual(sorted(given));
      expect(measureKvShare(mask, 100)).toBe(measureKvShare(given, 100));
    }
    expect(new Set(masks.map((mask) => JSON.stringify(mask))).size).toBeGreaterThan(1);
    expect(build('random', { randomMasks: 4 })).toEqual(masks);
  });

  it('inverted turns the widest into the narrowest', () => {
    expect(build('inverted')[0]?.windows).toEqual([
      [8, null, 16],
      [null, null, 32],
    ]);
  });

  it('layer-uniform deals windows to the layers and the wider to the higher gate', () => {
    const gates = [
      [0, 0.5, 1],
      [0.9, 0.1, 0.1],
    ];
    // widest first all, 32, 16, 8, 8, 8: layer 0 gets all, 16, 8, layer 1 gets 32, 8, 8
    expect(build('layer-uniform', { gates })[0]?.windows).toEqual([
      [8, 16, null],
      [32, 8, 8],
    ]);
  });

  it('streaming has the window asked for, else the narrowest', () => {
    expect(build('streaming')[0]?.windows.flat()).toEqual([8, 8, 8, 8, 8, 8]);
    const window = { sinkTokens: 2, recentTokens: 5 };
    expect(build('streaming', { window })[0]).toEqual({
      sinkTokens: 2,
      windows: [
        [5, 5, 5],
        [5, 5, 5],
      ],
    });
  });
});

// Windows of another model's mask in their shares, dealt by seed.
import { describe, expect, it } from 'vitest';
import { drawWindowsLike } from '../../../src/core/draw-windows.ts';
import { makeRandom } from '../../../src/core/random.ts';
import type { HeadMask } from '../../../src/core/shapes.ts';

const like: HeadMask = {
  sinkTokens: 4,
  windows: [
    [null, 8, 8],
    [16, 8, 8],
  ],
};
const count = (mask: HeadMask, window: number | null): number =>
  mask.windows.flat().filter((own) => own === window).length;

describe('drawWindowsLike', () => {
  it('has each window in its share of the heads, every head one', () => {
    const mask = drawWindowsLike(like, { layers: 4, kvHeads: 6, random: makeRandom(1, 'like') });
    expect(mask.sinkTokens).toBe(4);
    expect(mask.windows.map((row) => row.length)).toEqual([6, 6, 6, 6]);
    expect([count(mask, null), count(mask, 16), count(mask, 8)]).toEqual([4, 4, 16]);
  });

  it('gives remainders to the windows that lack most of a head, of equals to the narrower', () => {
    const mask = drawWindowsLike(like, { layers: 1, kvHeads: 8, random: makeRandom(1, 'like') });
    // 8 heads: 1.33 whole, 1.33 of 16, 5.33 of 8
    expect([count(mask, null), count(mask, 16), count(mask, 8)]).toEqual([1, 1, 6]);
  });

  it('is decided by the seed', () => {
    const draw = (seed: number) => drawWindowsLike(like, { layers: 5, kvHeads: 6, random: makeRandom(seed, 'like') });
    expect(draw(3)).toEqual(draw(3));
    expect(draw(3)).not.toEqual(draw(4));
  });
});

import { describe, expect, it } from 'vitest';
import { drawDepths, placeNeedles } from '../../data-gen/depth.ts';
import { makeRandom } from '../../src/core/random.ts';
import { makeWordTokenizer } from './word-tokenizer.ts';

const tokenizer = makeWordTokenizer();
const [stop] = tokenizer.encode('.') as [number];
const [word] = tokenizer.encode(' house') as [number];

describe('drawDepths', () => {
  it('takes points of the grid, both ends among them, without replacement', () => {
    const all = drawDepths({ depthMin: 0.1, depthMax: 0.5, depthCount: 5, passkeys: 5 }, makeRandom(1));
    for (const [index, depth] of [0.1, 0.2, 0.3, 0.4, 0.5].entries()) expect(all[index]).toBeCloseTo(depth, 12);
    expect(drawDepths({ depthMin: 0.1, depthMax: 0.5, depthCount: 1, passkeys: 1 }, makeRandom(1))).toEqual([0.1]);
  });

  it('reaches every point in time', () => {
    const seen = new Set<number>();
    for (let index = 0; index < 400; index++) {
      for (const depth of drawDepths({ depthMin: 0, depthMax: 1, depthCount: 11, passkeys: 2 }, makeRandom(2, index)))
        seen.add(depth);
    }
    expect(seen.size).toBe(11);
  });
});

describe('placeNeedles', () => {
  const place = (haystack: number[], depths: number[]): number[] => placeNeedles(haystack, { depths, tokenizer });

  it('goes to the nearest sentence end, the earlier of two equally near', () => {
    const haystack = new Array<number>(20).fill(word);
    haystack[6] = stop;
    haystack[12] = stop;
    expect(place(haystack, [0.5])).toEqual([7]);
    expect(place(haystack, [0.55])).toEqual([13]);
  });

  it('keeps the depth where no sentence ends near', () => {
    expect(place(new Array<number>(20).fill(word), [0.25, 0.5])).toEqual([5, 10]);
    const far = new Array<number>(2000).fill(word);
    far[100] = stop;
    expect(place(far, [0.5])).toEqual([1000]);
  });

  it('keeps positions apart and inside the haystack at both ends', () => {
    expect(place(new Array<number>(4).fill(word), [0, 0, 0])).toEqual([1, 2, 3]);
    expect(place(new Array<number>(4).fill(stop), [1, 1, 1])).toEqual([2, 3, 4]);
    expect(place([word, word, word], [0.1, 0.2, 0.3])).toEqual([1, 2, 3]);
  });
});

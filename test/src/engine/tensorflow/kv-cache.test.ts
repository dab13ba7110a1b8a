// Slots of a head's cache (docs/semantics.md, 6) against a plain list of everything written, for awkward windows and chunkings.
import { describe, expect, it } from 'vitest';
import { HeadCache } from '../../../../src/engine/tensorflow/kv-cache.ts';

const DIM = 2;

/** Keys [p, p] and values [−p, −p] of positions start … start+count−1. */
function entriesOf(start: number, count: number): { keys: Float32Array; values: Float32Array } {
  const keys = Float32Array.from({ length: count * DIM }, (_, index) => start + Math.floor(index / DIM));
  return { keys, values: keys.map((key) => -key) };
}

describe.each([
  [0, 1, 20],
  [0, 4, 20],
  [5, 1, 20],
  [3, 6, 20],
  [3, 6, 5],
  [30, 6, 20],
  [14, 6, 20],
])('sink %i, recent %i, T_max %i', (sinkTokens, recentTokens, maxTokens) => {
  it.each([1, 2, 3, 7, 20])('holds sinks and recent positions after chunks of %i', (chunk) => {
    const cache = new HeadCache({ maxTokens, headDim: DIM, window: { sinkTokens, recentTokens } });
    const slots = Math.min(maxTokens, sinkTokens + recentTokens);
    expect(cache.byteLength).toBe(2 * 4 * DIM * slots);
    for (let length = 0; length < maxTokens; ) {
      const count = Math.min(chunk, maxTokens - length);
      cache.write(length, entriesOf(length, count));
      length += count;
      const all = Array.from({ length }, (_, position) => position);
      const held = all.filter((position) => position < sinkTokens || position >= length - recentTokens);
      const { positions, keys, values } = cache.read(length);
      expect(positions).toEqual(held);
      expect([...keys]).toEqual(held.flatMap((position) => [position, position]));
      expect([...values]).toEqual(held.flatMap((position) => [-position, -position]));
    }
  });
});

it('a retrieval head holds everything', () => {
  const cache = new HeadCache({ maxTokens: 9, headDim: DIM, window: null });
  expect(cache.window).toBeNull();
  expect(cache.byteLength).toBe(2 * 4 * DIM * 9);
  cache.write(0, entriesOf(0, 4));
  cache.write(4, entriesOf(4, 5));
  expect(cache.read(9).positions).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

it('a clone is independent', () => {
  const cache = new HeadCache({ maxTokens: 9, headDim: DIM, window: { sinkTokens: 1, recentTokens: 2 } });
  cache.write(0, entriesOf(0, 5));
  const copy = cache.clone();
  cache.write(5, entriesOf(5, 1));
  expect([...copy.read(5).keys]).toEqual([0, 0, 3, 3, 4, 4]);
  expect([...cache.read(6).keys]).toEqual([0, 0, 4, 4, 5, 5]);
});

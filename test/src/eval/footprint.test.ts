// KV footprint against sums written out by hand.

import { describe, expect, it } from 'vitest';
import { makeHeadMask } from '../../../src/core/head-mask.ts';
import { countKvBytes } from '../../../src/core/kv-cost.ts';
import {
  countPeakStreamingEntries,
  countStreamingEntries,
  measureFootprint,
  measureMeanFootprint,
} from '../../../src/eval/footprint.ts';

const window = { sinkTokens: 1, recentTokens: 2 };
const half = makeHeadMask([[1, 0]], window);

describe('countStreamingEntries', () => {
  it('counts min(i + 1, S + R) keys per token when prefill is exact', () => {
    // tokens 0…5 of the prompt see 1 2 3 3 3 3, two decoded tokens see 3 3
    expect(countStreamingEntries({ promptTokens: 6, outputTokens: 2 }, window)).toBe(15 + 6);
    expect(countStreamingEntries({ promptTokens: 6, outputTokens: 2, chunkTokens: 1 }, window)).toBe(21);
  });

  it('counts cache and chunk when prefill is chunked', () => {
    // [0,4): 1+2+3+4 = 10; [4,6): cache 3, so (3+1)+(3+2) = 9; decode 3 3
    const run = { promptTokens: 6, outputTokens: 2, chunkTokens: 4, prefill: 'chunked' } as const;
    expect(countStreamingEntries(run, window)).toBe(10 + 9 + 6);
  });

  it('sees everything in one chunk, as the reference prefills', () => {
    const run = { promptTokens: 6, outputTokens: 0, prefill: 'chunked' } as const;
    expect(countStreamingEntries(run, window)).toBe(21);
  });

  it('follows the formula sum tri(b−a) + (b−a)(min(a,R) + min(max(a−R,0),S)) on random chunkings', () => {
    const wide = { sinkTokens: 3, recentTokens: 7 };
    for (let chunkTokens = 1; chunkTokens < 40; chunkTokens += 3) {
      let expected = 0;
      for (let a = 0; a < 37; a += chunkTokens) {
        const b = Math.min(37, a + chunkTokens);
        expected += ((b - a) * (b - a + 1)) / 2 + (b - a) * (Math.min(a, 7) + Math.min(Math.max(a - 7, 0), 3));
      }
      const run = { promptTokens: 37, outputTokens: 0, chunkTokens, prefill: 'chunked' } as const;
      expect(countStreamingEntries(run, wide)).toBe(expected);
    }
  });
});

describe('measureFootprint', () => {
  it('averages over heads and divides by full attention', () => {
    // full: 8·9/2 = 36 entries; streaming 21; half of the heads stream
    const run = { promptTokens: 6, outputTokens: 2 };
    const footprint = measureFootprint(run, half);
    expect(footprint.integrated).toBeCloseTo(0.5 + (0.5 * 21) / 36, 12);
    // one chunk of 6 beside an empty cache, over 8 tokens
    expect(footprint.peak).toBeCloseTo(0.5 + (0.5 * 6) / 8, 12);
  });

  it('is 1 for full, for a window as long as the run, and for nothing', () => {
    const run = { promptTokens: 5, outputTokens: 3, chunkTokens: 2 };
    const wide = makeHeadMask([[0, 0]], { sinkTokens: 4, recentTokens: 4 });
    expect(measureFootprint(run, 'full')).toEqual({ integrated: 1, peak: 1 });
    expect(measureFootprint(run, wide)).toEqual({ integrated: 1, peak: 1 });
    expect(measureFootprint({ ...run, prefill: 'chunked' }, wide)).toEqual({ integrated: 1, peak: 1 });
    expect(measureFootprint({ promptTokens: 0, outputTokens: 0 }, half)).toEqual({ integrated: 1, peak: 1 });
  });

  it('never falls when a head turns from streaming to retrieval', () => {
    const run = { promptTokens: 50, outputTokens: 4, chunkTokens: 8 };
    const budgets = [0, 1, 2, 3].map(
      (ones) =>
        measureFootprint(run, makeHeadMask([[0, 1, 2].map((head) => (head < ones ? 1 : 0))], window)).integrated,
    );
    expect([...budgets].sort((a, b) => a - b)).toEqual(budgets);
    expect(budgets[3]).toBe(1);
  });

  it('weighs runs by their entries', () => {
    const short = { promptTokens: 2, outputTokens: 0 };
    const long = { promptTokens: 8, outputTokens: 0 };
    // streaming entries 3 and 3 + 18 = 21 of 3 and 36
    const streaming = makeHeadMask([[0]], window);
    expect(measureMeanFootprint([short, long], streaming).integrated).toBeCloseTo((3 + 21) / (3 + 36), 12);
  });

  it('names a chunk below one token', () => {
    expect(() => measureFootprint({ promptTokens: 4, outputTokens: 0, chunkTokens: 0 }, half)).toThrow(
      'Expected `chunkTokens` to be an integer of at least 1, got `0`',
    );
  });
});

it('counts the largest of cache plus chunk', () => {
  expect(countPeakStreamingEntries({ promptTokens: 10, outputTokens: 1, chunkTokens: 4 }, window)).toBe(3 + 4);
  expect(countPeakStreamingEntries({ promptTokens: 10, outputTokens: 1, chunkTokens: 1 }, window)).toBe(4);
  expect(countPeakStreamingEntries({ promptTokens: 1, outputTokens: 1 }, window)).toBe(2);
});

it('counts bytes: 2·D·bytes per entry', () => {
  const model = { layers: 1, kvHeads: 2, headDim: 8 };
  expect(countKvBytes({ model, mask: 'full', tokens: 10, dtype: 'bf16' })).toBe(2 * 10 * 32);
  expect(countKvBytes({ model, mask: half, tokens: 10, dtype: 'bf16' })).toBe((10 + 3) * 32);
  expect(countKvBytes({ model, mask: half, tokens: 2, dtype: 'f32' })).toBe(4 * 64);
  expect(countKvBytes({ model, mask: half, tokens: 10, dtype: 'int8' })).toBe(13 * 2 * 12);
  // the published arithmetic: Llama-3-8B keeps 131,072 bytes per token, 65,536 with half of the heads full
  const llama = { layers: 32, kvHeads: 8, headDim: 128 };
  expect(countKvBytes({ model: llama, mask: 'full', tokens: 1, dtype: 'bf16' })).toBe(131_072);
  const grid = Array.from({ length: 32 }, () => [1, 0, 1, 0, 1, 0, 1, 0]);
  const mask = makeHeadMask(grid, { sinkTokens: 128, recentTokens: 256 });
  expect(countKvBytes({ model: llama, mask, tokens: 131_072, dtype: 'bf16' })).toBe((131_072 + 384) * 65_536);
});

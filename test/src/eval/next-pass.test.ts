// What an evaluation asks of a GPU beside the weights: the longest pass, and the caches of the cells that run at once.
import { describe, expect, it } from 'vitest';
import { makeHeadMask } from '../../../src/core/head-mask.ts';
import { countKvBytes } from '../../../src/core/kv-cost.ts';
import type { ModelShape } from '../../../src/core/shapes.ts';
import { countNextPass } from '../../../src/eval/next-pass.ts';

const model = { layers: 1, heads: 4, kvHeads: 2, headDim: 80 } as ModelShape;
const half = makeHeadMask([[1, 0]], { sinkTokens: 4, recentTokens: 12 });
const masks = [
  { name: 'full', mask: 'full' as const },
  { name: 'given', mask: half },
];
const groups = [{ mostTokens: 100 }, { mostTokens: 10_000 }];
const bytes = (tokens: number, mask: 'full' | typeof half = 'full', dtype: 'f32' | 'int4' = 'f32'): number =>
  countKvBytes({ model, mask, tokens, dtype, device: 'cuda:0' });

describe('countNextPass', () => {
  it('passes samples and running text whole, prompts by chunks', () => {
    const samples = [{ tokens: [1, 2, 3], answers: [] }];
    expect(countNextPass({ model, masks, samples })).toEqual({ pass: 'forward', tokens: 3, besideBytes: 0 });
    expect(countNextPass({ model, masks, samples, longRange: [{ length: 9000 }] }).tokens).toBe(9000);
    expect(countNextPass({ model, masks, samples, groups }).tokens).toBe(4096);
    expect(countNextPass({ model, masks, samples, groups, settings: { chunkTokens: 512 } }).tokens).toBe(512);
    expect(countNextPass({ model, masks, samples, groups: [{ mostTokens: 100 }] }).tokens).toBe(100);
    expect(countNextPass({ model, masks, samples: [] })).toEqual({ pass: 'forward', tokens: 0, besideBytes: 0 });
  });

  it('counts the largest caches that are open at once, as a GPU stores them', () => {
    const count = (concurrent: number, settings = {}): number | undefined =>
      countNextPass({ model, masks, samples: [], groups, settings, concurrent }).besideBytes;
    expect(count(1)).toBe(bytes(10_000));
    expect(count(2)).toBe(bytes(10_000) + bytes(10_000, half));
    expect(count(3)).toBe(bytes(10_000) + bytes(10_000, half) + bytes(100));
    expect(count(9)).toBe(bytes(10_000) + bytes(10_000, half) + bytes(100) + bytes(100, half));
    expect(count(1, { kvDtype: 'int4' })).toBe(10_000 * 2 * 2 * (48 + 4));
    expect(bytes(10_000, 'full', 'int4')).toBe(10_000 * 2 * 2 * (48 + 4));
  });
});

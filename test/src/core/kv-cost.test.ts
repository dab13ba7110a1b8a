import { describe, expect, test } from 'vitest';
import { makeHeadMask } from '../../../src/core/head-mask.ts';
import { countKvBytes, countPairs, entryBytes, listSavings, measureKvShare } from '../../../src/core/kv-cost.ts';

const window = { sinkTokens: 128, recentTokens: 256 };

describe('measureKvShare', () => {
  test('counts whole history for retrieval heads, S + R for streaming ones', () => {
    expect(measureKvShare(makeHeadMask([[1, 0]], window), 32_768)).toBe((32_768 + 384) / (2 * 32_768));
    const mask = makeHeadMask(
      [
        [0, 0],
        [0, 1],
      ],
      window,
    );
    expect(measureKvShare(mask, 1000)).toBe((1000 + 3 * 384) / 4000);
  });

  test('is 1 while the window holds everything, and for a mask of retrieval heads', () => {
    for (const tokens of [1, 127, 384]) expect(measureKvShare(makeHeadMask([[0, 1]], window), tokens)).toBe(1);
    expect(measureKvShare(makeHeadMask([[1, 1]], window), 1e6)).toBe(1);
    expect(measureKvShare(makeHeadMask([[0, 1]], window), 385)).toBeLessThan(1);
  });

  test('takes the window of each head, and refuses a length of 0', () => {
    const mask = {
      sinkTokens: 4,
      windows: [
        [null, 16],
        [60, 200],
      ],
    };
    expect(measureKvShare(mask, 100)).toBe((100 + 20 + 64 + 100) / 400);
    expect(measureKvShare('full', 100)).toBe(1);
    expect(() => measureKvShare(mask, 0)).toThrow('Expected `tokens` to be at least 1, got `0`');
  });
});

describe('countKvBytes', () => {
  test('counts keys and values of every head by its window, scales included', () => {
    const model = { layers: 1, kvHeads: 2, headDim: 8 };
    const mask = { sinkTokens: 4, windows: [[null, 16]] };
    expect(countKvBytes({ model, mask, tokens: 100, dtype: 'f32' })).toBe((100 + 20) * 2 * 8 * 4);
    expect(countKvBytes({ model, mask: 'full', tokens: 100, dtype: 'bf16' })).toBe(200 * 2 * 8 * 2);
    expect(countKvBytes({ model, mask, tokens: 10, dtype: 'int8' })).toBe(20 * 2 * (8 + 4));
    expect(countKvBytes({ model, mask, tokens: 10, dtype: 'int4' })).toBe(20 * 2 * (4 + 4));
    expect(countKvBytes({ model, mask, tokens: 10, dtype: 'k8v4' })).toBe(20 * (8 + 4 + 4 + 4));
  });
});

describe('entryBytes', () => {
  // of head size 80 int4 codes take 40 bytes: two and a half pieces of 16
  test.each([
    [80, 'int4', 88, 104],
    [80, 'k8v4', 84 + 44, 84 + 52],
    [80, 'int8', 168, 168],
    [80, 'fp8', 168, 168],
    [80, 'bf16', 320, 320],
    [80, 'f32', 640, 640],
    [128, 'int4', 136, 136],
    [96, 'int4', 104, 104],
    [32, 'int4', 40, 40],
  ] as const)('of %d values as %s are %d, and %d on CUDA', (headDim, dtype, cpu, cuda) => {
    expect(entryBytes(headDim, { dtype })).toBe(cpu);
    expect(entryBytes(headDim, { dtype, device: 'cpu avx512' })).toBe(cpu);
    expect(entryBytes(headDim, { dtype, device: 'cuda:1 NVIDIA H100' })).toBe(cuda);
  });
});

describe('countPairs', () => {
  test('is the sum of min(i + 1, visible) over the queries', () => {
    for (const [tokens, visible] of [
      [7, 7],
      [7, 3],
      [1, 5],
      [0, 2],
    ] as const) {
      let sum = 0;
      for (let query = 0; query < tokens; query++) sum += Math.min(query + 1, visible);
      expect(countPairs(tokens, visible)).toBe(sum);
    }
  });
});

describe('listSavings', () => {
  const mask = { sinkTokens: 8, windows: [[null, 24]] };
  const at = (tokens: number) => ({ tokens, saved: 1 - (tokens + 32) / (2 * tokens) });

  test.each([
    [undefined, [32_768, 131_072]],
    [131_072, [32_768, 131_072]],
    [131_071, [32_768]],
    [32_767, [32_767]],
    [2048, [2048]],
  ])('of a model that ends at %d tells %j', (longest, lengths) => {
    expect(listSavings(mask, longest)).toEqual(lengths.map(at));
  });
});

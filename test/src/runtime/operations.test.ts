import { describe, expect, it } from 'vitest';
import { findShape } from '../../../src/bench/shapes.ts';
import { makeHeadMask } from '../../../src/core/head-mask.ts';
import { countPairs } from '../../../src/core/kv-cost.ts';
import { countPrefillOperations } from '../../../src/runtime/operations.ts';

describe('countPairs', () => {
  it.each([
    [1, 1],
    [7, 3],
    [7, 7],
    [3, 9],
  ])('of %i tokens, %i visible, is the sum over the queries', (tokens, visible) => {
    const each = Array.from({ length: tokens }, (_, query) => Math.min(query + 1, visible));
    expect(countPairs(tokens, visible)).toBe(each.reduce((sum, pairs) => sum + pairs, 0));
  });
});

describe('countPrefillOperations', () => {
  const config = findShape('llama-3-8b', { layers: 2 });
  const { heads, kvHeads, headDim, layers, vocab, hidden } = config.shape;
  const window = { sinkTokens: 2, recentTokens: 3 };
  const count = (kind: number | null): { linear: number; attention: number } => {
    const mask = kind === null ? 'full' : makeHeadMask([Array(kvHeads).fill(kind), Array(kvHeads).fill(1)], window);
    return countPrefillOperations({ config, mask, tokens: 10 });
  };

  it('counts scores and values of every pair that a head sees', () => {
    expect(count(null).attention).toBe(layers * heads * 4 * headDim * 55);
    expect(count(1)).toEqual(count(null));
    expect(count(0).attention).toBe(heads * 4 * headDim * (55 + 15 + 5 * 5));
  });

  it('counts every weight of the layers once per token, the head once', () => {
    expect(count(null).linear).toBe(2 * (10 * 2 * 218_103_808 + vocab * hidden));
  });
});

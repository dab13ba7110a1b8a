// What a mask saves: the share of the full KV cache that remains at a given length.
import { countRetrievalHeads } from '../src/core/masks.ts';
import type { HeadMask } from '../src/core/shapes.ts';

/** Share of the full KV cache that a mask keeps at `tokens` tokens, 0..1: retrieval heads keep all T, streaming heads min(T, S+R).
 * @param tokens T ≥ 1. */
export function measureKvShare({ mask, window }: HeadMask, tokens: number): number {
  const total = mask.reduce((sum, row) => sum + row.length, 0);
  const retrieval = countRetrievalHeads(mask);
  const slots = Math.min(tokens, window.sinkTokens + window.recentTokens);
  return (retrieval * tokens + (total - retrieval) * slots) / (total * tokens);
}

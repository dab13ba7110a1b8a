// Which keys a block of queries sees, as additive masks: 0 where visible, a large negative number where not (docs/semantics.md, 1).
// Attention runs over blocks of query rows against the keys up to the block's end, so that no T × T matrix of scores is ever
// held and the keys above the diagonal are mostly not computed.
import * as tf from '@tensorflow/tfjs-core';
import { listWindows } from '../../core/head-mask.ts';
import type { StreamingWindows, Window } from '../../core/shapes.ts';

/** Query rows of a block: enough for the matrix product, few enough to leave most of the upper triangle out. */
export const BLOCK_ROWS = 256;

/** Far below any score, and finite, so that a masked score never turns into NaN; its exponential is exactly 0. */
export const HIDDEN_SCORE = -1e30;

/** The window of each KV head's streaming branch in a layer, in tokens; null = the whole context.
 * @param windows null = no head streams. */
export function listLayerWindows(
  windows: StreamingWindows | null,
  { layer, kvHeads }: { layer: number; kvHeads: number },
): readonly (number | null)[] {
  if (windows !== null && 'windows' in windows) return windows.windows[layer]!;
  return new Array<number | null>(kvHeads).fill(windows?.recentTokens ?? null);
}

/** Masks of one block of queries over the keys before its end. */
export type VisibilityBlock = {
  /** first row of the block in the query tensor */
  readonly start: number;
  /** one past its last row */
  readonly end: number;
  /** keys 0 … keys−1 take part */
  readonly keys: number;
  /** `[end − start, keys]` fp32 */
  readonly causal: tf.Tensor2D;
  /** same shape, by window in tokens; absent where it equals `causal` */
  readonly streaming: Readonly<Record<number, tf.Tensor2D>>;
};

/** Blocks that cover the queries at `positions`.
 * @param positions ascending; row r of the query tensor is at position positions[r].
 * @param windows null = no head streams.
 * Memory: for all T positions 2·T² bytes, and as much again for each different window. Free with `tf.dispose`. */
export function makeVisibility(positions: readonly number[], windows: StreamingWindows | null): VisibilityBlock[] {
  const sinkTokens = windows?.sinkTokens ?? 0;
  const different = windows === null ? [] : 'windows' in windows ? listWindows(windows) : [windows.recentTokens];
  const blocks: VisibilityBlock[] = [];
  for (let start = 0; start < positions.length; start += BLOCK_ROWS) {
    const queries = positions.slice(start, start + BLOCK_ROWS);
    const end = start + queries.length;
    const keys = (queries.at(-1) as number) + 1;
    const shape: [number, number] = [queries.length, keys];
    // Where all keys of the block fit the window, streaming is causal.
    const narrow = different.filter((recentTokens) => sinkTokens + recentTokens < keys);
    const streaming = narrow.map((recentTokens) => {
      const mask = tf.tensor2d(fillMask(queries, keys, { sinkTokens, recentTokens }), shape);
      return [recentTokens, mask] as const;
    });
    blocks.push({
      start,
      end,
      keys,
      causal: tf.tensor2d(fillMask(queries, keys, null), shape),
      streaming: Object.fromEntries(streaming),
    });
  }
  return blocks;
}

/** Additive mask `[queries.length, keys]`. @param window null = causal. */
function fillMask(queries: readonly number[], keys: number, window: Window | null): Float32Array {
  const mask = new Float32Array(queries.length * keys);
  queries.forEach((query, index) => {
    const row = index * keys;
    mask.fill(HIDDEN_SCORE, row + query + 1, row + keys);
    if (window === null) return;
    const firstRecent = query - window.recentTokens + 1;
    if (firstRecent > window.sinkTokens) mask.fill(HIDDEN_SCORE, row + window.sinkTokens, row + firstRecent);
  });
  return mask;
}

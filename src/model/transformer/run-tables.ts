// What the layers of one run share: rotary tables and visibility masks for its queries and keys.
// Usually every position is a query; where only some rows of the last layer are looked at, only those are.
import type * as tf from '@tensorflow/tfjs-core';
import type { StreamingWindows } from '../../core/shapes.ts';
import type { ModelConfig } from '../config.ts';
import { makeRotary, type Rotary } from './rotary.ts';
import { gatherRows } from './row-selection.ts';
import { makeVisibility, type VisibilityBlock } from './visibility.ts';

export type RunTables = {
  /** positions of the queries, ascending; null = all T */
  readonly queries: readonly number[] | null;
  readonly keyRotary: Rotary;
  readonly queryRotary: Rotary;
  /** null = no head streams */
  readonly windows: StreamingWindows | null;
  readonly visibility: VisibilityBlock[];
};

/** Tables for T tokens, every position a query.
 * @param windows null = no head streams. */
export function makeTables(config: ModelConfig, tokens: number, windows: StreamingWindows | null): RunTables {
  const rotary = makeRotary(config, { start: 0, count: tokens, maxTokens: tokens });
  const positions = Array.from({ length: tokens }, (_, index) => index);
  const visibility = makeVisibility(positions, windows);
  return { queries: null, keyRotary: rotary, queryRotary: rotary, windows, visibility };
}

/** Tables of the same run for the queries at `positions` alone, ascending. */
export function narrowTables(tables: RunTables, positions: readonly number[]): RunTables {
  const { keyRotary, windows } = tables;
  const queryRotary = {
    cos: gatherRows(keyRotary.cos, positions),
    sin: gatherRows(keyRotary.sin, positions),
    halfTurn: keyRotary.halfTurn,
  };
  return { queries: positions, keyRotary, queryRotary, windows, visibility: makeVisibility(positions, windows) };
}

/** Rows of the queries. @param stream `[T, width]`.  @returns `[queries, width]`. */
export function selectQueries(stream: tf.Tensor2D, tables: RunTables): tf.Tensor2D {
  return tables.queries === null ? stream : gatherRows(stream, tables.queries);
}

// Orders all KV heads of a model by gate: the order in which heads turn to streaming as the budget shrinks (docs/semantics.md, 5).
import type { GateGrid } from '../src/core/shapes.ts';

/** One head's place in the ranking. */
export interface RankedHead {
  readonly layer: number;
  /** KV head */
  readonly head: number;
  readonly gate: number;
}

/** All heads of the model, lowest gate first; equal gates in (layer, head) order, never at random.
 * @param gates `[layers][kvHeads]`, finite; not changed. */
export function rankGates(gates: GateGrid): RankedHead[] {
  const heads = gates.flatMap((row, layer) => row.map((gate, head) => ({ layer, head, gate })));
  // Array sort is stable, and the heads are listed in (layer, head) order.
  return heads.sort((a, b) => a.gate - b.gate);
}

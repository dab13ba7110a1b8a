// Greedy removal, the ground truth of the comparison: from all heads full, again and again close the head whose closing costs the
// answers the least log-probability. N(N+1)/2 evaluations of every sample; affordable for small models only.
import type { GateGrid, MaskGrid, Sample } from '../src/core/shapes.ts';
import { filledGrid } from '../src/core/shapes.ts';
import { RecallTable, type Setup } from './compare-setup.ts';

/** @returns the order of closing as gates: k/N for the head closed as number k, so that the last one has the largest gate below 1. */
export async function removeGreedily(setup: Setup, samples: readonly Sample[]): Promise<GateGrid> {
  const { layers, kvHeads } = setup.engine.model;
  const count = layers * kvHeads;
  const table = new RecallTable(setup, samples);
  const gates = filledGrid(layers, kvHeads, 1);
  const mask: MaskGrid = filledGrid(layers, kvHeads, 1);
  for (let closed = 0; closed < count; closed++) {
    let best = { head: -1, logProb: Number.NEGATIVE_INFINITY };
    for (let head = 0; head < count; head++) {
      const [layer, column] = [Math.floor(head / kvHeads), head % kvHeads];
      const row = mask[layer] as number[];
      if (row[column] === 0) continue;
      row[column] = 0;
      const { logProb } = await table.read(mask);
      row[column] = 1;
      if (logProb > best.logProb) best = { head, logProb };
    }
    const [layer, column] = [Math.floor(best.head / kvHeads), best.head % kvHeads];
    (mask[layer] as number[])[column] = 0;
    (gates[layer] as number[])[column] = closed / count;
  }
  return gates;
}

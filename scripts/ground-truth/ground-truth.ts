// Which heads a small model truly needs, without any method's opinion: each KV head alone forced to stream, and greedy removal,
// which lets one head after another stream, always the one whose removal costs the answers the least log-probability.
// N(N+1)/2 masks for N heads, each scored on every sample: affordable for small models only.
import { filledGrid, type GateGrid, type MaskGrid, type ModelShape } from '../../src/core/shapes.ts';
import { comparePairs } from '../../src/eval/metrics/confidence.ts';
import type { MaskScores } from './mask-scores.ts';

/** A KV head by its place. */
export interface HeadPlace {
  readonly layer: number;
  readonly head: number;
}

/** What the answers lose when one head streams and all others are full; below 0 where they gain. */
export interface HeadAblation extends HeadPlace {
  /** share of answer tokens, full minus ablated */
  readonly accuracyLost: number;
  /** mean natural-log probability of the answer tokens, full minus ablated */
  readonly logProbLost: number;
}

/** One step of greedy removal. */
export interface GreedyRemoval extends HeadPlace {
  /** mean natural-log probability of the answer tokens once this head and all removed before it stream */
  readonly logProb: number;
}

type Progress = (done: number, total: number) => void;
type HeadCounts = Pick<ModelShape, 'layers' | 'kvHeads'>;

/** Let each KV head stream alone. @returns in order of (layer, head). @throws as MaskScores.read. */
export async function ablateHeads(scores: MaskScores, onProgress?: Progress): Promise<HeadAblation[]> {
  const { layers, kvHeads } = scores.model;
  const full = await scores.read(filledGrid(layers, kvHeads, 1));
  const ablations: HeadAblation[] = [];
  for (const place of listHeads(scores.model)) {
    const alone = await scores.read(makeRemovedMask([place], scores.model));
    ablations.push({
      ...place,
      accuracyLost: scores.mean(full.accuracy) - scores.mean(alone.accuracy),
      logProbLost: scores.mean(full.logProb) - scores.mean(alone.logProb),
    });
    onProgress?.(ablations.length, layers * kvHeads);
  }
  return ablations;
}

/** Remove heads until all stream. Deterministic; of equal costs the lower (layer, head) goes first.
 * @param onProgress masks scored and in all.  @returns all heads in the order of their removal. @throws as MaskScores.read. */
export async function removeGreedily(scores: MaskScores, onProgress?: Progress): Promise<GreedyRemoval[]> {
  const left = listHeads(scores.model);
  const total = (left.length * (left.length + 1)) / 2;
  const removed: GreedyRemoval[] = [];
  let done = 0;
  while (left.length > 0) {
    let best = { index: -1, logProb: Number.NEGATIVE_INFINITY };
    for (const [index, place] of left.entries()) {
      const { logProb } = await scores.read(makeRemovedMask([...removed, place], scores.model));
      const mean = scores.mean(logProb);
      if (mean > best.logProb || best.index < 0) best = { index, logProb: mean };
      onProgress?.(++done, total);
    }
    const [place] = left.splice(best.index, 1) as [HeadPlace];
    removed.push({ ...place, logProb: best.logProb });
  }
  return removed;
}

/** Numbers of streaming heads at which greedy removal says that heads differ: the last head removed costs less log-probability than every
 * other that was left, beyond the paired 95 % interval over samples. Elsewhere another order of removal would have been as good by these samples.
 * @param removed as `removeGreedily` gave it with the same scores, which then hold every mask that is looked at.  @returns ascending. */
export async function findClearBudgets(scores: MaskScores, removed: readonly HeadPlace[]): Promise<number[]> {
  const clear: number[] = [];
  for (const [index, place] of removed.entries()) {
    const others = removed.slice(index + 1);
    if (others.length === 0) break;
    const before = removed.slice(0, index);
    const best = await scores.read(makeRemovedMask([...before, place], scores.model));
    let isClear = true;
    for (const other of others) {
      const { logProb } = await scores.read(makeRemovedMask([...before, other], scores.model));
      const { mean, halfWidth } = comparePairs(logProb, best.logProb);
      if (!(mean > halfWidth)) isClear = false;
    }
    if (isClear) clear.push(index + 1);
  }
  return clear;
}

/** The mask in which these heads stream and all others are full. */
export function makeRemovedMask(removed: readonly HeadPlace[], model: HeadCounts): MaskGrid {
  const mask = filledGrid(model.layers, model.kvHeads, 1);
  for (const { layer, head } of removed) (mask[layer] as number[])[head] = 0;
  return mask;
}

/** An order of removal as scores, k/N for the head removed as number k: cutting them gives the mask of every budget. */
export function convertRemovalsToGates(removed: readonly HeadPlace[], model: HeadCounts): GateGrid {
  const gates = filledGrid(model.layers, model.kvHeads, 1);
  for (const [index, { layer, head }] of removed.entries()) {
    (gates[layer] as number[])[head] = index / (model.layers * model.kvHeads);
  }
  return gates;
}

function listHeads({ layers, kvHeads }: HeadCounts): HeadPlace[] {
  return Array.from({ length: layers * kvHeads }, (_, index) => ({
    layer: Math.floor(index / kvHeads),
    head: index % kvHeads,
  }));
}

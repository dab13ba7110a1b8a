// Compares two masks of one shape: how far their retrieval heads are the same, and how far their gates rank the heads alike.
import type { GateGrid } from '../src/core/shapes.ts';
import { FormatError } from '../src/errors/errors.ts';
import type { MaskFile } from '../src/formats/mask.ts';

export interface MaskComparison {
  /** retrieval heads of each */
  readonly retrievalHeads: readonly [number, number];
  readonly sharedRetrieval: number;
  /** shared retrieval heads over the larger of both counts; 1 where neither has any */
  readonly overlap: number;
  /** shared over united retrieval heads; 1 where neither has any */
  readonly jaccard: number;
  /** Spearman's rank correlation of the gates, −1..1; null where the gates of one side are all equal */
  readonly spearman: number | null;
  /** heads with another label, in (layer, head) order */
  readonly differing: readonly { layer: number; head: number; labels: readonly [number, number] }[];
}

/** Compare two masks head by head. @throws {FormatError} unequal shapes; names both. */
export function compareMasks(a: MaskFile, b: MaskFile): MaskComparison {
  const [shapeA, shapeB] = [a, b].map(({ model }) => `${model.layers} × ${model.kvHeads}`);
  if (shapeA !== shapeB) throw new FormatError(`Expected two masks of one shape, got \`${shapeA}\` and \`${shapeB}\`.`);
  const labels = a.mask.flatMap((row, layer) =>
    row.map((label, head) => ({ layer, head, labels: [label, b.mask[layer]?.[head] as number] as const })),
  );
  const countOf = (isCounted: (labels: readonly [number, number]) => boolean) =>
    labels.filter((head) => isCounted(head.labels)).length;
  const retrievalHeads = [countOf(([x]) => x === 1), countOf(([, y]) => y === 1)] as const;
  const sharedRetrieval = countOf(([x, y]) => x === 1 && y === 1);
  const united = countOf(([x, y]) => x === 1 || y === 1);
  return {
    retrievalHeads,
    sharedRetrieval,
    overlap: united === 0 ? 1 : sharedRetrieval / Math.max(...retrievalHeads),
    jaccard: united === 0 ? 1 : sharedRetrieval / united,
    spearman: correlateRanks(a.gates, b.gates),
    differing: labels.filter((head) => head.labels[0] !== head.labels[1]),
  };
}

/** Spearman's rank correlation of two grids of one shape; equal values share their mean rank. Null where one side is constant. */
export function correlateRanks(a: GateGrid, b: GateGrid): number | null {
  const [x, y] = [rankValues(a.flat()), rankValues(b.flat())];
  const mean = (x.length + 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  x.forEach((rank, index) => {
    const [dx, dy] = [rank - mean, (y[index] as number) - mean];
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  });
  return xx === 0 || yy === 0 ? null : xy / Math.sqrt(xx * yy);
}

/** Rank of each value, 1 = lowest; equal values get the mean of their ranks. */
function rankValues(values: readonly number[]): number[] {
  const order = values.map((_, index) => index).sort((i, j) => (values[i] as number) - (values[j] as number));
  const ranks = new Array<number>(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end < order.length && values[order[end] as number] === values[order[start] as number]) end++;
    for (let at = start; at < end; at++) ranks[order[at] as number] = (start + 1 + end) / 2;
    start = end;
  }
  return ranks;
}

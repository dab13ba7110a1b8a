// Compares two masks of one shape: how far their retrieval heads and the entries they keep are the same, and how far their gates rank the
// heads alike.
import { hasSeveralWindows } from '../src/core/head-mask.ts';
import { countEntries, countHeadEntries, measureKvShare } from '../src/core/kv-cost.ts';
import type { GateGrid, HeadMask } from '../src/core/shapes.ts';
import { FormatError } from '../src/errors/errors.ts';
import { MASK_VERSION, type MaskFile, scoresOfMask, toHeadMask } from '../src/formats/mask.ts';

export interface MaskComparison {
  /** retrieval heads of each */
  readonly retrievalHeads: readonly [number, number];
  readonly sharedRetrieval: number;
  /** shared retrieval heads over the larger of both counts; 1 where neither has any */
  readonly overlap: number;
  /** shared over united retrieval heads; 1 where neither has any */
  readonly jaccard: number;
  /** Spearman's rank correlation of the gates, or of the ranks that were cut, −1..1; null where the gates of one side are all equal */
  readonly spearman: number | null;
  /** heads with another label or, where a mask has several windows, another window, in (layer, head) order */
  readonly differing: readonly DifferingHead[];
  /** true where a mask has windows of several sizes */
  readonly severalWindows: boolean;
  /** what is kept of a cache of `tokens` tokens, the length that a mask was cut for, else 32K */
  readonly entries: {
    readonly tokens: number;
    /** KV share of each, 0..1 */
    readonly kvShares: readonly [number, number];
    /** entries that both keep over those of the larger, 0..1 */
    readonly overlap: number;
  };
}

export interface DifferingHead {
  readonly layer: number;
  readonly head: number;
  /** 1 = retrieval */
  readonly labels: readonly [number, number];
  /** null = the whole context */
  readonly windows: readonly [number | null, number | null];
}

const USUAL_TOKENS = 32_768;

/** Compare two masks head by head. @throws {FormatError} unequal shapes; names both. */
export function compareMasks(a: MaskFile, b: MaskFile): MaskComparison {
  const [shapeA, shapeB] = [a, b].map(({ model }) => `${model.layers} × ${model.kvHeads}`);
  if (shapeA !== shapeB) throw new FormatError(`Expected two masks of one shape, got \`${shapeA}\` and \`${shapeB}\`.`);
  const masks = [toHeadMask(a), toHeadMask(b)] as const;
  const heads = pairHeads(masks);
  const severalWindows = masks.some(hasSeveralWindows);
  const countOf = (isCounted: (labels: readonly [number, number]) => boolean) =>
    heads.filter((head) => isCounted(head.labels)).length;
  const retrievalHeads = [countOf(([x]) => x === 1), countOf(([, y]) => y === 1)] as const;
  const sharedRetrieval = countOf(([x, y]) => x === 1 && y === 1);
  const united = countOf(([x, y]) => x === 1 || y === 1);
  return {
    retrievalHeads,
    sharedRetrieval,
    overlap: united === 0 ? 1 : sharedRetrieval / Math.max(...retrievalHeads),
    jaccard: united === 0 ? 1 : sharedRetrieval / united,
    spearman: correlateRanks(scoresOfMask(a), scoresOfMask(b)),
    differing: heads.filter(
      ({ labels, windows }) => labels[0] !== labels[1] || (severalWindows && windows[0] !== windows[1]),
    ),
    severalWindows,
    entries: compareEntries(masks, { heads, tokens: lengthOf(a) ?? lengthOf(b) ?? USUAL_TOKENS }),
  };
}

function pairHeads([a, b]: readonly [HeadMask, HeadMask]): DifferingHead[] {
  return a.windows.flatMap((row, layer) =>
    row.map((window, head) => {
      const windows = [window, b.windows[layer]?.[head] as number | null] as const;
      return { layer, head, labels: [windows[0] === null ? 1 : 0, windows[1] === null ? 1 : 0], windows };
    }),
  );
}

function lengthOf(mask: MaskFile): number | null {
  return mask.version === MASK_VERSION ? null : mask.atTokens;
}

function compareEntries(
  masks: readonly [HeadMask, HeadMask],
  { heads, tokens }: { heads: readonly DifferingHead[]; tokens: number },
): MaskComparison['entries'] {
  const [a, b] = masks;
  const count = (mask: HeadMask, window: number | null): number =>
    countHeadEntries(tokens, { sinkTokens: mask.sinkTokens, window });
  const shared = heads.reduce((sum, { windows }) => sum + Math.min(count(a, windows[0]), count(b, windows[1])), 0);
  return {
    tokens,
    kvShares: [measureKvShare(a, tokens), measureKvShare(b, tokens)],
    overlap: shared / Math.max(countEntries(a, tokens), countEntries(b, tokens)),
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

// Compares two gates files of one shape: how far they rank the heads alike, where they differ most, and what masks cut from them share.
import { FormatError } from '../src/errors/errors.ts';
import type { GatesFile } from '../src/formats/gates.ts';
import type { BinaryMaskFile } from '../src/formats/mask.ts';
import { buildMask } from './build-mask.ts';
import { compareMasks, correlateRanks } from './compare.ts';

export interface GatesComparison {
  /** Spearman's rank correlation of what heads are cut by (gates, or the order of a λ path), −1..1; null where one side is all equal */
  readonly spearman: number | null;
  /** mean of |a − b| over the heads, 0..1 */
  readonly meanDifference: number;
  /** the heads whose gates differ most, at most 8, the largest difference first; none where all are equal */
  readonly largest: readonly {
    readonly layer: number;
    readonly head: number;
    readonly gates: readonly [number, number];
  }[];
  /** true where both files name a model, and not the same one */
  readonly isOtherModel: boolean;
  /** masks cut from both at the same share */
  readonly cuts: readonly {
    readonly streamingFraction: number;
    /** of each: the same number, because the share decides it */
    readonly retrievalHeads: number;
    readonly shared: number;
  }[];
}

const FRACTIONS = [0.25, 0.5, 0.75];
const MAX_SHOWN = 8;
/** The heads that a cut keeps do not depend on it. */
const WINDOW = { sinkTokens: 0, recentTokens: 1 };

/** Compare two gates files head by head. @throws {FormatError} unequal shapes; names both. */
export function compareGates(a: GatesFile, b: GatesFile): GatesComparison {
  const [shapeA, shapeB] = [a, b].map(({ model }) => `${model.layers} × ${model.kvHeads}`);
  if (shapeA !== shapeB) throw new FormatError(`Expected two gates of one shape, got \`${shapeA}\` and \`${shapeB}\`.`);
  const heads = a.gates.flatMap((row, layer) =>
    row.map((gate, head) => ({ layer, head, gates: [gate, b.gates[layer]?.[head] as number] as const })),
  );
  const differenceOf = ({ gates }: { gates: readonly [number, number] }): number => Math.abs(gates[0] - gates[1]);
  const largest = heads
    .filter((head) => differenceOf(head) > 0)
    .sort((x, y) => differenceOf(y) - differenceOf(x))
    .slice(0, MAX_SHOWN);
  const [nameA, nameB] = [a.model.fingerprint, b.model.fingerprint];
  return {
    spearman: correlateRanks(a.path?.ranking ?? a.gates, b.path?.ranking ?? b.gates),
    meanDifference: heads.reduce((sum, head) => sum + differenceOf(head), 0) / heads.length,
    largest,
    isOtherModel: nameA !== null && nameB !== null && nameA !== nameB,
    cuts: FRACTIONS.map((streamingFraction) => {
      const cut = (gates: GatesFile): BinaryMaskFile =>
        buildMask({ gates, cut: { streamingFraction }, window: WINDOW }).file;
      const { retrievalHeads, sharedRetrieval } = compareMasks(cut(a), cut(b));
      return { streamingFraction, retrievalHeads: retrievalHeads[0], shared: sharedRetrieval };
    }),
  };
}

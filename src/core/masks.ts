// Head masks as grids: counting, inverting, drawing one of a given size. Ranking and cutting gates is the export room's work.
import type { Random } from './random.ts';
import { filledGrid, type MaskGrid } from './shapes.ts';

/** Number of retrieval heads (ones) in a mask. */
export function countRetrievalHeads(mask: MaskGrid): number {
  return mask.reduce((sum, row) => sum + row.reduce((inner, value) => inner + value, 0), 0);
}

/** Share of KV heads that stream, 0 to 1; 0 for an empty mask. */
export function streamingFractionOf(mask: MaskGrid): number {
  const heads = mask.reduce((sum, row) => sum + row.length, 0);
  return heads === 0 ? 0 : 1 - countRetrievalHeads(mask) / heads;
}

/** Retrieval heads become streaming heads and the other way round; the input is not changed. */
export function invertMask(mask: MaskGrid): MaskGrid {
  return mask.map((row) => row.map((value) => 1 - value));
}

/** A mask with `retrievalHeads` ones, every placement equally likely.
 * @param options.retrievalHeads 0 to layers·kvHeads.  @param options.random its state decides the mask.
 * @throws {RangeError} more ones than heads. */
export function randomMask(options: {
  readonly layers: number;
  readonly kvHeads: number;
  readonly retrievalHeads: number;
  readonly random: Random;
}): MaskGrid {
  const { layers, kvHeads, retrievalHeads, random } = options;
  const mask = filledGrid(layers, kvHeads, 0);
  for (const head of random.distinct(retrievalHeads, layers * kvHeads)) {
    (mask[Math.floor(head / kvHeads)] as number[])[head % kvHeads] = 1;
  }
  return mask;
}

// From gates to a mask: cut by the heads that stream, or, where a ladder of windows was measured, by memory; or by a promise
// (keep-mask.ts), which tries masks on held-out samples.
import { buildMask } from '../export/build-mask.ts';
import { buildWindowsMask } from '../export/build-windows-mask.ts';
import { type Cut, type CutGates, chooseCut } from '../export/cut.ts';
import type { CutWindows, ShareCut } from '../export/cut-windows.ts';
import type { Config } from '../src/config/config.ts';
import { toMaskGrid } from '../src/core/head-mask.ts';
import { countRetrievalHeads } from '../src/core/masks.ts';
import type { ModelShape, Window } from '../src/core/shapes.ts';
import type { KeptPromise } from '../src/eval/keep-promise.ts';
import type { GatesFile } from '../src/formats/gates.ts';
import { type MaskFile, toHeadMask } from '../src/formats/mask.ts';

/** The smallest budget that keeps so much of full attention. */
export interface PromiseCut {
  /** 0..1 */
  readonly keep: number;
  /** recall, gain or a task of `duo eval` */
  readonly keepOf: string;
  /** context length at which budgets are counted; null = the longest sample measured */
  readonly atTokens: number | null;
}

export type MaskCut = Cut | ShareCut | PromiseCut;

/** A mask and how it was cut. */
export interface ChosenMask {
  readonly mask: MaskFile;
  /** labels, their numbers, and how many of them a tie decided */
  readonly cut: CutGates;
  /** windows, loss and budget, where a ladder was cut */
  readonly windows: CutWindows | null;
  /** what a promise was found by */
  readonly promise: KeptPromise | null;
}

/** The cut that the settings ask for, or the default of the model. @throws {ConfigError} a value out of range. */
export function chooseMaskCut(config: Config, model: Pick<ModelShape, 'heads' | 'kvHeads'>): MaskCut {
  const { kvShare, kvShareTokens: atTokens, keep, keepOf, streamingFraction, threshold } = config;
  if (kvShare !== null) return { kvShare, atTokens };
  if (keep !== null) return { keep, keepOf, atTokens };
  return chooseCut({ streamingFraction: streamingFraction ?? undefined, threshold: threshold ?? undefined, model });
}

/** Cut gates by labels or by memory. @throws {ConfigError}; {BudgetError} no mask fits. */
export function cutMask(options: { gates: GatesFile; cut: Cut | ShareCut; window: Window }): ChosenMask {
  const { gates, cut, window } = options;
  if (!('kvShare' in cut)) {
    const { file, cut: labels } = buildMask({ gates, cut, window });
    return { mask: file, cut: labels, windows: null, promise: null };
  }
  const built = buildWindowsMask({ gates, cut });
  return { mask: built.file, cut: countLabels(built.file), windows: built.cut, promise: null };
}

/** Labels of a mask whose windows no tie of gates decided. */
export function countLabels(file: MaskFile): CutGates {
  const mask = toMaskGrid(toHeadMask(file));
  const retrievalHeads = countRetrievalHeads(mask);
  return { mask, retrievalHeads, streamingHeads: mask.flat().length - retrievalHeads, tieDecided: 0 };
}

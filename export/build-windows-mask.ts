// Builds what mask.json holds from a cut by memory: version 1 where one window suffices, so that it stays a 0/1 mask for other tools.
import { hasSeveralWindows, listWindows, toMaskGrid } from '../src/core/head-mask.ts';
import { formatShare } from '../src/core/words.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { GatesFile, LadderEffects } from '../src/formats/gates.ts';
import { MASK_SCHEMA, MASK_VERSION, type MaskFile, WINDOWS_VERSION } from '../src/formats/mask.ts';
import { type CutWindows, cutWindows, type ShareCut } from './cut-windows.ts';
import { resolveLadder } from './resolve-ladder.ts';

export interface BuiltWindowsMask {
  readonly file: MaskFile;
  readonly cut: CutWindows;
}

/** Cut gates with a ladder by memory. Equal arguments give equal bytes; the gates' provenance goes with them.
 * @throws {ConfigError} gates without a ladder, a share or length out of range; {BudgetError} no mask fits. */
export function buildWindowsMask({ gates, cut }: { gates: GatesFile; cut: ShareCut }): BuiltWindowsMask {
  const ladder = requireLadder(gates);
  const found = cutWindows(ladder, { ...cut, kvHeads: gates.model.kvHeads });
  return { file: makeMaskFile(gates, found), cut: found };
}

/** mask.json's content for a cut of these gates, as `cutWindows` and `cutPath` give it. @throws {ConfigError} gates without a ladder. */
export function makeMaskFile(gates: GatesFile, found: CutWindows): MaskFile {
  const measured = requireLadder(gates);
  const { mask, kvShare, atTokens, predictedLoss, lossBound } = found;
  const ladder = resolveLadder(measured, atTokens);
  const { model } = gates;
  const ties = found.tieDecided === 0 ? {} : { tieDecided: found.tieDecided };
  // the windows are plain ones of that length; this records the rule they were made by
  const rule = measured.rule && { windowRule: { ...measured.rule, windows: [...measured.windows], atTokens } };
  const provenance = { ...gates.provenance, ...ties, ...rule };
  const budget = { kvShare, atTokens, predictedLoss, lossBound };
  if (hasSeveralWindows(mask)) {
    return {
      schema: MASK_SCHEMA,
      version: WINDOWS_VERSION,
      model,
      sink: mask.sinkTokens,
      windows: mask.windows,
      ladder: [...ladder.windows],
      ...budget,
      gates: gates.gates,
      provenance,
    };
  }
  return {
    schema: MASK_SCHEMA,
    version: MASK_VERSION,
    model,
    sink: mask.sinkTokens,
    recent: listWindows(mask)[0] ?? (ladder.windows[0] as number),
    streamingFraction: null,
    threshold: null,
    mask: toMaskGrid(mask),
    gates: gates.gates,
    provenance: { ...provenance, budget },
  };
}

/** The ladder of gates.json. @throws {ConfigError} it has none. */
export function requireLadder(gates: GatesFile): LadderEffects {
  if (gates.ladder) return gates.ladder;
  throw new ConfigError(
    'Expected gates with the effects of a ladder of windows to cut by a KV share, found none; identify with several --windows, or cut by streamingFraction or threshold.',
  );
}

/** One sentence on the cut: who sees how much, what is kept, the loss, and how far from the least possible it may be. */
export function describeCutWindows(cut: CutWindows): string {
  const { mask, atTokens, keptShare, predictedLoss, lossBound, tieDecided } = cut;
  const all = mask.windows.flat();
  const parts = [null, ...listWindows(mask).reverse()].map((window) => {
    const count = all.filter((own) => own === window).length;
    return window === null ? `${count} of ${all.length} KV heads keep the whole context` : `${count} ${window} tokens`;
  });
  const gap =
    lossBound === null || predictedLoss <= 0
      ? ''
      : `, the least possible is at most ${formatShare((predictedLoss - lossBound) / predictedLoss)} lower`;
  const ties =
    tieDecided === 0
      ? ''
      : `; the windows of ${tieDecided} heads with equal effects were decided by (layer, head) order`;
  return `${parts.join(', ')}; KV share ${formatShare(keptShare)} at ${atTokens} tokens; predicted loss ${predictedLoss.toPrecision(3)}${gap}${ties}.`;
}

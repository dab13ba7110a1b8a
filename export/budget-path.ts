// The path along which a promise is searched: nested masks of increasing memory, where no head keeps less than in a smaller mask. With a ladder
// the steps are equal amounts of memory, else each step makes one more head full.
import { countHeadEntries, measureKvShare } from '../src/core/kv-cost.ts';
import type { HeadMask, Window } from '../src/core/shapes.ts';
import type { GatesFile, LadderEffects } from '../src/formats/gates.ts';
import { type MaskFile, toHeadMask } from '../src/formats/mask.ts';
import { buildMask } from './build-mask.ts';
import { makeMaskFile } from './build-windows-mask.ts';
import type { CutGates } from './cut.ts';
import { type CutWindows, cutPath } from './cut-windows.ts';
import { resolveLadder } from './resolve-ladder.ts';

/** Budgets of a ladder's path: 64 equal steps of a full cache, half a head of the demo's 32. */
const BUDGET_STEPS = 64;

/** A mask of the path, and how to write it. */
export interface BudgetStep {
  /** share of a full KV cache that it keeps at the path's length, 0..1 */
  readonly kvShare: number;
  readonly mask: HeadMask;
  /** mask.json's content with this provenance; `windows` where a ladder was cut, else `labels` */
  readonly build: (provenance: GatesFile['provenance']) => {
    readonly file: MaskFile;
    readonly labels: CutGates | null;
    readonly windows: CutWindows | null;
  };
}

/** Masks that save anything at `atTokens`, ascending by what they keep. Same gates, same path.
 * @param options.window of the heads that stream, where gates have no ladder. @throws {ConfigError} a length below 1. */
export function listBudgetPath(gates: GatesFile, options: { window: Window; atTokens: number }): BudgetStep[] {
  const { window, atTokens } = options;
  return gates.ladder
    ? listLadderSteps(gates, { ladder: gates.ladder, atTokens })
    : listLabelSteps(gates, { window, atTokens });
}

function listLadderSteps(gates: GatesFile, options: { ladder: LadderEffects; atTokens: number }): BudgetStep[] {
  const { ladder, atTokens } = options;
  const { kvHeads } = gates.model;
  const window = resolveLadder(ladder, atTokens).windows[0] as number;
  const narrowest = countHeadEntries(atTokens, { sinkTokens: ladder.sink, window }) / atTokens;
  const shares = Array.from({ length: BUDGET_STEPS }, (_, step) => step / BUDGET_STEPS);
  const path = cutPath(ladder, {
    kvHeads,
    shares: [narrowest, ...shares.filter((share) => share > narrowest)],
    atTokens,
  }).reverse();
  return path
    .filter(({ keptShare }, index) => keptShare < 1 && keptShare !== path[index - 1]?.keptShare)
    .map((found: CutWindows) => ({
      kvShare: found.keptShare,
      mask: found.mask,
      build: (provenance) => ({ file: makeMaskFile({ ...gates, provenance }, found), labels: null, windows: found }),
    }));
}

/** They are nested, for they come from one ranking. */
function listLabelSteps(gates: GatesFile, options: { window: Window; atTokens: number }): BudgetStep[] {
  const { window, atTokens } = options;
  const heads = gates.model.layers * gates.model.kvHeads;
  return Array.from({ length: heads }, (_, fullHeads): BudgetStep => {
    const cut = { streamingFraction: 1 - fullHeads / heads };
    const build: BudgetStep['build'] = (provenance) => {
      const { file, cut: labels } = buildMask({ gates: { ...gates, provenance }, cut, window });
      return { file, labels, windows: null };
    };
    const mask = toHeadMask(build(gates.provenance).file);
    return { kvShare: measureKvShare(mask, atTokens), mask, build };
  }).filter(({ kvShare }) => kvShare < 1);
}

// The cut by a promise: the least budget whose mask keeps so much of full attention on held-out samples, found along a path of nested masks.
import { buildMask } from '../export/build-mask.ts';
import { makeMaskFile } from '../export/build-windows-mask.ts';
import { type CutWindows, cutPath } from '../export/cut-windows.ts';
import { countHeadEntries, measureKvShare } from '../src/core/kv-cost.ts';
import type { Window } from '../src/core/shapes.ts';
import { BudgetError } from '../src/errors/errors.ts';
import { type KeptPromise, keepPromise, type PathMask } from '../src/eval/keep-promise.ts';
import { type MeasureKept, makeGainMeasure, makeRecallMeasure } from '../src/eval/kept-measures.ts';
import type { GatesFile, LadderEffects } from '../src/formats/gates.ts';
import { type MaskFile, toHeadMask } from '../src/formats/mask.ts';
import { type ChosenMask, countLabels, type PromiseCut } from './choose-mask.ts';
import { readHeldOut, takeHeldOutTexts } from './held-out.ts';
import type { Parts } from './parts.ts';

/** Texts that a promise of kept gain is held against. */
const PROMISE_TEXTS = 16;
/** Budgets of a ladder's path: 64 equal steps of a full cache, half a head of the demo's 32. */
const BUDGET_STEPS = 64;

/** A mask of the path, and how to write it. */
interface Step extends PathMask {
  readonly build: (provenance: GatesFile['provenance']) => Omit<ChosenMask, 'promise'>;
}

/** @throws {BudgetError} no mask that saves anything keeps the promise, or it cannot be measured; {ConfigError}; {AbortedError}; {EngineError}. */
export async function keepMask(options: {
  parts: Parts;
  gates: GatesFile;
  cut: PromiseCut;
  window: Window;
}): Promise<ChosenMask> {
  const { parts, gates, cut, window } = options;
  const { keep, keepOf } = cut;
  const atTokens = cut.atTokens ?? gates.ladder?.tokens ?? parts.longestTokens;
  const path = gates.ladder
    ? listLadderSteps(gates, { ladder: gates.ladder, atTokens })
    : listLabelSteps(gates, { window, atTokens });
  const { measure, count } = await makeMeasure(parts, { keepOf, window });
  const most = Math.ceil(Math.log2(path.length + 1));
  const tell = (done: number): void =>
    parts.options.onProgress?.({ stage: 'promise', label: `kept ${keepOf}`, done, total: most });
  tell(0);
  const walked: KeptPromise['walked'][number][] = [];
  const promise = await keepPromise({
    path,
    promise: keep,
    measure,
    onWalked: (look) => tell(walked.push(look)),
  });
  parts.options.onWalked?.(promise);
  if (promise.found === null) {
    throw new BudgetError(
      `Expected a mask that keeps ${keep} of full attention's ${keepOf} on ${count} held-out ${keepOf === 'gain' ? 'texts' : 'samples'}, found none: ${promise.reason}; ask for less, or cut the gates, which are found, by another budget.`,
    );
  }
  const { kept, interval, index } = promise.found;
  const provenance = { ...gates.provenance, promise: { keep, keepOf, kept, interval, samples: count } };
  return { ...(path[index] as Step).build(provenance), promise };
}

/** Nested masks of a ladder, ascending by what they keep of a full cache at `atTokens`. */
function listLadderSteps(gates: GatesFile, options: { ladder: LadderEffects; atTokens: number }): Step[] {
  const { ladder, atTokens } = options;
  const { kvHeads } = gates.model;
  const narrowest =
    countHeadEntries(atTokens, { sinkTokens: ladder.sink, window: ladder.windows[0] as number }) / atTokens;
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
      build: (provenance) => {
        const mask = makeMaskFile({ ...gates, provenance }, found);
        return { mask, cut: countLabels(mask), windows: found };
      },
    }));
}

/** Masks of one window, one more head full at each step; they are nested, for they come from one ranking. */
function listLabelSteps(gates: GatesFile, options: { window: Window; atTokens: number }): Step[] {
  const { window, atTokens } = options;
  const heads = gates.model.layers * gates.model.kvHeads;
  return Array.from({ length: heads }, (_, fullHeads): Step => {
    const cut = { streamingFraction: 1 - fullHeads / heads };
    const build = (provenance: GatesFile['provenance']): Omit<ChosenMask, 'promise'> => {
      const { file, cut: labels } = buildMask({ gates: { ...gates, provenance }, cut, window });
      return { mask: file as MaskFile, cut: labels, windows: null };
    };
    const mask = toHeadMask(build(gates.provenance).mask);
    return { kvShare: measureKvShare(mask, atTokens), mask, build };
  }).filter(({ kvShare }) => kvShare < 1);
}

async function makeMeasure(
  parts: Parts,
  options: { keepOf: PromiseCut['keepOf']; window: Window },
): Promise<{ measure: MeasureKept; count: number }> {
  const { engine } = parts;
  const { signal } = parts.options;
  if (options.keepOf === 'recall') {
    const samples = await readHeldOut(parts);
    return { measure: makeRecallMeasure({ engine, samples, signal }), count: samples.length };
  }
  const texts = await takeHeldOutTexts(parts, { leastTexts: PROMISE_TEXTS });
  return { measure: makeGainMeasure({ engine, texts, window: options.window, signal }), count: texts.length };
}

// The cut by a promise: the smallest budget whose mask keeps the promised share of full attention on held-out samples, found along a path of nested masks.
import { listBudgetPath } from '../export/budget-path.ts';
import type { Window } from '../src/core/shapes.ts';
import { BudgetError } from '../src/errors/errors.ts';
import { keepPromise, type WalkedMask } from '../src/eval/keep-promise.ts';
import type { MeasureKept } from '../src/eval/kept-measures.ts';
import type { GatesFile } from '../src/formats/gates.ts';
import type { KeptCurve } from '../src/formats/kept-curve.ts';
import { type ChosenMask, countLabels, type PromiseCut } from './choose-mask.ts';
import type { PromiseMeasure } from './keep-of.ts';
import type { Parts } from './parts.ts';

/** Replays what another process of a joined run measured for a promise: the same values in the same order lead to the same mask. */
export function repeatMeasures({ walked, keepOf, samples: count }: KeptCurve): PromiseMeasure {
  const left = [...walked];
  const measure: MeasureKept = async () => {
    const point = left.shift();
    if (point === undefined) return { value: null, interval: null, reason: 'the joined run measured fewer masks' };
    return { value: point.kept, interval: [...point.interval] };
  };
  return { measure, count, what: `${keepOf} on ${count} held-out samples` };
}

/** @param options.onCurve called with what was measured, whether a mask was found or not.
 * @throws {BudgetError} no mask that saves anything keeps the promise, or it cannot be measured; {ConfigError}; {AbortedError}; {EngineError}. */
export async function keepMask(options: {
  parts: Parts;
  gates: GatesFile;
  cut: PromiseCut;
  window: Window;
  prepared: PromiseMeasure;
  onCurve: (curve: KeptCurve) => void;
}): Promise<ChosenMask> {
  const { parts, gates, cut, window, prepared } = options;
  const { keep, keepOf } = cut;
  const { measure, count, what } = prepared;
  const atTokens = cut.atTokens ?? gates.ladder?.tokens ?? parts.longestTokens;
  const path = listBudgetPath(gates, { window, atTokens });
  const most = Math.ceil(Math.log2(path.length + 1));
  const report = (done: number): void =>
    parts.options.onProgress?.({ stage: 'promise', label: `kept ${keepOf}`, done, total: most });
  report(0);
  const walked: WalkedMask[] = [];
  const promise = await keepPromise({ path, promise: keep, measure, onWalked: (look) => report(walked.push(look)) });
  options.onCurve({ keepOf, atTokens, samples: count, walked: walked.map(pickPoint) });
  parts.options.onWalked?.(promise);
  if (promise.found === null) {
    throw new BudgetError(
      `Expected a mask that keeps ${keep} of full attention's ${what}, found none: ${promise.reason}; ask for less, or cut the gates, which are found, by another budget.`,
    );
  }
  const { kept, interval, index } = promise.found;
  const provenance = { ...gates.provenance, promise: { keep, keepOf, kept, interval, samples: count } };
  const { file, labels, windows } = (path[index] as (typeof path)[number]).build(provenance);
  return { mask: file, cut: labels ?? countLabels(file), windows, promise };
}

function pickPoint({ index, kvShare, kept, interval }: WalkedMask): KeptCurve['walked'][number] {
  return { index, kvShare, kept, interval };
}

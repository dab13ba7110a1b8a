// duo export --keep: the cut by a promise from what a finished run measured, without a model: the run.json next to gates.json says what masks along
// the path of budgets keep. Nothing is known between two measured masks, and no value is guessed there.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type BudgetStep, listBudgetPath } from '../../export/budget-path.ts';
import type { Window } from '../core/shapes.ts';
import { formatShare } from '../core/words.ts';
import { BudgetError, ConfigError, FormatError } from '../errors/errors.ts';
import type { GatesFile } from '../formats/gates.ts';
import { findKeptCurve, type KeptCurve, type KeptPoint } from '../formats/kept-curve.ts';
import { type RunFile, readRun } from '../formats/run.ts';
import { readNumberFlag } from './numbers.ts';

export interface KeepFlags {
  readonly keep?: string;
  readonly keepOf?: string;
}

/** A mask of the path, with what was measured of it. */
export interface KeptCut {
  readonly file: ReturnType<BudgetStep['build']>['file'];
  readonly curve: KeptCurve;
  readonly point: KeptPoint;
  /** the next smaller mask that was measured, where there is one */
  readonly below: KeptPoint | null;
  /** masks between the two, or below the smallest, that were not looked at */
  readonly skipped: number;
}

/** The promise that the flags ask for; null where they ask for none. @throws {ConfigError} --keep-of alone, a value outside 0 to 1. */
export function readKeepFlags({ keep, keepOf }: KeepFlags): { keep: number; keepOf: string | null } | null {
  if (keep !== undefined)
    return { keep: readNumberFlag('--keep', { text: keep, least: 0, most: 1 }), keepOf: keepOf ?? null };
  if (keepOf === undefined) return null;
  throw new ConfigError('Expected --keep with --keep-of, got it alone.');
}

/** Cut by what the run of `gatesPath` measured.
 * @param window of the heads that stream, where gates have no ladder.
 * @throws {BudgetError} nothing measured keeps it, or nothing was measured, with the command that measures; {FormatError} another run's file. */
export function cutByCurve(
  gates: GatesFile,
  options: { gatesPath: string; keep: number; keepOf: string | null; window: Window },
): KeptCut {
  const { gatesPath, keep, window } = options;
  const path = join(dirname(gatesPath), 'run.json');
  const run = existsSync(path) ? readRun(path) : null;
  const found = run && findKeptCurve(run, path);
  const curve = found && found.walked.length > 0 ? found : null;
  const command = describeCommand(run, { ...options, keepOf: options.keepOf ?? curve?.keepOf ?? null });
  if (curve === null || (options.keepOf !== null && options.keepOf !== curve.keepOf)) {
    const known = curve === null ? 'nothing' : `what they keep of ${curve.keepOf}`;
    throw new BudgetError(
      `Expected ${path} to say what masks of these gates keep${options.keepOf ? ` of ${options.keepOf}` : ''}, found ${known}; ${command} measures it.`,
    );
  }
  const steps = listBudgetPath(gates, { window, atTokens: curve.atTokens });
  checkPath(curve, { steps, path });
  const walked = [...curve.walked].sort((a, b) => a.index - b.index);
  const at = walked.findIndex(({ interval: [low] }) => low >= keep);
  const point = walked[at];
  if (point === undefined) {
    const { kvShare, kept, interval } = walked.at(-1) as KeptPoint;
    const most = `the largest, ${formatShare(kvShare)} of the cache, keeps ${kept.toFixed(3)}, at the lower end of its interval ${interval[0].toFixed(4)}`;
    throw new BudgetError(
      `Expected a mask that keeps ${keep} of full attention's ${curve.keepOf} among the ${walked.length} that ${path} knows, found none: ${most}; ask for less, or let ${command} look at others.`,
    );
  }
  const { keepOf, samples } = curve;
  const promise = { keep, keepOf, kept: point.kept, interval: [...point.interval], samples };
  const { file } = (steps[point.index] as BudgetStep).build({ ...gates.provenance, promise });
  const below = walked[at - 1] ?? null;
  return { file, curve, point, below, skipped: point.index - (below?.index ?? -1) - 1 };
}

/** What was decided, and what is not known. */
export function describeKeptCut({ curve, point, below, skipped }: KeptCut, keep: number): string {
  const kept = ({ kvShare, kept, interval: [low, high] }: KeptPoint): string =>
    `${formatShare(kvShare)} of the cache at ${curve.atTokens} tokens keeps ${kept.toFixed(4)} of full attention's ${curve.keepOf} (${low.toFixed(4)} to ${high.toFixed(4)})`;
  const which =
    below === null ? 'smaller masks' : `masks between it and the next smaller one, of which ${kept(below)},`;
  const gap = skipped === 0 ? '' : ` ${skipped} ${which} were not measured.`;
  return `The smallest budget measured that keeps ${keep}: ${kept(point)}.${gap}`;
}

/** @throws {FormatError} masks of other budgets than those measured: gates.json is of another run, or was cut with another window. */
function checkPath(curve: KeptCurve, { steps, path }: { steps: readonly BudgetStep[]; path: string }): void {
  const wrong = curve.walked.find(({ index, kvShare }) => Math.abs((steps[index]?.kvShare ?? -1) - kvShare) > 1e-9);
  if (wrong === undefined) return;
  throw new FormatError(
    `Expected mask ${wrong.index} of the gates' path to keep ${wrong.kvShare} of the cache, as ${path} says, got \`${steps[wrong.index]?.kvShare ?? 'none'}\`; the gates are not of this run, or --sink or --recent differ.`,
  );
}

function describeCommand(run: RunFile | null, { keep, keepOf }: { keep: number; keepOf: string | null }): string {
  const model = run?.inputs.model;
  const of = keepOf === null || keepOf === 'recall' ? '' : ` --keep-of ${keepOf}`;
  return `\`duo identify --model ${typeof model === 'string' ? model : '<model>'} --keep ${keep}${of}\``;
}

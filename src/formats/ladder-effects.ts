// The field `ladder` of gates.json: what each head loses under each window of a ladder, and each two heads together (a quadratic form).
// Option (layer·kvHeads + head)·windows.length + rung means "this head sees windows[rung]"; a head with no option sees everything.
// Measuring it is the train room's work, choosing windows by it the export room's.
import { z } from 'zod';
import type { WindowRule } from '../core/window-rule.ts';
import { FormatError } from '../errors/errors.ts';
import { checked, exactly, formatFound, integerWithin } from './read-json.ts';

/** 2^31 − 1 tokens: what a sized integer of the native library holds. */
export const MAX_WINDOW_TOKENS = 2 ** 31 - 1;
export const MAX_LADDER_WINDOWS = 32;
/** 1024 heads × 4 windows; the triangle then has 8 million numbers and its file about 100 MB. */
export const MAX_LADDER_OPTIONS = 4096;
/** Far above any loss; sums of all entries stay finite. */
const MAX_EFFECT = 1e100;
const DIGITS = 5;

/** Predicted loss of a choice of windows: the sum of M[i][j] over all ordered pairs of chosen options, i = j included. */
export interface LadderEffects {
  /** S, tokens, ≥ 0; of every option */
  readonly sink: number;
  /** tokens, ≥ 1, strictly ascending: the rungs */
  readonly windows: readonly number[];
  /** how the windows depend on the length of the text; absent = the same number of tokens at every length. With a rule each sample was measured with the windows of its length. */
  readonly rule?: WindowRule | undefined;
  /** length of the longest sample they were measured on, tokens */
  readonly tokens: number;
  /** lower triangle of the symmetric matrix M: row i holds M[i][0] … M[i][i], one row per option */
  readonly effects: readonly (readonly number[])[];
}

export const ladderSchema: z.ZodType<LadderEffects> = z.strictObject({
  sink: integerWithin(0, MAX_WINDOW_TOKENS),
  windows: z.array(integerWithin(1, MAX_WINDOW_TOKENS)).min(1).max(MAX_LADDER_WINDOWS),
  rule: z.strictObject({ name: exactly('proportional'), namedAt: integerWithin(1, MAX_WINDOW_TOKENS) }).optional(),
  tokens: integerWithin(1, MAX_WINDOW_TOKENS),
  // one leaf for the whole triangle: a leaf per number takes seconds on a million of them
  effects: checked<number[][]>((value) => Array.isArray(value) && value.every(Array.isArray), 'an array of rows'),
});

/** Check a ladder against its model. @param heads layers × KV heads.
 * @throws {FormatError} windows not ascending, another number of rows, a row that is not the triangle's, an entry that is no finite number. */
export function checkLadder(ladder: LadderEffects, { heads, path }: { heads: number; path: string }): void {
  const { windows, effects } = ladder;
  checkAscending(windows, { name: 'ladder.windows', path });
  const options = heads * windows.length;
  if (options > MAX_LADDER_OPTIONS) {
    throw new FormatError(
      `Expected \`ladder\` in ${path} to have at most ${MAX_LADDER_OPTIONS} options, got \`${heads}\` heads × \`${windows.length}\` windows.`,
    );
  }
  if (effects.length !== options) {
    throw new FormatError(
      `Expected \`ladder.effects\` in ${path} to have ${options} rows, ${heads} heads × ${windows.length} windows, got \`${effects.length}\`.`,
    );
  }
  for (const [index, row] of effects.entries()) checkRow(row, { index, path });
}

/** @throws {FormatError} a window that is not above the one before it. */
export function checkAscending(windows: readonly number[], { name, path }: { name: string; path: string }): void {
  const unordered = windows.findIndex((window, rung) => rung > 0 && window <= (windows[rung - 1] as number));
  if (unordered < 0) return;
  throw new FormatError(
    `Expected \`${name}\` in ${path} to ascend, got \`${windows[unordered]}\` at \`[${unordered}]\` after \`${windows[unordered - 1]}\`.`,
  );
}

function checkRow(row: readonly number[], { index, path }: { index: number; path: string }): void {
  if (row.length !== index + 1) {
    throw new FormatError(
      `Expected \`ladder.effects[${index}]\` in ${path} to have ${index + 1} values, its part of the lower triangle, got \`${row.length}\`.`,
    );
  }
  const bad = row.findIndex((effect) => typeof effect !== 'number' || !(Math.abs(effect) <= MAX_EFFECT));
  if (bad >= 0) {
    throw new FormatError(
      `Expected \`ladder.effects[${index}][${bad}]\` in ${path} to be a number within ±${MAX_EFFECT}, got \`${formatFound(row[bad])}\`.`,
    );
  }
}

/** A ladder from a measured matrix, its entries with five significant digits, so that gates.json and a cut before it is written agree.
 * @param matrix `[n][n]` row by row, n = heads × windows; where the halves differ by rounding, their mean is taken. */
export function makeLadderEffects(options: {
  readonly sink: number;
  readonly windows: readonly number[];
  readonly rule?: WindowRule | undefined;
  readonly tokens: number;
  readonly matrix: ArrayLike<number>;
}): LadderEffects {
  const { sink, windows, rule, tokens, matrix } = options;
  const size = Math.round(Math.sqrt(matrix.length));
  const at = (row: number, column: number): number => matrix[row * size + column] as number;
  const effects = Array.from({ length: size }, (_, row) =>
    Array.from({ length: row + 1 }, (_, column) => roundEffect((at(row, column) + at(column, row)) / 2)),
  );
  return { sink, windows, ...(rule && { rule }), tokens, effects };
}

function roundEffect(value: number): number {
  // + 0 turns −0, which JSON writes as 0, into what is read back
  return Number(value.toPrecision(DIGITS)) + 0;
}

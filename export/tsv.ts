// full_attention_heads.tsv, the pattern file of the reference implementation: L rows of G gates, tabs between, no header,
// NumPy's default number form `%.18e`. Published files are unclipped (small negatives occur); clipping is `clipGates`'s.
import type { GateGrid } from '../src/core/shapes.ts';
import { FormatError } from '../src/errors/errors.ts';
import { writeFileAtomic } from '../src/formats/atomic-file.ts';
import { MAX_HEADS, MAX_LAYERS } from '../src/formats/gates.ts';
import { readTextWithin } from '../src/formats/read-json.ts';

/** 1024 × 4096 numbers of 25 characters. */
const MAX_TSV_BYTES = 128 * 2 ** 20;
const DECIMALS = 18;
/** Most that `toExponential` gives; a tie at the 19th decimal shows within it. */
const EXACT_DECIMALS = 100;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

/** One number as C's `%.18e` writes it: exact decimal digits, ties to the even digit, at least two digits of exponent.
 * Short binary fractions (bf16 gates) do end in exact ties, which `toExponential` alone rounds away from zero. */
export function formatExponential(value: number): string {
  const exact = value.toExponential(EXACT_DECIMALS);
  const point = exact.indexOf('.');
  const [kept, rest] = [exact.slice(0, point + 1 + DECIMALS), exact.slice(point + 1 + DECIMALS, exact.indexOf('e'))];
  const isTieToEven = /^50*$/.test(rest) && Number(kept.at(-1)) % 2 === 0;
  const [rounded, exponent] = value.toExponential(DECIMALS).split('e') as [string, string];
  const sign = Object.is(value, -0) ? '-' : '';
  return `${sign}${isTieToEven ? kept : rounded}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`;
}

/** The bytes of a pattern file. */
export function formatTsv(gates: GateGrid): string {
  return gates.map((row) => `${row.map(formatExponential).join('\t')}\n`).join('');
}

/** Write a pattern file whole or not at all. @throws {FileError}. */
export function writeTsv(path: string, gates: GateGrid): void {
  writeFileAtomic(path, formatTsv(gates));
}

/** Read a pattern file; values are returned as written, unclipped. @throws {FileError}; {FormatError} with the line. */
export function readTsv(path: string): GateGrid {
  return parseTsv(readTextWithin(path, MAX_TSV_BYTES), path);
}

/** Parse rows of numbers in any decimal form, separated by tabs or spaces; empty lines at the end are no rows.
 * @throws {FormatError} no rows, rows of unequal length, too many, or something that is not a finite number; names the line. */
export function parseTsv(text: string, path: string): GateGrid {
  const lines = text.trimEnd().split(/\r?\n/);
  if (lines[0] === '') throw new FormatError(`Expected ${path} to hold a row of gates per layer, got an empty file.`);
  if (lines.length > MAX_LAYERS) {
    throw new FormatError(`Expected ${path} to have at most ${MAX_LAYERS} rows, got \`${lines.length}\`.`);
  }
  const rows = lines.map((line, index) => parseRow(line, `line ${index + 1} of ${path}`));
  const columns = (rows[0] as number[]).length;
  const ragged = rows.findIndex((row) => row.length !== columns);
  if (ragged >= 0) {
    const found = (rows[ragged] as number[]).length;
    throw new FormatError(
      `Expected line ${ragged + 1} of ${path} to have ${columns} values as line 1, got \`${found}\`.`,
    );
  }
  return rows;
}

/** Gates limited to [0,1]; the input is not changed. */
export function clipGates(gates: GateGrid): GateGrid {
  return gates.map((row) => row.map((gate) => Math.min(1, Math.max(0, gate))));
}

function parseRow(line: string, place: string): number[] {
  const words = line.trim().split(/[\t ]+/);
  if (words.length > MAX_HEADS)
    throw new FormatError(`Expected ${place} to have at most ${MAX_HEADS} values, got \`${words.length}\`.`);
  return words.map((word, column) => {
    const value = NUMBER.test(word) ? Number(word) : Number.NaN;
    if (Number.isFinite(value)) return value;
    throw new FormatError(
      `Expected value ${column + 1} in ${place} to be a finite number, got \`${word.slice(0, 40)}\`.`,
    );
  });
}

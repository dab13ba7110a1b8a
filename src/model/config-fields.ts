// Reads single fields of a config.json and says in one sentence what is wrong with a bad one.
// Absent and null mean the same here; where they do not in transformers, and what the fields mean, is config.ts's business.
import { jsonText } from '../core/json-text.ts';
import { FormatError } from '../errors/errors.ts';

/** Where a field is: the JSON object, and the words that name it in an error ("/m/config.json", "`rope_scaling` of /m/config.json"). */
export interface FieldSource {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly place: string;
}

/** A value as an error shows it: JSON, cut at 60 characters. */
export function showValue(value: unknown): string {
  const text = jsonText(value) ?? 'nothing';
  return `\`${text.length > 60 ? `${text.slice(0, 57)}...` : text}\``;
}

/** A key as a note shows it: on one line, cut at 60 characters. */
export function showName(name: string): string {
  const text = JSON.stringify(name).slice(1, -1);
  return `\`${text.length > 60 ? `${text.slice(0, 57)}...` : text}\``;
}

/** True for a JSON object; arrays and null are not. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The error of a field that is not what it should be. */
export function fieldError(source: FieldSource, name: string, expected: string): FormatError {
  const found = name in source.fields ? showValue(source.fields[name]) : 'nothing';
  return new FormatError(`Expected \`${name}\` of ${source.place} to be ${expected}, got ${found}.`);
}

/** An integer from 1 to `most`. Without `fallback` the field is required.
 * @throws {FormatError} absent without fallback, not an integer, out of range. */
export function readCount(source: FieldSource, name: string, options: { most: number; fallback?: number }): number {
  const value = source.fields[name] ?? options.fallback;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > options.most) {
    throw fieldError(source, name, `an integer from 1 to ${options.most}`);
  }
  return value;
}

/** A finite number of more than 0. Without `fallback` the field is required.
 * @throws {FormatError} absent without fallback, not a positive finite number. */
export function readPositive(source: FieldSource, name: string, fallback?: number): number {
  const value = source.fields[name] ?? fallback;
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
    throw fieldError(source, name, 'a number greater than 0');
  }
  return value;
}

/** true or false, `fallback` where absent. @throws {FormatError} another type. */
export function readFlag(source: FieldSource, name: string, fallback: boolean): boolean {
  const value = source.fields[name] ?? fallback;
  if (typeof value !== 'boolean') throw fieldError(source, name, 'true or false');
  return value;
}

/** A token id, or a list of them; `[]` where absent. −1, which some files write for none, is left out; @param notes gets a sentence then.
 * @throws {FormatError} another type, another negative id. */
export function readTokenIds(source: FieldSource, name: string, notes: string[]): number[] {
  const value = source.fields[name] ?? [];
  const all: unknown[] = Array.isArray(value) ? value : [value];
  const ids = all.filter((id) => id !== -1);
  if (!ids.every((id): id is number => Number.isSafeInteger(id) && (id as number) >= 0)) {
    throw fieldError(source, name, 'a token id or a list of token ids');
  }
  if (ids.length < all.length) notes.push(`\`${name}\` of ${source.place} holds -1, which duo reads as no token`);
  return ids;
}

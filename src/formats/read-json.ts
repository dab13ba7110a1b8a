// Reads one JSON file of a bounded size and checks it against a zod schema; shared by the modules of the JSON formats.
// Schemas are made of `checked` leaves whose words finish the sentence "Expected `place` in file to be …, got `value`".
import { readFileSync, statSync } from 'node:fs';
import { z } from 'zod';
import { jsonText } from '../core/json-text.ts';
import { FormatError } from '../errors/errors.ts';
import { fileErrorOf } from './atomic-file.ts';
import { describeForeignText } from './foreign-text.ts';

/** A JSON value as provenance and settings records hold it. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** A record of JSON values, for example provenance. */
export type JsonRecord = { readonly [key: string]: JsonValue };

/** A schema leaf: passes where `isValid` holds; `words` says what was expected ("an integer of at least 1"). */
export function checked<T>(isValid: (value: unknown) => boolean, words: string): z.ZodType<T> {
  return z.custom<T>(isValid, { error: words });
}

export const unitNumber = checked<number>(
  (value) => typeof value === 'number' && value >= 0 && value <= 1,
  'a number from 0 to 1',
);

export const finiteNumber = checked<number>((value) => Number.isFinite(value), 'a finite number');

/** Integer leaf within [minimum, maximum]. */
export function integerWithin(minimum: number, maximum: number): z.ZodType<number> {
  return checked<number>(
    (value) => Number.isInteger(value) && (value as number) >= minimum && (value as number) <= maximum,
    `an integer from ${minimum} to ${maximum}`,
  );
}

/** Text leaf of bounded length. */
export function textUpTo(maxLength: number): z.ZodType<string> {
  return checked<string>(
    (value) => typeof value === 'string' && value.length <= maxLength,
    `a text of at most ${maxLength} characters`,
  );
}

/** Leaf that must equal one given value. */
export function exactly<T extends string | number>(expected: T): z.ZodType<T> {
  return checked<T>((value) => value === expected, `\`${expected}\``);
}

/** Records nest a few levels; the bound keeps one that nests without end off the call stack. */
const MAX_DEPTH = 256;

/** True for values that JSON keeps as they are: no NaN, Infinity, undefined or functions at any depth, which is at most 256. */
export function isJsonValue(value: unknown): value is JsonValue {
  return isJsonWithin(value, MAX_DEPTH);
}

function isJsonWithin(value: unknown, depth: number): boolean {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true;
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || depth === 0) return false;
  if (!Array.isArray(value) && Object.getPrototypeOf(value) !== Object.prototype) return false;
  return Object.values(value).every((inner) => isJsonWithin(inner, depth - 1));
}

export const jsonRecord = checked<JsonRecord>(
  (value) => isJsonValue(value) && value !== null && typeof value === 'object' && !Array.isArray(value),
  'an object of JSON values',
);

/** Read a file as text, refusing one larger than `maxBytes` before it is loaded.
 * @throws {FileError} absent, unreadable; {FormatError} too large. */
export function readTextWithin(path: string, maxBytes: number): string {
  let size: number;
  try {
    size = statSync(path).size;
  } catch (cause) {
    throw fileErrorOf('read', path, cause);
  }
  if (size > maxBytes) throw new FormatError(`Expected ${path} to be at most ${maxBytes} bytes, got \`${size}\`.`);
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw fileErrorOf('read', path, cause);
  }
}

/** Read and parse a JSON file. @throws {FileError}; {FormatError} too large or not JSON. */
export function readJson(path: string, maxBytes: number): unknown {
  const text = readTextWithin(path, maxBytes);
  try {
    return JSON.parse(text);
  } catch (cause) {
    const foreign = describeForeignText(text);
    if (foreign !== null) {
      throw new FormatError(`Expected ${path} to hold JSON, got ${foreign.found}; ${foreign.cure}.`, { cause });
    }
    if (text.trim() === '') {
      throw new FormatError(`Expected ${path} to hold JSON, got an empty file; download or write it again.`, { cause });
    }
    const literal = findPythonNumber(text);
    if (literal !== null) {
      throw new FormatError(
        `Expected ${path} to hold JSON, got \`${literal.found}\` in line ${literal.line}, which Python writes and JSON has not; put a number or null there.`,
        { cause },
      );
    }
    const words = (cause as Error).message.replace(/\s+/g, ' ');
    throw new FormatError(`Expected ${path} to hold JSON: ${words}.`, { cause });
  }
}

/** The first NaN, Infinity or -Infinity outside strings, with its line from 1. */
function findPythonNumber(text: string): { found: string; line: number } | null {
  for (const match of text.matchAll(/"[^"\\]*(?:\\[\s\S][^"\\]*)*"?|-?\b(?:NaN|Infinity)\b/g)) {
    if (!match[0].startsWith('"')) return { found: match[0], line: text.slice(0, match.index).split('\n').length };
  }
  return null;
}

/** Check `value` against `schema`. @throws {FormatError} the first difference, with file, place, expected and found. */
export function checkJson<T>(schema: z.ZodType<T>, options: { value: unknown; path: string }): T {
  const { value, path } = options;
  const outcome = schema.safeParse(value);
  if (outcome.success) return outcome.data;
  const issue = outcome.error.issues[0] as z.core.$ZodIssue;
  if (issue.code === 'unrecognized_keys') {
    const key = formatPlace([...issue.path, issue.keys[0] as string]);
    throw new FormatError(`Expected no key \`${key}\` in ${path}; remove it, or check the file's version.`);
  }
  let found: unknown = value;
  for (const key of issue.path) found = (found as Record<PropertyKey, unknown> | null | undefined)?.[key];
  const words = issue.code === 'invalid_type' ? describeType(issue.expected) : issue.message;
  const place = issue.path.length === 0 ? path : `\`${formatPlace(issue.path)}\` in ${path}`;
  throw new FormatError(`Expected ${place} to be ${words}, got \`${formatFound(found)}\`.`);
}

/** The place inside a document as a person writes it: `gates[3][0]`, `model.layers`. */
export function formatPlace(path: readonly PropertyKey[]): string {
  return path
    .map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index ? '.' : ''}${String(key)}`))
    .join('');
}

/** A found value, shortened to fit one sentence. */
export function formatFound(value: unknown): string {
  const text = typeof value === 'number' || value === undefined ? String(value) : (jsonText(value) ?? typeof value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

function describeType(expected: string): string {
  return /^[aeiou]/.test(expected) ? `an ${expected}` : `a ${expected}`;
}

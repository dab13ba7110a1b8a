// Lines of JSONL files and fields of their records, with file and line in every message.
import { FormatError } from '../../errors/errors.ts';
import { readTextWithin } from '../../formats/read-json.ts';

/** A JavaScript string ends near 512 MiB; the longest published file (InfiniteBench) has about 200 MB. */
export const MAX_RECORDS_BYTES = 500 * 2 ** 20;

/** A record and its place in the file. */
export interface PlacedRecord {
  readonly record: Readonly<Record<string, unknown>>;
  /** `file, line n` */
  readonly place: string;
}

/** Every line of a JSONL file as an object; blank lines are skipped.
 * @throws {FileError}; {FormatError} too large, a line that is not a JSON object, no line at all. */
export function readJsonLines(path: string): PlacedRecord[] {
  // a byte-order mark, as some editors write it, belongs to no record
  const records = readTextWithin(path, MAX_RECORDS_BYTES)
    .replace(/^\ufeff/, '')
    .split('\n')
    .flatMap((line, index): PlacedRecord[] => {
      if (line.trim() === '') return [];
      const place = `${path}, line ${index + 1}`;
      let record: unknown;
      try {
        record = JSON.parse(line);
      } catch (cause) {
        throw new FormatError(`Expected ${place} to be JSON: ${(cause as Error).message}.`, { cause });
      }
      if (typeof record !== 'object' || record === null || Array.isArray(record)) {
        throw new FormatError(`Expected ${place} to be a JSON object, got \`${line.trim().slice(0, 40)}\`.`);
      }
      return [{ record: record as Record<string, unknown>, place }];
    });
  if (records.length === 0) throw new FormatError(`Expected ${path} to hold at least one line, got none.`);
  return records;
}

/** Records of a JSONL file, or of one JSON list of them, as some projects write it.
 * @throws {FileError}; {FormatError} as readJsonLines. */
export function readJsonRecords(path: string): PlacedRecord[] {
  const text = readTextWithin(path, MAX_RECORDS_BYTES).replace(/^\ufeff/, '');
  if (!text.trimStart().startsWith('[')) return readJsonLines(path);
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(`Expected ${path} to be JSON: ${(cause as Error).message}.`, { cause });
  }
  return (list as unknown[]).map((record, index) => {
    const place = `${path}, entry ${index}`;
    if (typeof record === 'object' && record !== null && !Array.isArray(record))
      return { record: record as Record<string, unknown>, place };
    throw new FormatError(`Expected ${place} to be a JSON object.`);
  });
}

/** A string field. @throws {FormatError} absent or of another type. */
export function textField({ record, place }: PlacedRecord, key: string): string {
  const value = record[key];
  if (typeof value === 'string') return value;
  throw new FormatError(`Expected \`${key}\` in ${place} to be a string, got \`${describe(value)}\`.`);
}

/** A field that is a list of strings or numbers, or one of them alone; as strings.
 * @throws {FormatError} absent, empty or of another type. */
export function textListField({ record, place }: PlacedRecord, key: string): string[] {
  const value = record[key];
  const list = Array.isArray(value) ? value : [value];
  if (list.length > 0 && list.every((entry) => typeof entry === 'string' || typeof entry === 'number'))
    return list.map(String);
  throw new FormatError(
    `Expected \`${key}\` in ${place} to be a string or a list of strings, got \`${describe(value)}\`.`,
  );
}

/** As textListField, where a record may also have no answer at all: LongBench scores its prediction as 0.
 * @throws {FormatError} absent or of another type. */
export function answersField(placed: PlacedRecord, key = 'answers'): string[] {
  const value = placed.record[key];
  return Array.isArray(value) && value.length === 0 ? [] : textListField(placed, key);
}

/** Class names of a LongBench record; none where it has none. @throws {FormatError} another type. */
export function classesField(placed: PlacedRecord): string[] {
  const value = placed.record.all_classes;
  if (value === null || value === undefined || (Array.isArray(value) && value.length === 0)) return [];
  return textListField(placed, 'all_classes');
}

/** A field that is an integer of at least 0, null where it is absent or of another type (v2's `length` is a word). */
export function countField({ record }: PlacedRecord, key: string): number | null {
  const value = typeof record[key] === 'bigint' ? Number(record[key]) : record[key];
  return Number.isInteger(value) && (value as number) >= 0 ? (value as number) : null;
}

/** The named fields that a record has. */
export function pickFields(
  record: Readonly<Record<string, unknown>>,
  names: readonly string[],
): Record<string, unknown> {
  return Object.fromEntries(names.filter((name) => record[name] !== undefined).map((name) => [name, record[name]]));
}

/** Words for a value of the wrong type. */
function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  return value === null ? 'null' : typeof value;
}

// A strict reader of the JSON header of a safetensors file. Written by hand rather than with JSON.parse, which merges duplicate keys
// in silence and can be made to allocate gigabytes by nesting; this one accepts only what the format allows and bounds every count.
// Byte ranges are checked against the file in safetensors.ts.
import { FormatError } from '../errors/errors.ts';

/** One entry of the header, as written there. */
export interface HeaderEntry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** [begin, end) in bytes from the start of the data section */
  readonly range: readonly number[];
}

/** The largest published models hold some 200,000 tensors. */
export const MAX_TENSORS = 2 ** 19;
/** Weights have 1 or 2 dimensions; convolutions up to 5. */
export const MAX_DIMENSIONS = 8;
const METADATA_KEY = '__metadata__';
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTABLE = 0x20;
const INTEGER = /(?:0|[1-9]\d{0,15})(?![\d.eE])/y;
const SPACE = /[ \t\n\r]*/y;

/** Parse the header text of the file at `path`; `__metadata__` is checked and dropped.
 * @throws {FormatError} anything but one object of tensor entries: duplicate keys, unknown keys, other types, too many tensors or dimensions. */
export function parseHeader(text: string, path: string): HeaderEntry[] {
  const scanner = new Scanner(text, path);
  const entries: HeaderEntry[] = [];
  scanner.readObject(MAX_TENSORS, (name) => {
    if (name === METADATA_KEY) scanner.readObject(MAX_TENSORS, () => void scanner.readString());
    else entries.push(readEntry(scanner, name));
  });
  scanner.readEnd();
  return entries;
}

function readEntry(scanner: Scanner, name: string): HeaderEntry {
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let range: number[] | undefined;
  scanner.readObject(3, (key) => {
    if (key === 'dtype') dtype = scanner.readString();
    else if (key === 'shape') shape = scanner.readIntegers(MAX_DIMENSIONS);
    else if (key === 'data_offsets') range = scanner.readIntegers(2);
    else scanner.fail('"dtype", "shape" or "data_offsets"', `the key ${JSON.stringify(key)}`);
  });
  if (dtype === undefined || shape === undefined || range?.length !== 2) {
    return scanner.fail('dtype, shape and two data_offsets', `an incomplete entry of tensor ${JSON.stringify(name)}`);
  }
  return { name, dtype, shape, range };
}

/** A cursor over the header text. */
class Scanner {
  private position = 0;
  private readonly text: string;
  private readonly path: string;

  constructor(text: string, path: string) {
    this.text = text;
    this.path = path;
  }

  /** Read `{"key": value, …}`; `readValue` consumes each value. */
  readObject(mostKeys: number, readValue: (key: string) => void): void {
    const keys = new Set<string>();
    this.expect('{');
    if (this.accept('}')) return;
    do {
      const key = this.readString();
      if (keys.has(key)) this.fail('each key once', `${JSON.stringify(key)} a second time`);
      if (keys.size === mostKeys) this.fail(`at most ${mostKeys} keys`, 'more');
      keys.add(key);
      this.expect(':');
      readValue(key);
    } while (this.accept(','));
    this.expect('}');
  }

  readIntegers(most: number): number[] {
    const values: number[] = [];
    this.expect('[');
    if (this.accept(']')) return values;
    do {
      if (values.length === most) this.fail(`at most ${most} numbers`, 'more');
      const value = Number(this.match(INTEGER, 'an integer of at least 0'));
      if (!Number.isSafeInteger(value)) this.fail('an integer below 2^53', String(value));
      values.push(value);
    } while (this.accept(','));
    this.expect(']');
    return values;
  }

  readString(): string {
    this.skipSpace();
    const start = this.position;
    this.expect('"');
    // A loop, not a pattern: a pattern's backtracking stack overflows on strings of megabytes.
    for (let code = this.text.charCodeAt(this.position); code !== QUOTE; code = this.text.charCodeAt(this.position)) {
      // NaN past the end fails the comparison too.
      if (!(code >= FIRST_PRINTABLE)) this.fail('a printable character or "', this.nextText());
      this.position += code === BACKSLASH ? 2 : 1;
    }
    this.position++;
    try {
      return JSON.parse(this.text.slice(start, this.position)) as string;
    } catch {
      return this.fail('a JSON string', 'an escape that JSON does not know');
    }
  }

  readEnd(): void {
    this.skipSpace();
    if (this.position < this.text.length) this.fail('the end of the header', this.nextText());
  }

  fail(expected: string, found: string): never {
    throw new FormatError(
      `Expected ${expected} at character ${this.position} of the safetensors header of ${this.path}, got ${found}; the file is damaged, download it again.`,
    );
  }

  private expect(mark: string): void {
    if (!this.accept(mark)) this.fail(`"${mark}"`, this.nextText());
  }

  private accept(mark: string): boolean {
    this.skipSpace();
    if (this.text[this.position] !== mark) return false;
    this.position++;
    return true;
  }

  private match(pattern: RegExp, expected: string): string {
    this.skipSpace();
    pattern.lastIndex = this.position;
    const found = pattern.exec(this.text)?.[0];
    if (found === undefined) return this.fail(expected, this.nextText());
    this.position += found.length;
    return found;
  }

  private skipSpace(): void {
    SPACE.lastIndex = this.position;
    SPACE.exec(this.text);
    this.position = SPACE.lastIndex;
  }

  private nextText(): string {
    const next = this.text.slice(this.position, this.position + 20);
    return next === '' ? 'the end of the text' : JSON.stringify(next);
  }
}

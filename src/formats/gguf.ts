// The head of a GGUF file: magic, version, metadata, tensor list (github.com/ggml-org/ggml, docs/gguf.md; versions 2 and 3, little-endian).
// The file is hostile until checked: every count is bounded by a named limit and by the bytes that are left before anything is allocated for it.
// What fields mean is said in src/model/gguf-config.ts and src/text/gguf-tokenizer.ts; kernels/core/gguf.cpp reads the same for the native engine.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { FormatError } from '../errors/errors.ts';
import { fileErrorOf } from './atomic-file.ts';

export type GgufScalar = number | bigint | boolean | string;
/** A 64-bit number beyond 2^53 is a bigint, any other a number. */
export type GgufValue = GgufScalar | readonly GgufScalar[];

export interface GgufTensor {
  readonly name: string;
  /** rows first; the file has the row length first */
  readonly shape: readonly number[];
  /** ggml's number of the type */
  readonly type: number;
  /** first byte of its data, from the start of the file */
  readonly offset: number;
}

export interface GgufHead {
  readonly path: string;
  readonly fileBytes: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: readonly GgufTensor[];
}

const MAGIC = 'GGUF';
const VERSIONS = [2, 3];
const MAX_FIELDS = 2 ** 16;
/** the format's own bound */
const MAX_KEY_BYTES = 2 ** 16;
const MAX_TENSORS = 2 ** 20;
/** The largest vocabularies have 2^18 tokens, and a few times as many merges. */
const MAX_ARRAY = 2 ** 24;
/** A chat template is the longest. */
const MAX_STRING_BYTES = 2 ** 26;
/** ggml itself stops at 64. */
const MAX_NAME_BYTES = 256;
const MAX_AXES = 4;
/** of one axis, and of a tensor's elements */
const MAX_ELEMENTS = 2 ** 40;
const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 2 ** 20;
/** Least bytes of a field: key length, type, one byte of value. */
const MIN_FIELD_BYTES = 13;
/** Least bytes of a tensor's entry: name length, number of axes, one axis, type, offset. */
const MIN_TENSOR_BYTES = 32;
const WINDOW_BYTES = 2 ** 20;

const STRING = 8;
const ARRAY = 9;
const BOOL = 7;
/** Bytes of a value type, and how to read it. */
const SCALARS: ReadonlyMap<number, [bytes: number, read: (view: DataView, at: number) => number | bigint]> = new Map([
  [0, [1, (view, at) => view.getUint8(at)]],
  [1, [1, (view, at) => view.getInt8(at)]],
  [2, [2, (view, at) => view.getUint16(at, true)]],
  [3, [2, (view, at) => view.getInt16(at, true)]],
  [4, [4, (view, at) => view.getUint32(at, true)]],
  [5, [4, (view, at) => view.getInt32(at, true)]],
  [6, [4, (view, at) => view.getFloat32(at, true)]],
  [BOOL, [1, (view, at) => view.getUint8(at)]],
  [10, [8, (view, at) => view.getBigUint64(at, true)]],
  [11, [8, (view, at) => view.getBigInt64(at, true)]],
  [12, [8, (view, at) => view.getFloat64(at, true)]],
]);

/** Whether the file begins as a GGUF file does; false where it cannot be read. */
export function isGgufFile(path: string): boolean {
  const magic = Buffer.alloc(MAGIC.length);
  try {
    const file = openSync(path, 'r');
    try {
      if (!fstatSync(file).isFile()) return false;
      readSync(file, magic, 0, magic.length, 0);
    } finally {
      closeSync(file);
    }
  } catch {
    return false;
  }
  return magic.toString('latin1') === MAGIC;
}

/** Read and check the head of a GGUF file; tensors' data is not read, and that it fits into the file is the caller's to check.
 * @throws {FormatError} it breaks the format, in one sentence that names the place; {FileError} reading failed. */
export function readGgufHead(path: string): GgufHead {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (cause) {
    throw fileErrorOf('read', path, cause);
  }
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new FormatError(`Expected ${path} to be a GGUF file, got something that is not a file.`);
    return new HeadReader(path, { descriptor, size: stat.size }).read();
  } finally {
    closeSync(descriptor);
  }
}

class HeadReader {
  private readonly path: string;
  private readonly descriptor: number;
  private readonly size: number;
  private at = 0;
  private window = Buffer.alloc(0);
  private windowStart = 0;

  constructor(path: string, file: { descriptor: number; size: number }) {
    this.path = path;
    this.descriptor = file.descriptor;
    this.size = file.size;
  }

  read(): GgufHead {
    if (this.size < MAGIC.length || this.take(MAGIC.length).toString('latin1') !== MAGIC) {
      throw new FormatError(
        `Expected ${this.path} to begin with \`GGUF\`, got other bytes, as a Git LFS pointer or a web page has; download it again.`,
      );
    }
    const version = this.takeNumber(4);
    if (version >= 2 ** 16)
      throw this.damaged('a little-endian file', `version ${version}, which a big-endian one has`);
    if (!VERSIONS.includes(version)) throw this.damaged('version 2 or 3', `${version}`);
    const tensorCount = this.takeCount('tensors', MAX_TENSORS, MIN_TENSOR_BYTES);
    const fieldCount = this.takeCount('metadata fields', MAX_FIELDS, MIN_FIELD_BYTES);
    const metadata = new Map<string, GgufValue>();
    for (let index = 0; index < fieldCount; index++) {
      const key = this.takeString('bytes of a key', MAX_KEY_BYTES);
      if (metadata.has(key)) throw this.damaged('a metadata field once', `\`${cut(key)}\` twice`);
      metadata.set(key, this.takeValue(key));
    }
    const alignment = this.checkAlignment(metadata.get('general.alignment'));
    const tensors = new Map<string, GgufTensor>();
    for (let index = 0; index < tensorCount; index++) {
      const tensor = this.takeTensor(alignment);
      if (tensors.has(tensor.name)) throw this.damaged('a tensor once', `\`${cut(tensor.name)}\` twice`);
      tensors.set(tensor.name, tensor);
    }
    const start = Math.ceil(this.at / alignment) * alignment;
    return {
      path: this.path,
      fileBytes: this.size,
      metadata,
      tensors: [...tensors.values()].map((tensor) => ({ ...tensor, offset: start + tensor.offset })),
    };
  }

  private damaged(expected: string, found: string): FormatError {
    return new FormatError(
      `Expected ${expected} in the GGUF file ${this.path} before byte ${this.at}, got ${found}; download it again.`,
    );
  }

  /** The next bytes; valid until the next call. */
  private take(bytes: number): Buffer {
    if (bytes > this.size - this.at) throw this.damaged(`${bytes} bytes more`, "the file's end");
    const offset = this.at - this.windowStart;
    if (offset + bytes > this.window.length) this.fillWindow(bytes);
    const start = this.at - this.windowStart;
    this.at += bytes;
    return this.window.subarray(start, start + bytes);
  }

  private fillWindow(bytes: number): void {
    const wanted = Math.min(Math.max(bytes, WINDOW_BYTES), this.size - this.at);
    const window = Buffer.alloc(wanted);
    for (let done = 0; done < wanted; ) {
      let count: number;
      try {
        count = readSync(this.descriptor, window, done, wanted - done, this.at + done);
      } catch (cause) {
        throw fileErrorOf('read', this.path, cause);
      }
      if (count === 0) throw this.damaged(`${bytes} bytes more`, "the file's end");
      done += count;
    }
    this.window = window;
    this.windowStart = this.at;
  }

  private takeNumber(bytes: 4 | 8): number {
    const buffer = this.take(bytes);
    // Beyond 2^53 the number is inexact, and every bound below is far smaller.
    return bytes === 4 ? buffer.readUInt32LE() : Number(buffer.readBigUInt64LE());
  }

  /** A count of things of at least `least` bytes each. */
  private takeCount(what: string, most: number, least: number): number {
    const count = this.takeNumber(8);
    if (count > most) throw this.damaged(`at most ${most} ${what}`, `${count}`);
    if (count * least > this.size - this.at) throw this.damaged(`${what} that fit into the file`, `${count}`);
    return count;
  }

  private takeString(what: string, most: number): string {
    return this.take(this.takeCount(what, most, 1)).toString('utf8');
  }

  private takeValue(key: string): GgufValue {
    const type = this.takeNumber(4);
    if (type !== ARRAY) return this.takeScalar(type, key);
    const inner = this.takeNumber(4);
    if (inner === ARRAY) throw this.damaged('an array of plain values', `nested arrays in \`${cut(key)}\``);
    const least = inner === STRING ? 8 : this.findScalar(inner, key)[0];
    const count = this.takeCount(`elements of \`${cut(key)}\``, MAX_ARRAY, least);
    const values: GgufScalar[] = [];
    for (let index = 0; index < count; index++) values.push(this.takeScalar(inner, key));
    return values;
  }

  private findScalar(type: number, key: string): [number, (view: DataView, at: number) => number | bigint] {
    const scalar = SCALARS.get(type);
    if (scalar === undefined) throw this.damaged(`a value type of 0 to 12 in \`${cut(key)}\``, `${type}`);
    return scalar;
  }

  private takeScalar(type: number, key: string): GgufScalar {
    if (type === STRING) return this.takeString('bytes of a string', MAX_STRING_BYTES);
    const [bytes, read] = this.findScalar(type, key);
    const buffer = this.take(bytes);
    const value = read(new DataView(buffer.buffer, buffer.byteOffset, bytes), 0);
    if (type === BOOL) {
      if (value !== 0 && value !== 1) throw this.damaged(`true or false as 1 or 0 in \`${cut(key)}\``, `${value}`);
      return value === 1;
    }
    return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  private checkAlignment(value: GgufValue | undefined): number {
    if (value === undefined) return DEFAULT_ALIGNMENT;
    const isPower = typeof value === 'number' && value >= 8 && value <= MAX_ALIGNMENT && (value & (value - 1)) === 0;
    if (!isPower || !Number.isInteger(value)) {
      throw this.damaged(`general.alignment to be a power of 2 from 8 to ${MAX_ALIGNMENT}`, cut(String(value)));
    }
    return value as number;
  }

  private takeTensor(alignment: number): GgufTensor {
    const name = this.takeString("bytes of a tensor's name", MAX_NAME_BYTES);
    const axes = this.takeNumber(4);
    if (axes < 1 || axes > MAX_AXES) throw this.damaged(`1 to ${MAX_AXES} axes of tensor \`${cut(name)}\``, `${axes}`);
    const shape: number[] = [];
    let elements = 1;
    for (let axis = 0; axis < axes; axis++) {
      const length = this.takeNumber(8);
      elements *= length;
      if (length < 1 || elements > MAX_ELEMENTS) {
        throw this.damaged(`1 to 2^40 elements of tensor \`${cut(name)}\``, `an axis of ${length}`);
      }
      shape.unshift(length);
    }
    const type = this.takeNumber(4);
    const offset = this.takeNumber(8);
    // Beyond the end of a file that was cut, which the holder of the data finds.
    if (!Number.isSafeInteger(offset) || offset % alignment !== 0) {
      throw this.damaged(
        `the offset of tensor \`${cut(name)}\` below 2^53 and a multiple of ${alignment}`,
        `${offset}`,
      );
    }
    return { name, shape, type, offset };
  }
}

/** As much of a text of the file as a message shows. */
function cut(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

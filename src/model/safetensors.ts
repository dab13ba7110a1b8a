// One safetensors file: 8 bytes of header length, a JSON header, then the tensors' bytes without holes (huggingface/safetensors).
// The file is hostile until checked: every size is bounded before anything is allocated for it. Values are read in weights.ts.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { FormatError } from '../errors/errors.ts';
import { fileErrorOf } from '../formats/atomic-file.ts';
import { describeForeignText } from '../formats/foreign-text.ts';
import type { GgufType } from './gguf-blocks.ts';
import { type HeaderEntry, parseHeader } from './safetensors-header.ts';

/** Number types duo computes with: those of safetensors files, and the blocks of GGUF files. */
export type WeightDtype = GgufType;

/** A tensor as a file stores it; `dtype` is any of the format's. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** path of its shard */
  readonly file: string;
  /** first byte, from the start of the file */
  readonly offset: number;
  readonly byteLength: number;
}

/** A stored tensor of a dtype that duo reads. */
export interface TensorInfo extends StoredTensor {
  readonly dtype: WeightDtype;
}

/** An open, checked file. The holder closes `descriptor`. */
export interface Shard {
  readonly path: string;
  readonly descriptor: number;
  /** length field and JSON text, as stored */
  readonly headerBytes: Uint8Array;
  readonly dataOffset: number;
  readonly dataBytes: number;
  readonly tensors: readonly StoredTensor[];
}

/** The format's own bound on the header. */
export const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;
/** Enough to know what is no safetensors file. */
const FOREIGN_BYTES = 256;
/** readSync takes at most 2^31 − 1 bytes at once. */
const MAX_READ_BYTES = 2 ** 30;

const DTYPE_BITS: ReadonlyMap<string, number> = new Map([
  ...['F64', 'I64', 'U64', 'C64'].map((dtype) => [dtype, 64] as const),
  ...['F32', 'I32', 'U32'].map((dtype) => [dtype, 32] as const),
  ...['F16', 'BF16', 'I16', 'U16'].map((dtype) => [dtype, 16] as const),
  ...['I8', 'U8', 'BOOL', 'F8_E4M3', 'F8_E5M2', 'F8_E8M0', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'].map((d) => [d, 8] as const),
  ...['F6_E2M3', 'F6_E3M2'].map((dtype) => [dtype, 6] as const),
  ['F4', 4],
]);

/** Open a safetensors file and check its header against its size.
 * @throws {FileError} it cannot be read; {FormatError} it breaks the format, in one sentence that names the place. */
export function openShard(path: string): Shard {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (cause) {
    throw fileErrorOf('read', path, cause);
  }
  try {
    return readShard(path, descriptor);
  } catch (cause) {
    closeSync(descriptor);
    throw cause;
  }
}

/** Fill `target` from byte `offset` of the file. @throws {FileError} reading failed; {FormatError} the file ends too early. */
export function readBytes(shard: { path: string; descriptor: number }, target: Uint8Array, offset: number): void {
  for (let done = 0; done < target.length; ) {
    const length = Math.min(target.length - done, MAX_READ_BYTES);
    let count: number;
    try {
      count = readSync(shard.descriptor, target, done, length, offset + done);
    } catch (cause) {
      throw fileErrorOf('read', shard.path, cause);
    }
    if (count === 0) {
      throw new FormatError(
        `Expected ${shard.path} to reach byte ${offset + target.length}, but it ends at ${offset + done}; download it again.`,
      );
    }
    done += count;
  }
}

function readShard(path: string, descriptor: number): Shard {
  const stat = fstatSync(descriptor);
  if (!stat.isFile())
    throw new FormatError(`Expected ${path} to be a safetensors file, got something that is not a file.`);
  const fileBytes = stat.size;
  if (fileBytes < LENGTH_BYTES) throw damaged(path, `at least ${LENGTH_BYTES} bytes`, `${fileBytes}`);
  const prefix = new Uint8Array(LENGTH_BYTES);
  readBytes({ path, descriptor }, prefix, 0);
  refuseForeign({ path, descriptor }, fileBytes);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  const most = Math.min(MAX_HEADER_BYTES, fileBytes - LENGTH_BYTES);
  if (length > BigInt(most)) throw damaged(path, `a header of at most ${most} bytes`, `a header length of ${length}`);
  const headerBytes = new Uint8Array(LENGTH_BYTES + Number(length));
  readBytes({ path, descriptor }, headerBytes, 0);
  const dataOffset = headerBytes.length;
  const dataBytes = fileBytes - dataOffset;
  const entries = parseHeader(decodeText(headerBytes.subarray(LENGTH_BYTES), path), path);
  checkRanges(entries, { path, dataBytes });
  const tensors = entries.map(({ name, dtype, shape, range }) => {
    const [begin, end] = range as [number, number];
    return { name, dtype, shape, file: path, offset: dataOffset + begin, byteLength: end - begin };
  });
  return { path, descriptor, headerBytes, dataOffset, dataBytes, tensors };
}

/** A pointer, a page or a notice in place of the weights: their first letters would be a header of 10^18 bytes. */
function refuseForeign(file: { path: string; descriptor: number }, fileBytes: number): void {
  const start = new Uint8Array(Math.min(fileBytes, FOREIGN_BYTES));
  readBytes(file, start, 0);
  const foreign = describeForeignText(new TextDecoder().decode(start));
  if (foreign === null) return;
  throw new FormatError(`Expected ${file.path} to be a safetensors file, got ${foreign.found}; ${foreign.cure}.`);
}

function decodeText(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw damaged(path, 'a header in UTF-8', 'other bytes');
  }
}

/** Every range matches its dtype and shape, and together they cover the data section once. */
function checkRanges(entries: readonly HeaderEntry[], file: { path: string; dataBytes: number }): void {
  const { path, dataBytes } = file;
  for (const entry of entries) {
    const [begin, end] = entry.range as [number, number];
    const tensor = `tensor \`${entry.name}\` (${entry.dtype} [${entry.shape.join(', ')}])`;
    if (begin > end || end > dataBytes) {
      throw damaged(path, `${tensor} inside the ${dataBytes} bytes of data`, `bytes ${begin} to ${end}`);
    }
    const bytes = countBytes(entry, path);
    if (bytes !== end - begin) throw damaged(path, `${tensor} to take ${bytes} bytes`, `${end - begin}`);
  }
  const sorted = entries.map(({ name, range }) => ({ name, begin: range[0]!, end: range[1]! }));
  sorted.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of sorted) {
    if (begin !== covered) throw damaged(path, `tensor \`${name}\` to begin at data byte ${covered}`, `${begin}`);
    covered = end;
  }
  if (covered !== dataBytes) throw damaged(path, `tensors to cover all ${dataBytes} bytes of data`, `${covered}`);
}

function countBytes(entry: HeaderEntry, path: string): number {
  const bitsEach = DTYPE_BITS.get(entry.dtype);
  if (bitsEach === undefined) {
    throw damaged(path, `a dtype of the safetensors format for tensor \`${entry.name}\``, JSON.stringify(entry.dtype));
  }
  let bits = bitsEach;
  for (const size of entry.shape) {
    bits *= size;
    if (!Number.isSafeInteger(bits)) {
      throw damaged(path, `a size below 2^53 bits for tensor \`${entry.name}\``, `shape [${entry.shape.join(', ')}]`);
    }
  }
  return bits / 8;
}

function damaged(path: string, expected: string, found: string): FormatError {
  return new FormatError(
    `Expected ${expected} in ${path}, got ${found}; the file is damaged or incomplete, download it again.`,
  );
}

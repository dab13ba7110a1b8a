// The weights of a model folder: one safetensors file, or shards named by model.safetensors.index.json.
// Headers are read when opened, values when asked for, by positional reads (files may pass 2 GiB). Which tensors a model needs: tensor-names.ts.
import { closeSync, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError, ModelError } from '../errors/errors.ts';
import { readJson } from '../formats/read-json.ts';
import { isRecord, showValue } from './config-fields.ts';
import { decodeBf16, decodeF16 } from './half-floats.ts';
import { openShard, readBytes, type Shard, type StoredTensor, type TensorInfo } from './safetensors.ts';
import { findPlainName } from './tensor-names.ts';

/** Named tensors in open files, those of the language model by their plain names (tensor-names.ts). Not usable after `close`. */
export interface WeightStore {
  has(name: string): boolean;
  /** @throws {ModelError} no such tensor, or of a dtype other than F32, F16, BF16. */
  info(name: string): TensorInfo;
  /** The values in float32, row-major; F16 and BF16 convert exactly. Allocates 4 bytes per value.
   * @throws {ModelError} as `info`; a value is NaN or infinite; {FormatError} the file was cut since it was opened. */
  readF32(name: string): Float32Array;
  /** The first and the last `most` bytes of a tensor as it is stored (all of it, twice, where it is shorter). @throws as `readF32`. */
  readEdges(name: string, most: number): [first: Uint8Array, last: Uint8Array];
  /** shard paths in name order */
  readonly files: readonly string[];
  /** as `files`; none for GGUF */
  readonly shards: readonly Shard[];
  close(): void;
}

const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';
/** The largest published indexes stay under 20 MB. */
const MAX_INDEX_BYTES = 2 ** 26;
/** bytes converted at once from 16-bit files */
const CHUNK_BYTES = 2 ** 22;
const READABLE = ['F32', 'F16', 'BF16'];

/** Open the weights in `folder`. @returns null where it holds no *.safetensors file at all.
 * @throws {FormatError} a malformed file; {ModelError} a shard is missing; {FileError} reading failed. */
export function openWeights(folder: string): WeightStore | null {
  const names = readdirSync(folder).filter((name) => name.endsWith('.safetensors'));
  if (names.length === 0) return null;
  if (names.includes(SINGLE_FILE)) return openStore([join(folder, SINGLE_FILE)], null);
  const indexPath = join(folder, INDEX_FILE);
  if (existsSync(indexPath)) return openSharded(folder, indexPath);
  if (names.length === 1 && !/-of-\d+\.safetensors$/.test(names[0]!)) return openStore([join(folder, names[0]!)], null);
  throw new ModelError(
    `Expected ${SINGLE_FILE} or ${INDEX_FILE} in ${folder}, found ${names.length} *.safetensors without an index; download the index as well.`,
  );
}

function openSharded(folder: string, indexPath: string): WeightStore {
  const json = readJson(indexPath, MAX_INDEX_BYTES);
  const map = isRecord(json) ? json.weight_map : undefined;
  if (!isRecord(map))
    throw new FormatError(`Expected an object \`weight_map\` in ${indexPath}, got ${showValue(map)}.`);
  const fileOf = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !/^[^/\\\0]+\.safetensors$/.test(file)) {
      throw new FormatError(
        `Expected \`weight_map\` of ${indexPath} to give a *.safetensors file name for tensor \`${tensor}\`, got ${showValue(file)}.`,
      );
    }
    fileOf.set(tensor, join(folder, file));
  }
  const files = [...new Set(fileOf.values())].sort(compareNames);
  if (files.length === 0)
    throw new FormatError(`Expected at least one tensor in \`weight_map\` of ${indexPath}, got none.`);
  const missing = files.filter((file) => !statSync(file, { throwIfNoEntry: false })?.isFile());
  if (missing.length > 0) {
    throw new ModelError(
      `Expected shard ${missing[0]}, which ${indexPath} names, found no such file (${missing.length} of ${files.length} shards are missing); download the missing files.`,
    );
  }
  return openStore(files, { path: indexPath, fileOf });
}

/** Code-unit order, the same on every machine. */
function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function openStore(files: string[], index: { path: string; fileOf: Map<string, string> } | null): WeightStore {
  const shards: Shard[] = [];
  try {
    for (const file of files) shards.push(openShard(file));
    return new ShardStore(shards, index);
  } catch (cause) {
    for (const shard of shards) closeSync(shard.descriptor);
    throw cause;
  }
}

class ShardStore implements WeightStore {
  readonly shards: readonly Shard[];
  readonly files: readonly string[];
  private readonly tensors = new Map<string, { info: StoredTensor; shard: Shard }>();
  private closed = false;

  constructor(shards: readonly Shard[], index: { path: string; fileOf: Map<string, string> } | null) {
    this.shards = shards;
    this.files = shards.map((shard) => shard.path);
    const stored = new Set<string>();
    for (const shard of shards) {
      for (const info of shard.tensors) {
        // A tensor that the index places elsewhere, or does not name, is not part of the model.
        if (index !== null && index.fileOf.get(info.name) !== shard.path) continue;
        stored.add(info.name);
        this.add(info, shard);
      }
    }
    for (const [name, file] of index?.fileOf ?? []) {
      if (stored.has(name)) continue;
      throw new FormatError(
        `Expected tensor \`${name}\` in ${file}, where ${index!.path} places it, found none; download both files again.`,
      );
    }
  }

  private add(info: StoredTensor, shard: Shard): void {
    const name = findPlainName(info.name) ?? info.name;
    const other = this.tensors.get(name)?.info;
    if (other !== undefined && other.name !== info.name) {
      throw new ModelError(
        `Expected one language model in the weights, got both \`${other.name}\` of ${other.file} and \`${info.name}\` of ${info.file}; remove the one that is not to be used.`,
      );
    }
    this.tensors.set(name, { info, shard });
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  info(name: string): TensorInfo {
    return this.find(name).info;
  }

  readF32(name: string): Float32Array {
    const { info, shard } = this.find(name);
    if (this.closed) throw new ModelError(`Expected open weights to read tensor \`${name}\`, but they were closed.`);
    const values = allocateValues(info);
    const bits = new Uint32Array(values.buffer);
    if (info.dtype === 'F32') readBytes(shard, new Uint8Array(values.buffer), info.offset);
    else readHalves(shard, { info, bits });
    refuseNonFinite(values, info);
    return values;
  }

  readEdges(name: string, most: number): [first: Uint8Array, last: Uint8Array] {
    const { info, shard } = this.find(name);
    const first = new Uint8Array(Math.min(most, info.byteLength));
    const last = new Uint8Array(first.length);
    readBytes(shard, first, info.offset);
    readBytes(shard, last, info.offset + info.byteLength - last.length);
    return [first, last];
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const shard of this.shards) closeSync(shard.descriptor);
  }

  private find(name: string): { info: TensorInfo; shard: Shard } {
    const found = this.tensors.get(name);
    if (found === undefined) {
      throw new ModelError(
        `Expected tensor \`${name}\` in ${this.files.join(', ')}, found none; download the model again.`,
      );
    }
    const { info, shard } = found;
    if (!isReadable(info)) {
      throw new ModelError(
        `Expected tensor \`${name}\` of ${info.file} to be F32, F16 or BF16, got ${info.dtype}; use the model in one of those.`,
      );
    }
    return { info, shard };
  }
}

/** @throws {ModelError} a value is NaN or infinite; names the first. */
export function refuseNonFinite(values: Float32Array, info: TensorInfo): void {
  const at = findNonFinite(new Uint32Array(values.buffer, values.byteOffset, values.length));
  if (at < 0) return;
  throw new ModelError(
    `Expected finite numbers in tensor \`${info.name}\` of ${info.file}, got ${values[at]} at index ${at}; download the file again or use another model.`,
  );
}

/** Index of the first float32 whose exponent is all ones, or −1. */
function findNonFinite(bits: Uint32Array): number {
  const { length } = bits;
  for (let index = 0; index < length; index++) {
    if ((bits[index]! & 0x7f800000) === 0x7f800000) return index;
  }
  return -1;
}

function isReadable(info: StoredTensor): info is TensorInfo {
  return READABLE.includes(info.dtype);
}

/** @throws {ModelError} too little memory. */
export function allocateValues(info: TensorInfo): Float32Array<ArrayBuffer> {
  const count = info.shape.reduce((product, size) => product * size, 1);
  try {
    return new Float32Array(count);
  } catch (cause) {
    throw new ModelError(
      `Expected room for the ${count} float32 values of tensor \`${info.name}\`, got too little memory.`,
      {
        cause,
      },
    );
  }
}

function readHalves(shard: Shard, options: { info: TensorInfo; bits: Uint32Array }): void {
  const { info, bits } = options;
  const decode = info.dtype === 'BF16' ? decodeBf16 : decodeF16;
  const chunk = new Uint16Array(Math.min(info.byteLength, CHUNK_BYTES) / 2);
  for (let done = 0; done < bits.length; done += chunk.length) {
    const part = chunk.subarray(0, Math.min(chunk.length, bits.length - done));
    readBytes(shard, new Uint8Array(part.buffer, 0, part.byteLength), info.offset + 2 * done);
    decode(part, bits.subarray(done, done + part.length));
  }
}

// The weights of a GGUF model: one file, or the parts of a split one. Values are widened to float32 when asked for, under their Hugging Face names.
import { closeSync, openSync } from 'node:fs';
import { FormatError, ModelError } from '../errors/errors.ts';
import { fileErrorOf } from '../formats/atomic-file.ts';
import type { GgufHead, GgufTensor } from '../formats/gguf.ts';
import { dequantize, describeBlock, GGUF_TYPES, isGgufType, nameGgufType } from './gguf-blocks.ts';
import { hasPairedRows, ROPE_FACTORS, translateGgufName, unpairRows } from './gguf-names.ts';
import { readBytes, type TensorInfo } from './safetensors.ts';
import { allocateValues, refuseNonFinite, type WeightStore } from './weights.ts';

/** bytes dequantised at once, about; whole blocks */
const CHUNK_BYTES = 2 ** 20;

interface Part {
  readonly path: string;
  readonly descriptor: number;
}

interface Placed {
  readonly part: Part;
  readonly info: TensorInfo;
  /** its name in the file */
  readonly stored: string;
}

/** Open the tensors of checked heads.
 * @param options.architecture decides the row order of q and k.  @param options.headDim rows of a head, 0 where it is not known yet.
 * @throws {ModelError} a tensor of a type that duo does not compute, or one that the four architectures do not have;
 * {FormatError} data outside the file, overlapping, or a tensor in two files; {FileError} reading failed. */
export function openGgufWeights(
  heads: readonly GgufHead[],
  options: { architecture: string; headDim: number },
): GgufStore {
  const parts: Part[] = [];
  try {
    for (const { path } of heads) {
      try {
        parts.push({ path, descriptor: openSync(path, 'r') });
      } catch (cause) {
        throw fileErrorOf('read', path, cause);
      }
    }
    return new GgufStore(heads, { parts, ...options });
  } catch (cause) {
    for (const { descriptor } of parts) closeSync(descriptor);
    throw cause;
  }
}

export class GgufStore implements WeightStore {
  readonly files: readonly string[];
  readonly shards = [];
  private readonly parts: readonly Part[];
  private readonly architecture: string;
  private readonly headDim: number;
  private readonly tensors = new Map<string, Placed>();
  private closed = false;

  constructor(heads: readonly GgufHead[], options: { parts: readonly Part[]; architecture: string; headDim: number }) {
    this.parts = options.parts;
    this.architecture = options.architecture;
    this.headDim = options.headDim;
    this.files = heads.map(({ path }) => path);
    heads.forEach((head, index) => {
      this.addPart(head, this.parts[index]!);
    });
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  info(name: string): TensorInfo {
    return this.find(name).info;
  }

  readF32(name: string): Float32Array {
    const { part, info } = this.find(name);
    if (this.closed) throw new ModelError(`Expected open weights to read tensor \`${name}\`, but they were closed.`);
    const values = allocateValues(info);
    const block = describeBlock(info.dtype);
    const chunk = Math.max(1, Math.floor(CHUNK_BYTES / block.bytes)) * block.bytes;
    for (let done = 0; done < info.byteLength; done += chunk) {
      const bytes = new Uint8Array(Math.min(chunk, info.byteLength - done));
      readBytes(part, bytes, info.offset + done);
      const first = (done / block.bytes) * block.elements;
      dequantize(info.dtype, bytes, values.subarray(first, first + (bytes.length / block.bytes) * block.elements));
    }
    refuseNonFinite(values, info);
    if (!hasPairedRows(this.architecture, name)) return values;
    return unpairRows(values, { rows: info.shape[0]!, headDim: this.headDim });
  }

  readEdges(name: string, most: number): [first: Uint8Array, last: Uint8Array] {
    const { part, info } = this.find(name);
    const first = new Uint8Array(Math.min(most, info.byteLength));
    const last = new Uint8Array(first.length);
    readBytes(part, first, info.offset);
    readBytes(part, last, info.offset + info.byteLength - last.length);
    return [first, last];
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const { descriptor } of this.parts) closeSync(descriptor);
  }

  private find(name: string): Placed {
    const found = this.tensors.get(name);
    if (found !== undefined) return found;
    throw new ModelError(
      `Expected tensor \`${name}\` in ${this.files.join(', ')}, found none; download the file again.`,
    );
  }

  private addPart(head: GgufHead, part: Part): void {
    const placed = head.tensors.map((tensor) => placeTensor(tensor, { head, part }));
    const sorted = placed.map(({ info }) => info).sort((a, b) => a.offset - b.offset);
    sorted.forEach((info, index) => {
      const next = sorted[index + 1];
      if (next !== undefined && next.offset < info.offset + info.byteLength) {
        throw new FormatError(
          `Expected tensors of ${head.path} not to overlap, but \`${info.name}\` and \`${next.name}\` do; download it again.`,
        );
      }
    });
    for (const tensor of placed) {
      const before = this.tensors.get(tensor.info.name);
      if (before !== undefined) {
        throw new FormatError(
          `Expected tensor \`${tensor.stored}\` in one file, found it in ${before.part.path} and ${head.path}.`,
        );
      }
      this.tensors.set(tensor.info.name, tensor);
    }
  }
}

function placeTensor(tensor: GgufTensor, file: { head: GgufHead; part: Part }): Placed {
  const { head, part } = file;
  const { name, shape, offset } = tensor;
  const type = nameGgufType(tensor.type);
  if (!isGgufType(type)) {
    throw new ModelError(
      `Expected tensor \`${name}\` of ${head.path} to be ${GGUF_TYPES.join(', ')}, got ${type}: duo does not compute it; use a file of one of those types.`,
    );
  }
  const known = name === ROPE_FACTORS ? ROPE_FACTORS : translateGgufName(name);
  if (known === null) {
    throw new ModelError(
      `Expected ${head.path} to hold tensors of the Llama, Mistral, Qwen2 and Qwen3 architectures only, got \`${name}\`, which would change the computation; use another model.`,
    );
  }
  const { elements, bytes } = describeBlock(type);
  if (shape.at(-1)! % elements !== 0) {
    throw new FormatError(
      `Expected rows of tensor \`${name}\` of ${head.path} to be whole ${type} blocks of ${elements}, got shape [${shape.join(', ')}]; download it again.`,
    );
  }
  const byteLength = (shape.reduce((product, size) => product * size, 1) / elements) * bytes;
  if (offset + byteLength > head.fileBytes) {
    throw new FormatError(
      `Expected data of tensor \`${name}\` inside the ${head.fileBytes} bytes of ${head.path}, got bytes ${offset} to ${offset + byteLength}; the download is incomplete, continue it.`,
    );
  }
  return { part, stored: name, info: { name: known, dtype: type, shape, file: head.path, offset, byteLength } };
}

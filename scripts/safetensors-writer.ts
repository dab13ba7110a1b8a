// Writes tensors as one safetensors file, in the order given and with the same bytes for the same input.
// Serves the scripts that train the project's own models; reading is safetensors.ts.
import { FormatError } from '../src/errors/errors.ts';
import { writeFileAtomic } from '../src/formats/atomic-file.ts';
import { encodeBf16 } from '../src/model/half-floats.ts';

/** One tensor to write; `values` row-major, rounded to nearest where `dtype` is BF16. */
export interface WritableTensor {
  readonly name: string;
  readonly dtype: 'F32' | 'BF16';
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** The header is padded with spaces to this, so that the data is aligned for every dtype. */
const ALIGN_BYTES = 8;

/** The bytes of a file with these tensors. @throws {FormatError} a shape that does not match its values, a name twice. */
export function encodeSafetensors(tensors: readonly WritableTensor[], metadata?: Record<string, string>): Uint8Array {
  const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata };
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const { name, dtype, shape, values } of tensors) {
    const count = shape.reduce((product, size) => product * size, 1);
    if (count !== values.length) {
      throw new FormatError(
        `Expected ${count} values for tensor \`${name}\` [${shape.join(', ')}], got ${values.length}.`,
      );
    }
    if (Object.hasOwn(header, name)) throw new FormatError(`Expected each tensor once, got \`${name}\` twice.`);
    const words = dtype === 'BF16' ? encodeBf16(values) : values;
    const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] };
    parts.push(bytes);
    offset += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padding = (ALIGN_BYTES - (json.length % ALIGN_BYTES)) % ALIGN_BYTES;
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length + padding));
  return Buffer.concat([length, json, Buffer.alloc(padding, ' '), ...parts]);
}

/** Write a file whole or not at all. @throws {FormatError} as `encodeSafetensors`; {FileError} writing failed. */
export function writeSafetensors(
  path: string,
  options: { tensors: readonly WritableTensor[]; metadata?: Record<string, string> },
): void {
  writeFileAtomic(path, encodeSafetensors(options.tensors, options.metadata));
}

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import { FileError, FormatError, ModelError } from '../../../src/errors/errors.ts';
import { isGgufFile, readGgufHead } from '../../../src/formats/gguf.ts';
import { openGgufModel } from '../../../src/model/gguf-model.ts';
import { readGgufTokenizer } from '../../../src/text/gguf-tokenizer.ts';
import { encodeGguf, text, u32, u64 } from '../../reference/gguf-writer.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-gguf-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const CORPUS = new URL('../../../kernels/tests/corpus/gguf/', import.meta.url);

function write(...parts: Uint8Array[]): string {
  const path = join(scratch, 'file.gguf');
  writeFileSync(path, Buffer.concat(parts));
  return path;
}

const head = (tensors: number | bigint, fields: number | bigint, version = 3): Buffer =>
  Buffer.concat([Buffer.from('GGUF'), u32(version), u64(tensors), u64(fields)]);
const tensor = (name: string, axes: (number | bigint)[], type: number, offset: number | bigint): Buffer =>
  Buffer.concat([text(name), u32(axes.length), ...axes.map((axis) => u64(axis)), u32(type), u64(offset)]);
const zeros = (count: number): Buffer => Buffer.alloc(count);
const HUGE = 2n ** 63n;
const FAR = 2n ** 40n;

describe('readGgufHead', () => {
  it('reads every kind of value', () => {
    const path = write(readFileSync(new URL('values', CORPUS)));
    expect(isGgufFile(path)).toBe(true);
    expect(Object.fromEntries(readGgufHead(path).metadata)).toEqual({
      'general.architecture': 'llama',
      a: 1, b: -1, c: 2, d: -2, e: 3, f: -3, g: 0.5, h: true, i: 4, j: -4, k: 0.25,
    }); // biome-ignore format: pairs
    expect(Object.fromEntries(readGgufHead(write(readFileSync(new URL('arrays', CORPUS)))).metadata)).toEqual({
      'tokenizer.ggml.tokens': ['a', 'b', 'ab', ''],
      'tokenizer.ggml.scores': [0, -1],
      'tokenizer.ggml.token_type': [1, 3],
      flags: [false, true],
    });
  });

  it('reads tensors, rows first, at absolute offsets', () => {
    const bytes = readFileSync(new URL('aligned', CORPUS));
    const { tensors, fileBytes } = readGgufHead(write(bytes));
    expect(tensors.map(({ name, shape, type }) => [name, shape, type])).toEqual([
      ['blk.0.attn_q.weight', [2, 32], 3],
      ['blk.0.attn_k.bias', [3], 0],
    ]);
    expect(tensors[1]!.offset - tensors[0]!.offset).toBe(64);
    expect(tensors[1]!.offset + 12).toBe(fileBytes);
  });

  it('reads what its window does not hold at once, and numbers beyond 2^53', () => {
    const long = 'x'.repeat(3_000_000);
    const path = write(encodeGguf({ long: ['string', long], more: ['strings', ['a', long]] }, []));
    expect(readGgufHead(path).metadata.get('more')).toEqual(['a', long]);
    const wide = write(head(0, 1), text('wide'), u32(10), u64(HUGE));
    expect(readGgufHead(wide).metadata.get('wide')).toBe(HUGE);
  });

  it.each<[string, Buffer[], string]>([
    ['another magic', [Buffer.from('GGML'), zeros(64)], 'to begin with `GGUF`'],
    ['nothing', [], 'to begin with `GGUF`'],
    ['a cut version', [Buffer.from('GGUF')], "got the file's end"],
    ['version 1', [head(0, 0, 1)], 'version 2 or 3'],
    ['a big-endian file', [head(0, 0, 0x03000000)], 'a little-endian file'],
    ['2^63 tensors', [head(HUGE, 0)], 'at most 1048576 tensors'],
    ['2^63 fields', [head(0, HUGE)], 'at most 65536 metadata fields'],
    ['more tensors than fit', [head(1000, 0)], 'tensors that fit into the file'],
    ['a key of 2^40', [head(0, 1), u64(FAR), zeros(99)], 'at most 65536 bytes of a key'],
    ['a string of 2^40', [head(0, 1), text('a'), u32(8), u64(FAR), zeros(99)], 'at most 67108864 bytes of a string'],
    ['a string beyond the end', [head(0, 1), text('a'), u32(8), u64(99), zeros(9)], 'that fit into the file'],
    ['an unknown value type', [head(0, 1), text('a'), u32(13), zeros(99)], 'a value type of 0 to 12'],
    ['nested arrays', [head(0, 1), text('a'), u32(9), u32(9), u64(1), zeros(99)], 'nested arrays in `a`'],
    ['an array of 2^63', [head(0, 1), text('a'), u32(9), u32(4), u64(HUGE), zeros(99)], 'at most 16777216 elements'],
    ['an array beyond the end', [head(0, 1), text('a'), u32(9), u32(12), u64(99), zeros(99)], 'that fit into the file'],
    ['a boolean of 2', [head(0, 1), text('a'), u32(7), Buffer.from([2])], 'true or false'],
    ['a field twice', [head(0, 2), text('a'), u32(0), zeros(1), text('a'), u32(0), zeros(1)], '`a` twice'],
    ['an odd alignment', [head(0, 1), text('general.alignment'), u32(4), u32(48)], 'a power of 2'],
    ['five axes', [head(1, 0), tensor('t', [1, 1, 1, 1, 1], 0, 0)], '1 to 4 axes'],
    ['an axis of 0', [head(1, 0), tensor('t', [0], 0, 0)], '1 to 2^40 elements'],
    ['an axis of 2^63', [head(1, 0), tensor('t', [HUGE], 0, 0)], '1 to 2^40 elements'],
    ['2^41 elements', [head(1, 0), tensor('t', [FAR, 2], 0, 0)], '1 to 2^40 elements'],
    ['an offset off the grid', [head(1, 0), tensor('t', [4], 0, 8), zeros(99)], 'a multiple of 32'],
    ['an offset of 2^63', [head(1, 0), tensor('t', [4], 0, HUGE), zeros(99)], 'below 2^53'],
    ['a tensor twice', [head(2, 0), tensor('t', [4], 0, 0), tensor('t', [4], 0, 32), zeros(99)], '`t` twice'],
  ])('refuses %s', (_, parts, words) => {
    const path = write(...parts);
    expect(() => readGgufHead(path)).toThrow(FormatError);
    expect(() => readGgufHead(path)).toThrow(words);
  });

  it('names a file that cannot be read', () => {
    expect(() => readGgufHead(join(scratch, 'absent.gguf'))).toThrow(FileError);
    expect(isGgufFile(join(scratch, 'absent.gguf'))).toBe(false);
    expect(isGgufFile(scratch)).toBe(false);
  });
});

describe('mutated files', () => {
  const PIECES = [0n, 1n, 9n, 12n, 255n, 2n ** 20n, 2n ** 32n, FAR, HUGE, 2n ** 64n - 1n];
  const tiny = encodeGguf(
    {
      'general.architecture': ['string', 'llama'],
      'llama.block_count': ['u32', 1],
      'llama.context_length': ['u32', 64],
      'llama.embedding_length': ['u32', 32],
      'llama.feed_forward_length': ['u32', 32],
      'llama.attention.head_count': ['u32', 2],
      'llama.attention.layer_norm_rms_epsilon': ['f32', 1e-5],
      'tokenizer.ggml.model': ['string', 'llama'],
      'tokenizer.ggml.tokens': ['strings', ['<unk>', '▁', 'a', 'b', 'ab']],
      'tokenizer.ggml.scores': ['f32s', [0, 0, -1, -2, -3]],
      'tokenizer.ggml.token_type': ['i32s', [2, 1, 1, 1, 1]],
    },
    [
      { name: 'token_embd.weight', shape: [5, 32], type: 8, data: new Uint8Array(5 * 34) },
      { name: 'output_norm.weight', shape: [32], type: 0, data: new Uint8Array(128) },
    ],
  );
  const seeds = ['version-2', 'values', 'arrays', 'aligned', 'types', 'axes', 'split', 'other-type'].map((name) =>
    readFileSync(new URL(name, CORPUS)),
  );

  it('are read or refused by one of the errors for a person, whatever the bytes', () => {
    const random = makeRandom(20261126, 'gguf');
    const path = join(scratch, 'mutated.gguf');
    let read = 0;
    for (let round = 0; round < 1500; round++) {
      // Half of the rounds on the whole model, whose config and tokenizer are read as well.
      let bytes: Buffer = Buffer.from(random.integer(2) === 0 ? tiny : seeds[random.integer(seeds.length)]!);
      for (let edits = random.integer(5); edits > 0; edits--) {
        const at = 4 + random.integer(bytes.length - 4);
        const piece = u64(PIECES[random.integer(PIECES.length)]!).subarray(0, [1, 4, 8][random.integer(3)]);
        const kind = random.integer(4);
        if (kind === 0) bytes[at] = random.integer(256);
        else if (kind === 1) bytes = bytes.subarray(0, at);
        else if (kind === 2) piece.copy(bytes, at);
        else bytes = Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
        if (bytes.length <= 5) break;
      }
      writeFileSync(path, bytes);
      for (const use of [readGgufHead, readGgufTokenizer, (file: string) => openGgufModel(file).weights.close()]) {
        try {
          use(path);
          read++;
        } catch (error) {
          const isExpected = error instanceof FormatError || error instanceof ModelError;
          expect(isExpected, `round ${round}: ${(error as Error).stack}`).toBe(true);
        }
      }
    }
    expect(read).toBeGreaterThan(300);
  });
});

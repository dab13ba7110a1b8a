import { closeSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeSafetensors } from '../../../scripts/safetensors-writer.ts';
import { makeRandom } from '../../../src/core/random.ts';
import { FileError, FormatError } from '../../../src/errors/errors.ts';
import { MAX_HEADER_BYTES, openShard, readBytes, type Shard } from '../../../src/model/safetensors.ts';
import { makeRawFile, makeScratchFolder } from './model-fixture.ts';

const scratch = makeScratchFolder();
const path = join(scratch, 'x.safetensors');
const again = '; the file is damaged or incomplete, download it again.';

function open(bytes: Uint8Array): Shard {
  writeFileSync(path, bytes);
  const shard = openShard(path);
  closeSync(shard.descriptor);
  return shard;
}

/** What opening these bytes ends in: the message, with the path as `F`. */
function refusal(bytes: Uint8Array): string {
  try {
    open(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    return (error as Error).message.replaceAll(path, 'F');
  }
  return 'read';
}

const entry = (dtype: string, shape: unknown, begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe('openShard', () => {
  it('reads names, dtypes, shapes and absolute ranges, and drops metadata', () => {
    const header = {
      __metadata__: { format: 'pt', note: 'ä "x" \u2028' },
      a: entry('F32', [2, 3], 0, 24),
      'b.ü': entry('BF16', [], 24, 26),
      none: entry('F16', [0, 5], 26, 26),
      other: entry('I8', [4], 26, 30),
    };
    const { tensors, dataOffset, dataBytes } = open(makeRawFile(header, 30));
    expect(dataBytes).toBe(30);
    expect(
      tensors.map(({ name, dtype, shape, offset, byteLength }) => [
        name,
        dtype,
        shape,
        offset - dataOffset,
        byteLength,
      ]),
    ).toEqual([
      ['a', 'F32', [2, 3], 0, 24],
      ['b.ü', 'BF16', [], 24, 2],
      ['none', 'F16', [0, 5], 26, 0],
      ['other', 'I8', [4], 26, 4],
    ]);
  });

  it('reads an empty file of the format, and a header padded with spaces', () => {
    expect(open(makeRawFile('{}')).tensors).toEqual([]);
    expect(open(makeRawFile('{}        ')).tensors).toEqual([]);
  });

  it('takes tensors in any order of the header', () => {
    const header = { b: entry('F32', [1], 4, 8), a: entry('F32', [1], 0, 4) };
    expect(open(makeRawFile(header, 8)).tensors.map(({ name }) => name)).toEqual(['b', 'a']);
  });

  it.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(0), `Expected at least 8 bytes in F, got 0${again}`],
    ['seven bytes', new Uint8Array(7), `Expected at least 8 bytes in F, got 7${again}`],
    [
      'a header longer than the file',
      makeRawFile('{}', 0, 3n),
      `Expected a header of at most 2 bytes in F, got a header length of 3${again}`,
    ],
    [
      'a header length of 2^64 − 1',
      makeRawFile('{}', 0, 2n ** 64n - 1n),
      `Expected a header of at most 2 bytes in F, got a header length of 18446744073709551615${again}`,
    ],
    [
      'a header of no bytes',
      makeRawFile('', 0),
      'Expected "{" at character 0 of the safetensors header of F, got the end of the text; the file is damaged, download it again.',
    ],
    [
      'bytes that are not UTF-8',
      makeRawFile('{}', 0, 1n).with(8, 0xff),
      `Expected a header in UTF-8 in F, got other bytes${again}`,
    ],
    [
      'an array',
      makeRawFile('[]'),
      'Expected "{" at character 0 of the safetensors header of F, got "[]"; the file is damaged, download it again.',
    ],
    [
      'text after the object',
      makeRawFile('{} x'),
      'Expected the end of the header at character 3 of the safetensors header of F, got "x"; the file is damaged, download it again.',
    ],
    [
      'a tensor twice',
      makeRawFile('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}'),
      'Expected each key once at character 57 of the safetensors header of F, got "a" a second time; the file is damaged, download it again.',
    ],
    [
      'a key spelled twice with an escape',
      makeRawFile('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"\\u0061":{}}'),
      'Expected each key once at character 62 of the safetensors header of F, got "a" a second time; the file is damaged, download it again.',
    ],
    [
      'dtype twice',
      makeRawFile('{"a":{"dtype":"F32","dtype":"F32"}}'),
      'Expected each key once at character 27 of the safetensors header of F, got "dtype" a second time; the file is damaged, download it again.',
    ],
    [
      'an unknown key',
      makeRawFile('{"a":{"offset":3}}'),
      'Expected "dtype", "shape" or "data_offsets" at character 15 of the safetensors header of F, got the key "offset"; the file is damaged, download it again.',
    ],
    [
      'a missing key',
      makeRawFile('{"a":{"dtype":"F32","shape":[]}}'),
      'Expected dtype, shape and two data_offsets at character 31 of the safetensors header of F, got an incomplete entry of tensor "a"; the file is damaged, download it again.',
    ],
    [
      'metadata that is no text',
      makeRawFile({ __metadata__: { a: 1 } }),
      'Expected """ at character 21 of the safetensors header of F, got "1}}"; the file is damaged, download it again.',
    ],
    [
      'a negative size',
      makeRawFile({ a: entry('F32', [-1], 0, 0) }),
      'Expected an integer of at least 0 at character 29 of the safetensors header of F, got "-1],\\"data_offsets\\":["; the file is damaged, download it again.',
    ],
    [
      'a fraction',
      makeRawFile({ a: entry('F32', [1.5], 0, 0) }),
      'Expected an integer of at least 0 at character 29 of the safetensors header of F, got "1.5],\\"data_offsets\\":"; the file is damaged, download it again.',
    ],
    [
      'a size of 10^16 − 1',
      makeRawFile('{"a":{"dtype":"F32","shape":[9999999999999999],"data_offsets":[0,0]}}'),
      'Expected an integer below 2^53 at character 45 of the safetensors header of F, got 10000000000000000; the file is damaged, download it again.',
    ],
    [
      'nine dimensions',
      makeRawFile({ a: entry('F32', [1, 1, 1, 1, 1, 1, 1, 1, 1], 0, 4) }, 4),
      'Expected at most 8 numbers at character 45 of the safetensors header of F, got more; the file is damaged, download it again.',
    ],
    [
      'an unknown dtype',
      makeRawFile({ a: entry('Q4_K', [1], 0, 4) }, 4),
      `Expected a dtype of the safetensors format for tensor \`a\` in F, got "Q4_K"${again}`,
    ],
    [
      'a product of sizes past 2^53',
      makeRawFile({ a: entry('F32', [2 ** 40, 2 ** 40], 0, 4) }, 4),
      `Expected a size below 2^53 bits for tensor \`a\` in F, got shape [1099511627776, 1099511627776]${again}`,
    ],
    [
      'a range that is too short for its shape',
      makeRawFile({ a: entry('F32', [2], 0, 4) }, 4),
      `Expected tensor \`a\` (F32 [2]) to take 8 bytes in F, got 4${again}`,
    ],
    [
      'a range past the end',
      makeRawFile({ a: entry('F32', [2], 0, 8) }, 4),
      `Expected tensor \`a\` (F32 [2]) inside the 4 bytes of data in F, got bytes 0 to 8${again}`,
    ],
    [
      'begin after end',
      makeRawFile({ a: entry('F32', [1], 8, 4) }, 8),
      `Expected tensor \`a\` (F32 [1]) inside the 8 bytes of data in F, got bytes 8 to 4${again}`,
    ],
    [
      'overlapping ranges',
      makeRawFile({ a: entry('F32', [2], 0, 8), b: entry('F32', [2], 4, 12) }, 12),
      `Expected tensor \`b\` to begin at data byte 8 in F, got 4${again}`,
    ],
    [
      'a hole',
      makeRawFile({ a: entry('F32', [1], 0, 4), b: entry('F32', [1], 8, 12) }, 12),
      `Expected tensor \`b\` to begin at data byte 4 in F, got 8${again}`,
    ],
    [
      'bytes that no tensor covers',
      makeRawFile({ a: entry('F32', [1], 0, 4) }, 5),
      `Expected tensors to cover all 5 bytes of data in F, got 4${again}`,
    ],
  ])('refuses %s', (_, bytes, message) => {
    expect(refusal(bytes)).toBe(message);
  });

  it('refuses a header above the bound of the format before reading it', () => {
    writeFileSync(path, makeRawFile('{}', 0, BigInt(MAX_HEADER_BYTES + 1)));
    // A sparse file: large enough for the header it claims.
    truncateSync(path, MAX_HEADER_BYTES + 1000);
    expect(() => openShard(path)).toThrow(`Expected a header of at most ${MAX_HEADER_BYTES} bytes`);
  });

  it.each([
    ['nesting', '['.repeat(2_000_000)],
    ['a nested object', '{"a":'.repeat(400_000)],
    ['a string without end', `{"${'a'.repeat(4_000_000)}`],
    ['escapes without end', `{"${'\\"'.repeat(2_000_000)}`],
    ['a control character in a key', '{"a\u0001":1}'],
    ['a bad escape', '{"a\\x":1}'],
  ])('ends %s in a FormatError', (_, header) => {
    expect(refusal(makeRawFile(header))).toMatch(/^Expected .* of the safetensors header of F, got /);
  });

  it('keeps a name that JavaScript objects treat specially', () => {
    const text = '{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}';
    expect(open(makeRawFile(text, 4)).tensors[0]!.name).toBe('__proto__');
  });

  it('says what the operating system refuses', () => {
    expect(() => openShard(join(scratch, 'absent.safetensors'))).toThrow(FileError);
    expect(() => openShard(scratch)).toThrow(`Expected ${scratch} to be a safetensors file`);
  });

  it('any flipped, cut or inserted bytes: read, or a FormatError', () => {
    const random = makeRandom(11, 'mutations');
    const values = Float32Array.from({ length: 12 }, (_, index) => index);
    const whole = encodeSafetensors(
      [
        { name: 'model.a', dtype: 'F32', shape: [3, 4], values },
        { name: 'model.b', dtype: 'BF16', shape: [12], values },
      ],
      { format: 'pt' },
    );
    let read = 0;
    for (let round = 0; round < 400; round++) {
      const bytes = Buffer.from(whole);
      for (let flip = random.integer(3); flip >= 0; flip--) bytes[random.integer(bytes.length)] = random.integer(256);
      const cut = random.integer(4) === 0 ? bytes.subarray(0, random.integer(bytes.length)) : bytes;
      if (refusal(cut) === 'read') read++;
    }
    // Flips in the data section stay readable, flips in the header mostly do not.
    expect(read).toBeGreaterThan(20);
    expect(read).toBeLessThan(380);
  });
});

describe('readBytes', () => {
  it('names a file that was cut after its header was read', () => {
    writeFileSync(path, makeRawFile({ a: entry('F32', [2], 0, 8) }, 8));
    const shard = openShard(path);
    truncateSync(path, shard.dataOffset + 3);
    expect(() => readBytes(shard, new Uint8Array(8), shard.dataOffset)).toThrow(
      `Expected ${path} to reach byte ${shard.dataOffset + 8}, but it ends at ${shard.dataOffset + 3}; download it again.`,
    );
    closeSync(shard.descriptor);
  });
});

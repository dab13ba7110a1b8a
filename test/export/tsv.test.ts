import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { clipGates, formatExponential, formatTsv, parseTsv, readTsv, writeTsv } from '../../export/tsv.ts';
import { makeRandom } from '../../src/core/random.ts';
import { FormatError } from '../../src/errors/errors.ts';

describe('numbers in the form %.18e', () => {
  // Right-hand sides by C's printf.
  test.each([
    [0, '0.000000000000000000e+00'],
    [-0, '-0.000000000000000000e+00'],
    [1, '1.000000000000000000e+00'],
    [0.1, '1.000000000000000056e-01'],
    [-0.0014, '-1.399999999999999986e-03'],
    [2 ** -149, '1.401298464324817071e-45'],
    [1e100, '1.000000000000000016e+100'],
    // Exactly halfway at the 19th decimal: the even digit wins, up and down.
    [233 * 2 ** -25, '6.943941116333007812e-06'],
    [-201 * 2 ** -24, '-1.198053359985351562e-05'],
    [2 ** -18 * 5, '1.907348632812500000e-05'],
    [7 * 2 ** -26, '1.043081283569335938e-07'],
  ])('%d is %s', (value, text) => {
    expect(formatExponential(value)).toBe(text);
  });
});

describe('pattern rows', () => {
  test('write then read is identity, for any gates', () => {
    const random = makeRandom(3, 'tsv-test');
    const path = join(mkdtempSync(join(tmpdir(), 'duo-tsv-')), 'full_attention_heads.tsv');
    for (const [layers, kvHeads] of [
      [1, 1],
      [3, 2],
      [7, 5],
    ] as const) {
      const gates = Array.from({ length: layers }, () =>
        Array.from({ length: kvHeads }, () => random.uniform() * 10 ** -random.integer(8)),
      );
      writeTsv(path, gates);
      expect(readTsv(path)).toEqual(gates);
      expect(formatTsv(readTsv(path))).toBe(formatTsv(gates));
    }
  });

  test('are read in any numeric form, with any line ends', () => {
    expect(parseTsv('1\t.5 0.\r\n-1.4e-3\t+2E0\t1e-2\n\n', 'p.tsv')).toEqual([
      [1, 0.5, 0],
      [-0.0014, 2, 0.01],
    ]);
  });

  test.each([
    ['nothing', '', 'Expected p.tsv to hold a row of gates per layer, got an empty file.'],
    ['blank lines', '\n\n', 'Expected p.tsv to hold a row of gates per layer, got an empty file.'],
    ['a short row', '1\t2\n1\n', 'Expected line 2 of p.tsv to have 2 values as line 1, got `1`.'],
    ['a blank row in between', '1\n\n1\n', 'Expected value 1 in line 2 of p.tsv to be a finite number, got ``.'],
    ['nan', '1\tnan\n', 'Expected value 2 in line 1 of p.tsv to be a finite number, got `nan`.'],
    ['inf', '-inf\n', 'Expected value 1 in line 1 of p.tsv to be a finite number, got `-inf`.'],
    ['an overflow', '1e999\n', 'Expected value 1 in line 1 of p.tsv to be a finite number, got `1e999`.'],
    ['words', 'layer\thead\n', 'Expected value 1 in line 1 of p.tsv to be a finite number, got `layer`.'],
    ['hexadecimal', '0x10\n', 'Expected value 1 in line 1 of p.tsv to be a finite number, got `0x10`.'],
    ['too many rows', '1\n'.repeat(1025), 'Expected p.tsv to have at most 1024 rows, got `1025`.'],
    [
      'too many columns',
      `${'1\t'.repeat(4097)}\n`,
      'Expected line 1 of p.tsv to have at most 4096 values, got `4097`.',
    ],
  ])('refuse %s', (_, text, message) => {
    expect(() => parseTsv(text, 'p.tsv')).toThrow(new FormatError(message));
  });

  test('are clipped to 0..1 on use, with no negative zero', () => {
    const clipped = clipGates([[-0.0014, 1.5, 0.25, -0]]);
    expect(clipped).toEqual([[0, 1, 0.25, 0]]);
    expect(Object.is(clipped[0]?.[3], 0)).toBe(true);
  });
});

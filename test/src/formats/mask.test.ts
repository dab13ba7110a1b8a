import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ModelShape } from '../../../src/core/shapes.ts';
import { FormatError } from '../../../src/errors/errors.ts';
import {
  checkMask,
  checkMaskFits,
  formatMask,
  type MaskFile,
  readMask,
  toHeadMask,
  writeMask,
} from '../../../src/formats/mask.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-mask-'));

function makeMask(change: Record<string, unknown> = {}): MaskFile {
  return {
    schema: 'duo.head-mask',
    version: 1,
    model: { architecture: 'qwen3', layers: 2, heads: 4, kvHeads: 2, headDim: 16, fingerprint: 'sha256:aa' },
    sink: 0,
    recent: 1,
    streamingFraction: 0.5,
    threshold: null,
    mask: [
      [1, 0],
      [0, 1],
    ],
    gates: [
      [0.93, 0.01],
      [0, 1],
    ],
    provenance: { tool: 'duo', seed: 42 },
    ...change,
  } as MaskFile;
}

const shape: ModelShape = {
  architecture: 'qwen3',
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  hidden: 64,
  intermediate: 128,
  vocab: 100,
  maxPositions: 128,
};

describe('mask.json', () => {
  test('write then read is identity', () => {
    const path = join(folder, 'mask.json');
    writeMask(path, makeMask());
    expect(readMask(path)).toEqual(makeMask());
    expect(formatMask(readMask(path))).toBe(formatMask(makeMask()));
  });

  test('keys stand in the documented order', () => {
    expect(Object.keys(JSON.parse(formatMask(makeMask())))).toEqual(
      'schema version model sink recent streamingFraction threshold mask gates provenance'.split(' '),
    );
  });

  test('gives engines labels and window', () => {
    expect(toHeadMask(makeMask({ sink: 4, recent: 32 }))).toEqual({
      sinkTokens: 4,
      windows: [
        [null, 32],
        [32, null],
      ],
    });
  });

  test.each([
    ['gates.json', { schema: 'duo.gates' }, 'Expected `schema` in m.json to be `duo.head-mask`, got `duo.gates`.'],
    [
      'a label of 2',
      {
        mask: [
          [1, 0],
          [2, 1],
        ],
      },
      'Expected `mask[1][0]` in m.json to be 0 or 1, got `2`.',
    ],
    [
      'a label of true',
      {
        mask: [
          [true, 0],
          [0, 1],
        ],
      },
      'Expected `mask[0][0]` in m.json to be 0 or 1, got `true`.',
    ],
    [
      'a ragged mask',
      { mask: [[1], [0, 1]] },
      'Expected `mask[0]` in m.json to have 2 values, one per KV head, got `1`.',
    ],
    ['ragged gates', { gates: [[1, 0]] }, 'Expected `gates` in m.json to have 2 rows, one per layer, got `1`.'],
    ['a negative sink', { sink: -1 }, 'Expected `sink` in m.json to be an integer from 0 to 2147483647, got `-1`.'],
    ['recent 0', { recent: 0 }, 'Expected `recent` in m.json to be an integer from 1 to 2147483647, got `0`.'],
    [
      'fraction 1.2',
      { streamingFraction: 1.2 },
      'Expected `streamingFraction` in m.json to be a number from 0 to 1 or null, got `1.2`.',
    ],
    [
      'both cuts',
      { threshold: 0.5 },
      'Expected `threshold` in m.json to be null where `streamingFraction` is given, got `0.5`.',
    ],
    ['no gates', { gates: undefined }, 'Expected `gates` in m.json to be an array, got `undefined`.'],
  ])('refuses %s', (_, change, message) => {
    expect(() => checkMask(makeMask(change), 'm.json')).toThrow(new FormatError(message));
  });
});

describe('checkMaskFits', () => {
  const fits = (mask: MaskFile, fingerprint: string | null, allowOther = false) =>
    checkMaskFits(mask, { shape, fingerprint }, { path: 'm.json', allowOther });

  test('accepts its model, and shapes alone where a fingerprint is unknown', () => {
    expect(() => fits(makeMask(), 'sha256:aa')).not.toThrow();
    expect(() => fits(makeMask(), null)).not.toThrow();
    expect(() => fits(makeMask({ model: { ...makeMask().model, fingerprint: null } }), 'sha256:bb')).not.toThrow();
  });

  test('accepts the older kind of fingerprint beside the newer one', () => {
    const model = { shape, fingerprint: 'sha256:bb', olderFingerprint: 'sha256:aa' };
    expect(() => checkMaskFits(makeMask(), model, { path: 'm.json' })).not.toThrow();
    const other = { ...model, olderFingerprint: 'sha256:cc' };
    expect(() => checkMaskFits(makeMask(), other, { path: 'm.json' })).toThrow(/sha256:bb/);
  });

  test('refuses another fingerprint unless that is allowed', () => {
    expect(() => fits(makeMask(), 'sha256:bb')).toThrow(/`sha256:bb`, got `sha256:aa`; pass --allow-other-model/);
    expect(() => fits(makeMask(), 'sha256:bb', true)).not.toThrow();
  });

  test('refuses another shape even where another model is allowed', () => {
    const other = makeMask({ model: { ...makeMask().model, headDim: 32 } });
    expect(() => fits(other, 'sha256:aa', true)).toThrow(
      /`model\.headDim` in m\.json to be the model's `16`, got `32`/,
    );
  });
});

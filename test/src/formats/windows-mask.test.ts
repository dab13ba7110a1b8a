// mask.json version 2, a window per head: read back as written, taken by engines, and each way it can be malformed.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../../src/errors/errors.ts';
import { checkMask, formatMask, readMask, toHeadMask, windowOfMask, writeMask } from '../../../src/formats/mask.ts';
import { findBudget } from '../../../src/formats/mask-budget.ts';
import { hashMask } from '../../../src/formats/mask-hash.ts';
import { makeWindowsMask } from './windows-mask-fixture.ts';

describe('mask.json version 2', () => {
  it('is read back as written, a row per line, keys in the documented order', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'duo-windows-')), 'mask.json');
    writeMask(path, makeWindowsMask());
    expect(readMask(path)).toEqual(makeWindowsMask());
    const text = formatMask(readMask(path));
    expect(text).toContain('    [null, 8, 8],\n    [32, 8, null]\n');
    expect(Object.keys(JSON.parse(text))).toEqual(
      'schema version model sink windows ladder kvShare atTokens predictedLoss lossBound gates provenance'.split(' '),
    );
  });

  it('gives engines its windows, baselines the narrowest of the ladder, results a name', () => {
    const { windows } = makeWindowsMask();
    expect(toHeadMask(makeWindowsMask())).toEqual({ sinkTokens: 4, windows });
    expect(windowOfMask(makeWindowsMask())).toEqual({ sinkTokens: 4, recentTokens: 8 });
    expect(hashMask(toHeadMask(makeWindowsMask()))).toBe(
      hashMask({ sinkTokens: 4, windows: windows.map((row) => [...row]) }),
    );
  });

  it('tells its budget, and null where it has none', () => {
    const budget = { kvShare: 0.5, atTokens: 1000, predictedLoss: 0.125, lossBound: 0.1 };
    expect(findBudget(makeWindowsMask())).toEqual(budget);
    const without = { kvShare: null, atTokens: null, predictedLoss: null, lossBound: null };
    expect(findBudget(checkMask(makeWindowsMask(without), 'm.json'))).toBeNull();
  });

  it('tells the budget of a version 1 mask from its provenance, whatever else may stand there', () => {
    const { windows: _, ladder, kvShare, atTokens, predictedLoss, lossBound, ...rest } = makeWindowsMask();
    const mask = [
      [1, 0, 0],
      [0, 0, 1],
    ];
    const one = { ...rest, version: 1, recent: 8, streamingFraction: null, threshold: null, mask };
    const withBudget = (budget: unknown) =>
      findBudget(checkMask({ ...one, provenance: { budget } as Record<string, unknown> }, 'm.json'));
    const budget = { kvShare, atTokens, predictedLoss, lossBound };
    expect(withBudget(budget)).toEqual(budget);
    expect(withBudget({ kvShare, atTokens, predictedLoss: 'little' })).toEqual({
      kvShare,
      atTokens,
      predictedLoss: null,
      lossBound: null,
    });
    for (const other of [null, 3, [1], { kvShare }]) expect(withBudget(other)).toBeNull();
  });

  it.each([
    [{ version: 3 }, 'Expected `version` in m.json to be `1` or `2`, got `3`; a newer duo may read it.'],
    [{ sink: -1 }, 'Expected `sink` in m.json to be an integer from 0 to 2147483647, got `-1`.'],
    [{ windows: [[null, 8, 8]] }, 'Expected `windows` in m.json to have 2 rows, one per layer, got `1`.'],
    [{ windows: [[null, 8, 8], [8]] }, 'Expected `windows[1]` in m.json to have 3 values, one per KV head, got `1`.'],
    [
      {
        windows: [
          [null, 8, 0],
          [8, 8, 8],
        ],
      },
      'Expected `windows[0][2]` in m.json to be an integer from 1 to 2147483647 or null, got `0`.',
    ],
    [
      {
        windows: [
          [null, 8, 8],
          [8, 9, 8],
        ],
      },
      "Expected `windows[1][1]` in m.json to be null or one of the ladder's 8, 16, 32, got `9`.",
    ],
    [{ ladder: [8, 32, 16] }, 'Expected `ladder` in m.json to ascend, got `16` at `[2]` after `32`.'],
    [{ kvShare: 1.5 }, 'Expected `kvShare` in m.json to be a number from 0 to 1 or null, got `1.5`.'],
    [
      { atTokens: null },
      'Expected `kvShare` and `atTokens` in m.json to be both numbers or both null, got `0.5` and `null`.',
    ],
    [{ predictedLoss: Number.NaN }, 'Expected `predictedLoss` in m.json to be a finite number or null, got `NaN`.'],
    [{ gates: [[1, 0, 0.25]] }, 'Expected `gates` in m.json to have 2 rows, one per layer, got `1`.'],
    [{ recent: 8 }, "Expected no key `recent` in m.json; remove it, or check the file's version."],
  ])('refuses %j', (change, message) => {
    expect(() => checkMask(makeWindowsMask(change), 'm.json')).toThrow(new FormatError(message));
  });
});

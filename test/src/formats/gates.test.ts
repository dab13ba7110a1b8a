import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FileError, FormatError } from '../../../src/errors/errors.ts';
import {
  checkGates,
  findWindow,
  formatGates,
  type GatesFile,
  readGates,
  writeGates,
} from '../../../src/formats/gates.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-gates-'));

function makeGates(change: Record<string, unknown> = {}): GatesFile {
  return {
    schema: 'duo.gates',
    version: 1,
    model: { architecture: 'llama', layers: 2, heads: 6, kvHeads: 3, headDim: 32, fingerprint: null },
    gates: [
      [1, 0, Math.fround(0.1)],
      [0.5, 1e-9, 0.25],
    ],
    provenance: { tool: 'duo 0.1.0', method: 'gates', sink: 4, recent: 32, config: { lr: 0.02 }, samples: 'sha256:00' },
    ...change,
  } as GatesFile;
}

describe('gates.json', () => {
  test('write then read is identity, and equal values give equal bytes', () => {
    const path = join(folder, 'a.json');
    writeGates(path, makeGates());
    expect(readGates(path)).toEqual(makeGates());
    expect(readFileSync(path, 'utf8')).toBe(formatGates(makeGates()));
  });

  test('a row of gates stands on one line', () => {
    expect(formatGates(makeGates())).toContain('    [0.5, 1e-9, 0.25]\n');
  });

  test.each([
    [
      'another schema',
      { schema: 'duo.head-mask' },
      'Expected `schema` in g.json to be `duo.gates`, got `duo.head-mask`.',
    ],
    ['no schema', { schema: undefined }, 'Expected `schema` in g.json to be `duo.gates`, got `undefined`.'],
    ['a version of the future', { version: 2 }, 'Expected `version` in g.json to be `1`, got `2`.'],
    [
      'a gate above 1',
      {
        gates: [
          [1, 0, 0],
          [0, 1.2, 0],
        ],
      },
      'Expected `gates[1][1]` in g.json to be a number from 0 to 1, got `1.2`.',
    ],
    [
      'a negative gate',
      {
        gates: [
          [1, 0, -0.1],
          [0, 1, 0],
        ],
      },
      'Expected `gates[0][2]` in g.json to be a number from 0 to 1, got `-0.1`.',
    ],
    [
      'NaN',
      {
        gates: [
          [Number.NaN, 0, 0],
          [0, 1, 0],
        ],
      },
      'Expected `gates[0][0]` in g.json to be a number from 0 to 1, got `NaN`.',
    ],
    [
      'null',
      {
        gates: [
          [null, 0, 0],
          [0, 1, 0],
        ],
      },
      'Expected `gates[0][0]` in g.json to be a number from 0 to 1, got `null`.',
    ],
    [
      'a short row',
      {
        gates: [
          [1, 0, 0],
          [0, 1],
        ],
      },
      'Expected `gates[1]` in g.json to have 3 values, one per KV head, got `2`.',
    ],
    [
      'a row too many',
      {
        gates: [
          [1, 0, 0],
          [0, 1, 0],
          [0, 0, 0],
        ],
      },
      'Expected `gates` in g.json to have 2 rows, one per layer, got `3`.',
    ],
    ['rows that are no array', { gates: 'many' }, 'Expected `gates` in g.json to be an array, got `"many"`.'],
    ['an unknown key', { extra: 1 }, "Expected no key `extra` in g.json; remove it, or check the file's version."],
    [
      'an unknown architecture',
      { model: { ...makeGates().model, architecture: 'gpt2' } },
      'Expected `model.architecture` in g.json to be one of llama, mistral, qwen2, qwen3, got `"gpt2"`.',
    ],
    [
      'a huge layer count',
      { model: { ...makeGates().model, layers: 1e12 } },
      'Expected `model.layers` in g.json to be an integer from 1 to 1024, got `1000000000000`.',
    ],
    [
      'KV heads that do not divide the heads',
      { model: { ...makeGates().model, heads: 4 } },
      'Expected `model.kvHeads` in g.json to divide the 4 heads, got `3`.',
    ],
    [
      'provenance that is a list',
      { provenance: [] },
      'Expected `provenance` in g.json to be an object of JSON values, got `[]`.',
    ],
  ])('refuses %s', (_, change, message) => {
    expect(() => checkGates(makeGates(change), 'g.json')).toThrow(new FormatError(message));
  });

  test('refuses what is no JSON, an absent file, and writing a value that could not be read back', () => {
    const path = join(folder, 'b.json');
    writeFileSync(path, '{"schema": }');
    expect(() => readGates(path)).toThrow(/^Expected .*b\.json to hold JSON: /);
    writeFileSync(path, '{"schema":\n NaN}');
    expect(() => readGates(path)).toThrow(
      /b\.json to hold JSON, got `NaN` in line 2, which Python writes and JSON has not; put a number or null there\.$/,
    );
    expect(() => readGates(join(folder, 'absent.json'))).toThrow(FileError);
    expect(() =>
      writeGates(
        join(folder, 'c.json'),
        makeGates({
          gates: [
            [2, 0, 0],
            [0, 0, 0],
          ],
        }),
      ),
    ).toThrow(FormatError);
    expect(() => readGates(join(folder, 'c.json'))).toThrow(FileError);
  });

  test('tells the window its provenance holds, and null where there is none', () => {
    expect(findWindow(makeGates())).toEqual({ sinkTokens: 4, recentTokens: 32 });
    expect(findWindow(makeGates({ provenance: {} }))).toBeNull();
    expect(findWindow(makeGates({ provenance: { sink: 4, recent: 0 } }))).toBeNull();
  });
});

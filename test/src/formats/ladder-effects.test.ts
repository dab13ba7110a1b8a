// The optional ladder of gates.json: read back as written, made from a matrix, and each way it can be malformed.
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../../src/errors/errors.ts';
import {
  checkGates,
  formatGates,
  type GatesFile,
  type LadderEffects,
  makeLadderEffects,
} from '../../../src/formats/gates.ts';

const ladder: LadderEffects = {
  sink: 4,
  windows: [8, 32],
  tokens: 500,
  effects: [[3], [1, 1.5], [-0.25, 0, 2], [0, 0.125, 0.5, 1e-9]],
};

function makeFile(change: Record<string, unknown> = {}): GatesFile {
  return {
    schema: 'duo.gates',
    version: 1,
    model: { architecture: 'llama', layers: 1, heads: 2, kvHeads: 2, headDim: 8, fingerprint: null },
    gates: [[1, 0]],
    ladder: { ...ladder, ...change },
    provenance: { tool: 'test' },
  };
}

describe('the ladder of gates.json', () => {
  it('is read back as written', () => {
    expect(checkGates(JSON.parse(formatGates(makeFile())), 'g.json')).toEqual(makeFile());
  });

  it('may say a rule, and has none where it says nothing', () => {
    const ruled = makeFile({ rule: { name: 'proportional', namedAt: 512 } });
    expect(checkGates(JSON.parse(formatGates(ruled)), 'g.json')).toEqual(ruled);
    expect(checkGates(makeFile(), 'g.json').ladder).not.toHaveProperty('rule');
  });

  it('may be absent', () => {
    const { ladder: _, ...rest } = makeFile();
    expect(formatGates(rest)).not.toContain('ladder');
  });

  it('is made from a matrix with five significant digits and the mean of both halves', () => {
    const made = makeLadderEffects({ sink: 0, windows: [16], tokens: 90, matrix: [1.234567, 0.2, 0.4, -0] });
    expect(made).toEqual({ sink: 0, windows: [16], tokens: 90, effects: [[1.2346], [0.3, 0]] });
    expect(JSON.parse(JSON.stringify(made))).toEqual(made);
  });

  it('keeps rows of a thousand numbers', () => {
    const layers = 320;
    const effects = Array.from({ length: 4 * layers }, (_, row) => new Array<number>(row + 1).fill(0.1234));
    const file: GatesFile = {
      ...makeFile({ windows: [1, 2, 3, 4], effects }),
      model: { ...makeFile().model, layers, heads: 1, kvHeads: 1 },
      gates: new Array(layers).fill([0.5]),
    };
    const text = formatGates(file);
    // a row per line: the widest has 1280 numbers
    expect(text.split('\n').length).toBeLessThan(4000);
    expect(checkGates(JSON.parse(text), 'g.json')).toEqual(file);
  });

  it.each([
    [{ sink: -1 }, 'Expected `ladder.sink` in g.json to be an integer from 0 to 2147483647, got `-1`.'],
    [{ windows: [8, 0] }, 'Expected `ladder.windows[1]` in g.json to be an integer from 1 to 2147483647, got `0`.'],
    [{ windows: [32, 32] }, 'Expected `ladder.windows` in g.json to ascend, got `32` at `[1]` after `32`.'],
    [{ rule: 'proportional' }, 'Expected `ladder.rule` in g.json to be an object, got `"proportional"`.'],
    [
      { rule: { name: 'square', namedAt: 8 } },
      'Expected `ladder.rule.name` in g.json to be `proportional`, got `"square"`.',
    ],
    [
      { rule: { name: 'proportional', namedAt: 0 } },
      'Expected `ladder.rule.namedAt` in g.json to be an integer from 1 to 2147483647, got `0`.',
    ],
    [{ tokens: 0 }, 'Expected `ladder.tokens` in g.json to be an integer from 1 to 2147483647, got `0`.'],
    [{ effects: 'many' }, 'Expected `ladder.effects` in g.json to be an array of rows, got `"many"`.'],
    [
      { effects: ladder.effects.slice(0, 3) },
      'Expected `ladder.effects` in g.json to have 4 rows, 2 heads × 2 windows, got `3`.',
    ],
    [
      { effects: [[3], [1, 1.5], [0, 0], [0, 0, 0, 0]] },
      'Expected `ladder.effects[2]` in g.json to have 3 values, its part of the lower triangle, got `2`.',
    ],
    [
      { effects: [[3], [1, Number.NaN], [0, 0, 0], [0, 0, 0, 0]] },
      'Expected `ladder.effects[1][1]` in g.json to be a number within ±1e+100, got `NaN`.',
    ],
    [
      { effects: [[3], [1, '1'], [0, 0, 0], [0, 0, 0, 0]] },
      'Expected `ladder.effects[1][1]` in g.json to be a number within ±1e+100, got `"1"`.',
    ],
    [
      { effects: [[3], [1, 1.5], [0, 1e101, 0], [0, 0, 0, 0]] },
      'Expected `ladder.effects[2][1]` in g.json to be a number within ±1e+100, got `1e+101`.',
    ],
    [{ extra: 1 }, "Expected no key `ladder.extra` in g.json; remove it, or check the file's version."],
  ])('refuses %j', (change, message) => {
    expect(() => checkGates(makeFile(change), 'g.json')).toThrow(new FormatError(message));
  });

  it('refuses more options than a file may hold', () => {
    const file = makeFile();
    const wide = { ...file, model: { ...file.model, layers: 1024, kvHeads: 4, heads: 4 } };
    const gates = new Array(1024).fill([0, 0, 0, 0]);
    expect(() => checkGates({ ...wide, gates }, 'g.json')).toThrow(
      new FormatError('Expected `ladder` in g.json to have at most 4096 options, got `4096` heads × `2` windows.'),
    );
  });
});

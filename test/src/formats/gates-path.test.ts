// The optional λ path of gates.json: read back as written, and each way it can be malformed.
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../../src/errors/errors.ts';
import { checkGates, formatGates, type GatesFile } from '../../../src/formats/gates.ts';

const file: GatesFile = {
  schema: 'duo.gates',
  version: 1,
  model: { architecture: 'llama', layers: 1, heads: 2, kvHeads: 2, headDim: 8, fingerprint: null },
  gates: [[1, 0]],
  path: {
    lambdas: [0.1, 0.2],
    gates: [[[1, 0.5]], [[1, 0]]],
  },
  provenance: { tool: 'test' },
};

describe('the path of gates.json', () => {
  it('is read back as written', () => {
    expect(checkGates(JSON.parse(formatGates(file)), 'g.json')).toEqual(file);
  });

  it('is read back with its ranking', () => {
    const ranked = { ...file, path: { ...file.path!, ranking: [[0.5, 0]] } };
    expect(checkGates(JSON.parse(formatGates(ranked)), 'g.json')).toEqual(ranked);
  });

  it('may be absent', () => {
    const { path: _, ...rest } = file;
    expect(formatGates(rest)).not.toContain('path');
  });

  it.each([
    [{ lambdas: [0.1], gates: file.path!.gates }, 'Expected `path.gates` in g.json to have 1 grids, one a λ, got `2`.'],
    [
      { lambdas: [0.2, 0.2], gates: file.path!.gates },
      'Expected `path.lambdas` in g.json to ascend, got `0.2` at `lambdas[1]` after `0.2`.',
    ],
    [
      { lambdas: [0.1, 0.2], gates: [[[1, 0]], [[1]]] },
      'Expected `path.gates[1][0]` in g.json to have 2 values, one per KV head, got `1`.',
    ],
    [{ lambdas: [0, 0.2], gates: file.path!.gates }, 'a finite number above 0'],
    [
      { ...file.path!, ranking: [[0, 0.5], [1]] },
      'Expected `path.ranking` in g.json to have 1 rows, one per layer, got `2`.',
    ],
    [
      { ...file.path!, ranking: [[0]] },
      'Expected `path.ranking[0]` in g.json to have 2 values, one per KV head, got `1`.',
    ],
  ])('is refused where it is %o', (path, message) => {
    expect(() => checkGates({ ...file, path }, 'g.json')).toThrow(FormatError);
    expect(() => checkGates({ ...file, path }, 'g.json')).toThrow(message);
  });
});

// Parses duo.h and compares it with its mirror: codes, struct fields and function signatures must be the same, in number and in kind.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as abi from '../../../src/native/abi.ts';

const header = readFileSync(new URL('../../../kernels/include/duo.h', import.meta.url), 'utf8');
const code = header.replace(/\/\*[\s\S]*?\*\//g, ' ');

function readCodes(prefix: string): Record<string, number> {
  const matches = code.matchAll(new RegExp(`^#define DUO_${prefix}_(\\w+) (-?\\d+)\\s*$`, 'gm'));
  return Object.fromEntries([...matches].map(([, name, value]) => [name, Number(value)]));
}

/** `const int32_t *tokens` → ['const int32_t *', 'tokens'] */
function splitParameter(text: string): [string, string] {
  const [, type, name] = /^(.*?)(\w+)$/.exec(text.trim().replace(/\s+/g, ' ')) as unknown as [string, string, string];
  return [type.trim(), name];
}

function readFunctions(): Record<string, abi.FunctionMirror> {
  const matches = code.matchAll(/DUO_API\s+([\w ]+?[\s*]+)(duo_\w+)\(([^)]*)\);/g);
  return Object.fromEntries(
    [...matches].map(([, result, name, parameters]) => {
      const list =
        (parameters as string).trim() === 'void' ? [] : (parameters as string).split(',').map(splitParameter);
      return [name, { result: (result as string).trim(), parameters: list }];
    }),
  );
}

describe('abi', () => {
  it.each([
    ['STATUS', abi.STATUS],
    ['DTYPE', abi.DTYPE],
    ['ROPE', abi.ROPE],
    ['KV_ROTATION', abi.KV_ROTATION],
    ['COMPUTE', abi.COMPUTE],
    ['DISTILL', abi.DISTILL],
    ['KL', abi.KL],
    ['WEIGHTS', abi.WEIGHTS],
    ['PASS', abi.PASS],
    ['PREFILL', abi.PREFILL],
    ['MEASURE', abi.MEASURE],
  ])('codes of DUO_%s_', (prefix, mirror) => {
    expect(readCodes(prefix)).toEqual(mirror);
  });

  it('every group of codes is mirrored', () => {
    const groups = [...code.matchAll(/^#define DUO_([A-Z]+)_\w+ -?\d+\s*$/gm)].map(([, group]) => group);
    expect([...new Set(groups)].sort()).toEqual([
      'ABI',
      'COMPUTE',
      'DISTILL',
      'DTYPE',
      'KL',
      'KV',
      'MEASURE',
      'PASS',
      'PREFILL',
      'ROPE',
      'STATUS',
      'WEIGHTS',
    ]);
    expect(readCodes('ABI')).toEqual({ VERSION: abi.ABI_VERSION });
  });

  it('fields of duo_model_config_t, in order', () => {
    const [, body] = /struct duo_model_config \{([\s\S]*?)\}/.exec(code) as unknown as [string, string];
    const fields = body
      .split(';')
      .map((line) => line.trim())
      .filter(Boolean)
      .map((line) => line.split(/\s+/).reverse());
    expect(fields).toEqual(Object.entries(abi.MODEL_CONFIG_FIELDS));
  });

  it('functions, in order', () => {
    const functions = readFunctions();
    expect(Object.keys(functions).length).toBeGreaterThan(30);
    expect(Object.keys(functions)).toEqual(Object.keys(abi.FUNCTIONS));
    expect(functions).toEqual(abi.FUNCTIONS);
  });

  it('only sized integers, float, double, pointers and handles cross', () => {
    for (const { result, parameters } of Object.values(readFunctions())) {
      for (const type of [result, ...parameters.map(([type]) => type)]) {
        expect(type).toMatch(/^(const )?(u?int(8|32|64)_t|float|double|char|duo_\w+_t)( \*(const )?\*?)?$/);
      }
    }
  });
});

import { copyFileSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { importPattern, PATTERN_CONFIG, PATTERN_FILE } from '../../export/import.ts';
import { formatTsv, readTsv } from '../../export/tsv.ts';
import { FileError, FormatError } from '../../src/errors/errors.ts';
import { checkGates } from '../../src/formats/gates.ts';
import { makeModel } from './gates-fixture.ts';

const FIXTURE = 'test/golden/pattern-fixture';
const provenance = { tool: 'test' };

describe('importPattern', () => {
  test('reads a folder of the reference: gates clipped, window from config.json', () => {
    const model = makeModel(6, 4);
    const { gates, window, clipped } = importPattern({ folder: FIXTURE, model, fingerprint: null, provenance });
    expect(checkGates(gates, 'gates.json')).toEqual(gates);
    expect(gates.gates[0]).toEqual([0.7421875, 0.94140625, 0.921875, 1]);
    expect(gates.gates[1]).toEqual([0, 0.6484375, 0.11328125, 0]);
    expect(clipped).toBe(1);
    expect(window).toEqual({ sinkTokens: 16, recentTokens: 64 });
    expect(gates.model.fingerprint).toBeNull();
    expect(gates.provenance).toEqual({ tool: 'test', method: 'import', sink: 16, recent: 64 });
  });

  test('the text of the file is what our writer writes', () => {
    const path = join(FIXTURE, PATTERN_FILE);
    expect(formatTsv(readTsv(path))).toBe(readFileSync(path, 'utf8'));
  });

  test.each([
    [5, 4],
    [6, 8],
    [4, 6],
  ])('a model of %i × %i is refused, both shapes named', (layers, kvHeads) => {
    const model = makeModel(layers, kvHeads);
    expect(() => importPattern({ folder: FIXTURE, model, fingerprint: null, provenance })).toThrow(
      new FormatError(
        `Expected ${join(FIXTURE, PATTERN_FILE)} to have the model's ${layers} layers × ${kvHeads} KV heads, got \`6 × 4\`; the pattern belongs to another model.`,
      ),
    );
  });

  const withConfig = (config: string): (() => unknown) => {
    const folder = mkdtempSync(join(tmpdir(), 'duo-import-'));
    copyFileSync(join(FIXTURE, PATTERN_FILE), join(folder, PATTERN_FILE));
    writeFileSync(join(folder, PATTERN_CONFIG), config);
    return () => importPattern({ folder, model: makeModel(6, 4), fingerprint: null, provenance });
  };

  test.each([
    ['{"recent_size": 64}', /Expected `sink_size` in .*config\.json to be an integer from 0 to \d+, got `undefined`/],
    [
      '{"sink_size": 16, "recent_size": 0}',
      /Expected `recent_size` in .*config\.json to be an integer from 1 to \d+, got `0`/,
    ],
    ['{"sink_size": "16", "recent_size": 64}', /Expected `sink_size` in .*, got `"16"`/],
    ['[]', /to be an object, got `\[\]`/],
    ['{', /to hold JSON/],
  ])('config.json %s is refused', (config, message) => {
    expect(withConfig(config)).toThrow(message);
  });

  test('an absent folder is a file error', () => {
    expect(() => importPattern({ folder: 'absent', model: makeModel(6, 4), fingerprint: null, provenance })).toThrow(
      FileError,
    );
  });
});

import { mkdtempSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FileError } from '../../../src/errors/errors.ts';
import { formatFound, isJsonValue, readJson, readTextWithin } from '../../../src/formats/read-json.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-json-'));

test('a file above the limit is refused by its size, before it is loaded', () => {
  const path = join(folder, 'huge.json');
  writeFileSync(path, '');
  // A sparse file: reading it whole would fail on the longest string of the engine.
  truncateSync(path, 2 ** 33);
  expect(() => readTextWithin(path, 100)).toThrow(`Expected ${path} to be at most 100 bytes, got \`${2 ** 33}\`.`);
});

test('a folder and an absent file are file errors', () => {
  expect(() => readJson(folder, 2 ** 30)).toThrow(FileError);
  expect(() => readJson(join(folder, 'absent'), 100)).toThrow(FileError);
});

test('JSON values are those that come back as they went', () => {
  expect([null, 1, 'a', true, [1, [2]], { a: { b: [] } }].every(isJsonValue)).toBe(true);
  for (const value of [
    undefined,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    () => 1,
    new Date(),
    [undefined],
    { a: new Map() },
  ]) {
    expect(isJsonValue(value)).toBe(false);
  }
});

test('found values are cut to fit a sentence', () => {
  expect(formatFound('x'.repeat(1000))).toHaveLength(58);
  expect(formatFound(Number.NaN)).toBe('NaN');
  expect(formatFound(undefined)).toBe('undefined');
});

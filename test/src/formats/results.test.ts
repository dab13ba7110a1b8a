// results.json: write then read is identity; malformed files are refused by file and field; CSV.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { type EvalRow, formatRowsCsv, readResults, writeResults } from '../../../src/formats/results.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-results-'));
afterAll(() => rmSync(folder, { recursive: true }));

const row: EvalRow = {
  task: 'samples',
  mask: 'random-0',
  length: null,
  depth: null,
  samples: 4,
  measure: 'teacher-forced',
  accuracy: 0.5,
  accuracyInterval: [0.15, 0.85],
  logProb: -1.25,
  logProbInterval: [-2, -0.5],
  answerTokens: 20,
  streamingFraction: 0.75,
  kvBytes: 1024,
  fullKvBytes: 4096,
  kvDtype: 'bf16',
  footprint: 0.3,
  peakFootprint: 0.4,
  prefill: 'exact',
  seconds: 1.5,
};

it('writes and reads back the same rows and fields', () => {
  const path = join(folder, 'results.json');
  writeResults(path, [row, { ...row, mask: 'full', note: 'kept' }], { seed: 7 });
  const results = readResults(path);
  expect(results.rows).toEqual([row, { ...row, mask: 'full', note: 'kept' }]);
  expect(results.seed).toBe(7);
});

it('refuses what is not a results file, by file and place', () => {
  const path = join(folder, 'bad.json');
  const read = (text: string) => () => {
    writeFileSync(path, text);
    return readResults(path);
  };
  expect(read('{"schema": "duo.results", "version": 1, "rows": [')).toThrow(`Expected ${path} to hold JSON`);
  const wrong = JSON.stringify({ schema: 'duo.results', version: 1, rows: [{ ...row, accuracy: 1.2 }] });
  expect(read(wrong)).toThrow(`Expected \`rows[0].accuracy\` in ${path} to be a number from 0 to 1, got \`1.2\`.`);
  expect(read('{"schema": "duo.gates", "version": 1}')).toThrow(`Expected \`schema\` in ${path} to be \`duo.results\``);
  expect(() => readResults(join(folder, 'absent.json'))).toThrow(/Cannot read .*absent\.json/);
});

it('formats CSV with two columns per interval and quotes where needed', () => {
  const csv = formatRowsCsv([{ ...row, mask: 'a "b", c', logProbInterval: null }]);
  const [header, line] = csv.split('\n');
  expect(header).toContain('accuracy,accuracyIntervalLow,accuracyIntervalHigh,logProb');
  expect(line).toBe(
    'samples,"a ""b"", c",,,4,teacher-forced,0.5,0.15,0.85,-1.25,,,20,0.75,1024,4096,bf16,,0.3,0.4,exact,1.5,,,,,,,,',
  );
  expect(csv.endsWith('\n')).toBe(true);
});

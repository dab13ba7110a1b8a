import { appendFileSync, existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FileError, FormatError } from '../../../src/errors/errors.ts';
import { type MetricsLine, openMetrics, readMetrics, roundGates } from '../../../src/formats/metrics.ts';

let count = 0;
const folder = mkdtempSync(join(tmpdir(), 'duo-metrics-'));
const newPath = (): string => join(folder, `${count++}.jsonl`);

function makeLine(step: number): MetricsLine {
  const gates = step % 2 === 0 ? { gates: [[0.5, 1]] } : {};
  return {
    step,
    loss: 0.03,
    distillation: 0.02,
    penalty: 0.01,
    lr: 0.002,
    length: 64,
    gateMean: 0.75,
    undecided: 0.5,
    ...gates,
    seconds: 0.1,
  };
}

function writeLines(path: string, steps: number): void {
  const metrics = openMetrics(path, 0);
  for (let step = 0; step < steps; step++) metrics.append(makeLine(step));
  metrics.sync();
  metrics.close();
}

describe('metrics.jsonl', () => {
  test('append then read is identity, with and without gates', () => {
    const path = newPath();
    writeLines(path, 3);
    expect(readMetrics(path)).toEqual([0, 1, 2].map(makeLine));
  });

  test('is cut back to the steps of the checkpoint, then goes on', () => {
    const path = newPath();
    writeLines(path, 5);
    const metrics = openMetrics(path, 2);
    metrics.append(makeLine(2));
    metrics.close();
    expect(readMetrics(path).map(({ step }) => step)).toEqual([0, 1, 2]);
  });

  test('a torn last line is dropped on reading and cut off on resuming', () => {
    const path = newPath();
    writeLines(path, 2);
    const whole = readFileSync(path, 'utf8');
    appendFileSync(path, '{"step":2,"los');
    expect(readMetrics(path)).toHaveLength(2);
    openMetrics(path, 2).close();
    expect(readFileSync(path, 'utf8')).toBe(whole);
  });

  test('a torn line among the steps of the checkpoint is no step', () => {
    const path = newPath();
    writeLines(path, 2);
    writeFileSync(path, readFileSync(path, 'utf8').trimEnd());
    expect(() => openMetrics(path, 2)).toThrow(
      new FormatError(`Expected ${path} to hold the 2 steps of its checkpoint, got \`1\`; run again with --overwrite.`),
    );
  });

  test('step 0 starts afresh whatever the file holds', () => {
    const path = newPath();
    writeFileSync(path, 'not metrics\n');
    openMetrics(path, 0).close();
    expect(readFileSync(path, 'utf8')).toBe('');
  });

  test.each([
    ['no JSON', '{"step":', /^Expected line 2 of .* to hold JSON: /],
    ['a missing number', '{"step":1}', /^Expected `loss` in line 2 of .* to be a finite number, got `undefined`\.$/],
    ['an unknown key', JSON.stringify({ ...makeLine(1), host: 'x' }), /^Expected no key `host` in line 2 of /],
  ])('names the line of %s', (_, line, message) => {
    const path = newPath();
    writeFileSync(path, `${JSON.stringify(makeLine(0))}\n${line}\n`);
    expect(() => readMetrics(path)).toThrow(message);
  });

  test('refuses lines out of order', () => {
    const path = newPath();
    writeFileSync(path, `${JSON.stringify(makeLine(0))}\n${JSON.stringify(makeLine(5))}\n`);
    expect(() => openMetrics(path, 2)).toThrow(/^Expected `step` in line 2 of .* to be `1`, got `5`\.$/);
  });

  test('an absent file with a checkpoint, an unwritable one, a closed one', () => {
    expect(() => openMetrics(newPath(), 3)).toThrow(FileError);
    const nowhere = join(folder, 'absent', 'm.jsonl');
    expect(() => openMetrics(nowhere, 0)).toThrow(FileError);
    expect(existsSync(nowhere)).toBe(false);
    const metrics = openMetrics(newPath(), 0);
    metrics.close();
    metrics.close();
    expect(() => metrics.append(makeLine(0))).toThrow(/got a closed one/);
  });

  test('gates are kept to four decimals', () => {
    expect(roundGates([[0.123456, 1, Math.fround(0.1)]])).toEqual([[0.1235, 1, 0.1]]);
  });
});

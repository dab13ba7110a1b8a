// The methods' comparison in the report: what it draws and tells, what it leaves out, and which files it refuses.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { countKvBytes } from '../../../src/core/kv-cost.ts';
import { FormatError } from '../../../src/errors/errors.ts';
import { readComparison } from '../../../src/formats/comparison.ts';
import { buildReport } from '../../../src/report/report.ts';
import { readRunFolder } from '../../../src/report/run-data.ts';
import { writeRunFixture } from '../report/run-fixture.ts';

const RESULTS = join(import.meta.dirname, '../../../bench/results/2026-11-23-quadratic');

/** A run folder whose comparison.json had one text replaced. */
function writeChanged(from: string, to: string): string {
  const folder = writeRunFixture();
  const path = join(folder, 'comparison.json');
  const text = readFileSync(path, 'utf8');
  expect(text).toContain(from);
  writeFileSync(path, text.replace(from, to));
  return folder;
}

const build = (folder: string) => buildReport(readRunFolder(folder), { countKvBytes });

describe('methods compared', () => {
  it('tells recall at every budget, the loss against greedy removal, cost and stability', () => {
    const report = build(writeRunFixture());
    const named = (name: string): string[] =>
      (report.files.find((file) => file.name === name)?.text ?? '').trim().split('\n');
    expect(report.html).toContain('<section id="methods">');
    expect(report.html).toContain('0 streaming: gates 98.0 %; quadratic, finite, 1 rounds 97.0 %');
    const [, gates, quadratic, attention] = named('methods.csv');
    expect(gates).toBe('gates,5.5,240,0,0,0.875');
    expect(quadratic).toBe('"quadratic, finite, 1 rounds",1.25,28,0.004,0.03,0.875');
    expect(attention).toBe('attention-mass (tensorflow),1.25,,,,0.875');
    const [, loss] = named('methods-loss.csv').map((line) => line.split(','));
    expect(loss?.[1]).toBe('0.53');
    expect(Number(loss?.[2])).toBeCloseTo(0.02, 12);
    const recall = named('methods-recall.csv');
    expect(recall.slice(1).map((line) => line.split(',')[0])).toEqual(['0', '4', '8', '12', '16']);
    expect(named('methods-stability.csv')[1]).toBe('finite,1,4,0.979,0.938,0.006');
  });

  it('makes do without stability', () => {
    const folder = writeChanged('"stability"', '"other"');
    const names = build(folder).files.map(({ name }) => name);
    expect(names).toContain('methods.csv');
    expect(names).not.toContain('methods-stability.csv');
  });

  it('says what writes comparison.json where it is absent, and names no command that an installation lacks', () => {
    const folder = writeRunFixture();
    rmSync(join(folder, 'comparison.json'));
    const { missing, html } = build(folder);
    expect(missing.map(({ title }) => title)).toEqual(['Methods compared']);
    expect(missing[0]?.command).toBeNull();
    expect(missing[0]?.reason).toContain('scripts/compare-methods.ts');
    expect(html).not.toContain('id="methods"');
  });

  it('escapes the names of methods, in the page and in the figure', () => {
    const folder = writeChanged('attention-mass (tensorflow)', '<img src=x onerror=alert(1)>');
    const { html, files } = build(folder);
    expect(html).not.toContain('<img');
    for (const { name, text } of files) if (name.endsWith('.svg')) expect(text, name).not.toContain('<img');
  });

  it.each(['demo', 'tiny', 'large-path-of-last-round'])('reads what the script wrote of %s', (name) => {
    const folder = writeRunFixture({ files: ['metrics'] });
    cpSync(join(RESULTS, `${name}.json`), join(folder, 'comparison.json'));
    expect(build(folder).html).toContain('quadratic, tangent, 3 rounds');
  });
});

describe('comparison.json', () => {
  it.each([
    ['{"model"', '{"model', /comparison\.json to hold JSON/],
    ['"budgets":[0,', '"budgets":["0",', /`budgets\[0\]` in .*comparison\.json to be a finite number, got `"0"`/],
    ['"budgets":[0,4', '"budgets":[4,4', /`budgets\[1\]` in .*comparison\.json to be an integer from 5 to 16, got `4`/],
    ['"budgets":[0,4,', '"budgets":[0,', /`rows\[0\]\.recall` in .* to be 4 numbers, one per budget, got `5`/],
    ['"recall":[0.98', '"recall":[98', /`rows\[0\]\.recall\[0\]` in .* to be a number from 0 to 1, got `98`/],
    ['"quadratic, finite, 1 rounds"', '"gates"', /`rows\[1\]\.name` in .* to be a method not named before/],
    ['"greedy removal"', '"other"', /`rows` in .* to be rows with `greedy removal` among them/],
    ['"leastOverlap":0.938', '"leastOverlap":2', /`stability\[0\]\.leastOverlap` in .*comparison\.json/],
  ])('is refused with %s as %s', (from, to, message) => {
    const path = join(writeChanged(from, to), 'comparison.json');
    expect(() => readComparison(path)).toThrow(FormatError);
    expect(() => readComparison(path)).toThrow(message);
  });

  it("is refused where it is of another model than the run's", () => {
    const folder = writeChanged('"headDim":64', '"headDim":32');
    expect(() => readRunFolder(folder)).toThrow(FormatError);
    expect(() => readRunFolder(folder)).toThrow(
      /`shape\.headDim` in .*comparison\.json to be that of the run's model, `64`/,
    );
  });
});

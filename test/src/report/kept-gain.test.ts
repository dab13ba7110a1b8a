// Kept gain in the report: the closing figure and table, the curve over budgets with its intervals, the headline, what could not be measured.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { countKvBytes } from '../../../src/core/kv-cost.ts';
import { FormatError } from '../../../src/errors/errors.ts';
import { readMask, toHeadMask } from '../../../src/formats/mask.ts';
import { hashMask } from '../../../src/formats/mask-hash.ts';
import { type EvalRow, formatRowsCsv, writeResults } from '../../../src/formats/results.ts';
import { drawBudgetCurves } from '../../../src/report/figures/budget-curve.ts';
import { buildReport, type Report } from '../../../src/report/report.ts';
import { readRunFolder } from '../../../src/report/run-data.ts';
import { describeSummary } from '../../../src/report/summary.ts';
import { makeRow, writeRunFixture } from './run-fixture.ts';

/** A row of task long-range; its `accuracy` is the kept gain within 0 to 1, as the evaluation writes it. */
function makeGain(mask: string, keptGain: number | null, footprint: number): EvalRow {
  const clamp = (value: number): number => Math.min(1, Math.max(0, value));
  const interval: [number, number] | null = keptGain === null ? null : [keptGain - 0.05, keptGain + 0.02];
  return makeRow({
    task: 'long-range',
    mask,
    length: 8192,
    samples: 12,
    accuracy: clamp(keptGain ?? 0),
    accuracyInterval: [clamp((keptGain ?? 0) - 0.05), clamp((keptGain ?? 0) + 0.02)],
    logProbInterval: null,
    metric: 'kept-gain',
    keptGain,
    keptGainInterval: interval,
    loss: 2.5,
    fullLoss: 2.25,
    footprint,
    ...(keptGain === null ? { note: 'too little to measure: 2 texts' } : {}),
  });
}

const CUTS = [
  makeGain('full', 1, 1),
  makeGain('gates@0.5', 1.04, 0.6),
  makeGain('gates@0.75', 0.875, 0.4),
  makeGain('gates@0.9', -0.125, 0.25),
];

function writeRun(parts: { closing?: readonly EvalRow[] }): string {
  const folder = writeRunFixture({ files: ['run', 'gates', 'mask', 'metrics'] });
  const run = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')) as { results: Record<string, unknown> };
  if (parts.closing !== undefined) run.results.keptGain = parts.closing;
  writeFileSync(join(folder, 'run.json'), JSON.stringify(run));
  return folder;
}
const build = (folder: string): Report => buildReport(readRunFolder(folder), { countKvBytes });
const fileOf = (report: Report, name: string): string => report.files.find((file) => file.name === name)?.text ?? '';

describe('the curve over budgets', () => {
  const [figure] = drawBudgetCurves(CUTS);

  it('has each cut with its interval, also beyond 0 and 1', () => {
    expect(figure?.title).toBe('long-range, 8K tokens: kept gain by KV budget');
    const read = [...(figure?.wide ?? '').matchAll(/aria-label="(gates: [^"]*)"/g)].map(([, words]) => words);
    expect(read).toEqual([
      'gates: -12.5 % (-17.5–-10.5 %) at 25.0 % of the KV footprint',
      'gates: 87.5 % (82.5–89.5 %) at 40.0 % of the KV footprint',
      'gates: 104.0 % (99.0–106.0 %) at 60.0 % of the KV footprint',
    ]);
    const heights = [...(figure?.wide ?? '').matchAll(/<circle[^>]* cy="([\d.]+)"/g)].map(([, y]) => Number(y));
    expect(heights).toHaveLength(3);
    for (const y of heights) expect(y).toBeGreaterThanOrEqual(26);
    for (const y of heights) expect(y).toBeLessThanOrEqual(276);
  });

  it('leaves out what could not be measured, and is not drawn of nothing', () => {
    const missing = CUTS.map((row) => makeGain(row.mask, null, row.footprint));
    expect(drawBudgetCurves(missing)).toEqual([]);
    const [rest] = drawBudgetCurves([...CUTS, makeGain('random-0@0.5', null, 0.6)]);
    expect(rest?.wide).not.toContain('random');
  });
});

describe('report', () => {
  it("shows the closing table's kept gain as figure, table and headline", () => {
    const report = build(writeRun({ closing: [makeGain('full', 1, 1), makeGain('given', 0.914, 0.4)] }));
    expect(fileOf(report, 'kept-gain.svg')).toContain('given: 91.4 %, interval 86.4–93.4 %');
    const [header, , given] = fileOf(report, 'kept-gain.csv').split('\n') as [string, string, string];
    expect(header).toMatch(/^mask,tokens,kept gain,95 % interval,log-prob/);
    expect(given).toMatch(/^given,8192,0\.914,0\.864 to 0\.934/);
    expect(report.html).toContain('of long context’s gain kept');
    expect(describeSummary(report.summary)).toContain(
      'Kept gain: the mask keeps 91.4 % (86.4–93.4 %) of what long context gives, 12 texts of 8K tokens.',
    );
    // recall stays recall
    expect(report.summary.recall?.source).toBe('closing table');
  });

  it('takes the kept gain of results.json where identify had none, never as recall', () => {
    const folder = writeRun({});
    const maskHash = hashMask(toHeadMask(readMask(join(folder, 'mask.json'))));
    writeResults(join(folder, 'results.json'), [...CUTS, { ...makeGain('given', 0.8, 0.45), maskHash }]);
    const data = readRunFolder(folder);
    const { summary, files } = buildReport({ ...data, heldOut: [] }, { countKvBytes });
    expect(summary).toMatchObject({ recall: null, keptGain: { mask: 'given', keptGain: 0.8 } });
    expect(files.map(({ name }) => name)).toContain('budget-long-range-8192.svg');
  });

  it('says in the table what could not be measured, without a figure', () => {
    const report = build(writeRun({ closing: [makeGain('full', null, 1), makeGain('given', null, 0.4)] }));
    expect(fileOf(report, 'kept-gain.svg')).toBe('');
    expect(fileOf(report, 'kept-gain.csv')).toContain('given,8192,,,');
    expect(report.summary.keptGain).toBeNull();
  });

  it('refuses rows that are none', () => {
    const folder = writeRun({ closing: [{ ...makeGain('full', 1, 1), footprint: 2 }] });
    expect(() => readRunFolder(folder)).toThrow(FormatError);
    expect(() => readRunFolder(folder)).toThrow('`results.keptGain[0].footprint`');
  });
});

it('results.csv has kept gain, its interval and the losses', () => {
  const [header, line] = formatRowsCsv([makeGain('given', -0.25, 0.5)]).split('\n') as [string, string];
  const columns = header.split(',');
  const cell = (name: string): string | undefined => line.split(',')[columns.indexOf(name)];
  expect([cell('keptGain'), cell('keptGainIntervalLow'), cell('loss'), cell('fullLoss')]).toEqual([
    '-0.25',
    '-0.3',
    '2.5',
    '2.25',
  ]);
});

// Random masks as mean and spread; critical footprints of methods cut at several fractions.
import { expect, it } from 'vitest';
import { listCriticalFootprints, summariseRandomMasks } from '../../../src/eval/summarise-rows.ts';
import type { EvalRow } from '../../../src/formats/results.ts';

function row(mask: string, footprint: number, accuracy: number, more: Partial<EvalRow> = {}): EvalRow {
  return {
    task: 'niah',
    mask,
    length: 1024,
    depth: null,
    samples: 10,
    measure: 'generated',
    accuracy,
    accuracyInterval: [0, 1],
    logProb: null,
    logProbInterval: null,
    answerTokens: null,
    streamingFraction: 1 - footprint,
    kvBytes: 1,
    fullKvBytes: 1,
    kvDtype: 'f32',
    footprint,
    peakFootprint: 1,
    prefill: 'exact',
    seconds: 1,
    ...more,
  };
}

it('summarises random masks by task, length, depth and size', () => {
  const rows = [
    row('random-0@0.5', 0.5, 0.2),
    row('random-1@0.5', 0.5, 0.4),
    row('random-0@0.5', 0.5, 0.9, { length: 2048 }),
    row('random-0', 0.5, 0.1, { depth: 0 }),
    row('gates@0.5', 0.5, 1),
  ];
  const summary = summariseRandomMasks(rows);
  expect(summary.map((one) => [one.mask, one.length, one.masks])).toEqual([
    ['random@0.5', 1024, 2],
    ['random@0.5', 2048, 1],
    ['random', 1024, 1],
  ]);
  expect(summary[0]?.accuracyMean).toBeCloseTo(0.3, 12);
  expect(summary[0]?.accuracyDeviation).toBeCloseTo(Math.SQRT2 / 10, 12);
});

it('finds where each method leaves 90 and 99 % of full', () => {
  const rows = [
    row('full', 1, 1),
    row('gates@0.75', 0.25, 0.5),
    row('gates@0.5', 0.5, 1),
    row('random-0@0.75', 0.25, 0),
    row('random-1@0.75', 0.25, 0.2),
    row('random-0@0.5', 0.5, 0.3),
    row('streaming', 0.1, 0),
    row('once@0.5', 0.5, 1),
  ];
  const critical = listCriticalFootprints(rows);
  expect(critical.map((one) => [one.method, one.keep])).toEqual([
    ['gates', 0.9],
    ['gates', 0.99],
    ['random', 0.9],
    ['random', 0.99],
  ]);
  // gates: 0.5 to 1 between budgets 0.25 and 0.5, so 0.9 at 0.45; random: 0.3 to 1 between 0.5 and 1, so 0.9 at 0.5 + 6/14
  expect(critical[0]?.footprint).toBeCloseTo(0.45, 12);
  expect(critical[1]?.footprint).toBeCloseTo(0.495, 12);
  expect(critical[2]?.footprint).toBeCloseTo(0.5 + 6 / 14, 12);
  expect(listCriticalFootprints(rows.slice(1))).toEqual([]);
});

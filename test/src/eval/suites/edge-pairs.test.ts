// Awkward pairs of every set of every suite, scored by the suites' own functions (test/golden/metrics/make-edge-pairs.py).
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { findPredictionReader } from '../../../../src/eval/suites/prediction-files.ts';

type Row = { readonly score: number; readonly folder?: string } & Record<string, unknown>;
type Pairs = Record<string, Record<string, Row[]>>;

const pairs = JSON.parse(
  readFileSync(new URL('../../../golden/metrics/edge-pairs.json', import.meta.url), 'utf8'),
) as Pairs;

function scoreRow(suite: string, task: string, row: Row): number {
  const { score: _, folder = 'some-model', ...record } = row;
  const name = suite === 'infinitebench' ? `preds_${task}.jsonl` : `${task}.jsonl`;
  const placed = { record, place: `${name}, line 1` };
  const { scoring, prediction } = findPredictionReader(placed, suite)(placed, {
    path: `${folder}/${name}`,
    name,
    folder,
  });
  return scoring.score(prediction);
}

describe.each(Object.keys(pairs))('%s', (suite) => {
  it.each(Object.entries(pairs[suite] as Record<string, Row[]>))('%s has the official scores', (task, rows) => {
    expect(rows.length).toBeGreaterThanOrEqual(16);
    for (const row of rows) {
      expect(Math.abs(scoreRow(suite, task, row) - row.score), JSON.stringify(row)).toBeLessThanOrEqual(1e-6);
    }
  });
});

it('covers every set', () => {
  const count = Object.entries(pairs).map(([suite, tasks]) => [suite, Object.keys(tasks).length]);
  expect(count).toEqual([
    ['longbench', 21],
    ['longbench-v2', 1],
    ['infinitebench', 12],
    ['ruler', 13],
    ['kvpress', 13],
  ]);
});

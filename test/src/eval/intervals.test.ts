// The 95 % interval that each measure of each suite gets: Wilson's for answers that are right or wrong, a bootstrap over samples for graded
// ones; and that both cover what they say they cover.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import { measureKeptGain } from '../../../src/eval/metrics/kept-gain.ts';
import { summariseScores } from '../../../src/eval/metrics/summarise-scores.ts';
import { scorePredictions } from '../../../src/eval/score-predictions.ts';

const root = mkdtempSync(join(tmpdir(), 'duo-intervals-'));
afterAll(() => rmSync(root, { recursive: true }));

type Row = { readonly score: number } & Record<string, unknown>;
const pairs = JSON.parse(
  readFileSync(new URL('../../golden/metrics/edge-pairs.json', import.meta.url), 'utf8'),
) as Record<string, Record<string, Row[]>>;

/** Wilson's interval of a proportion, written out (Wilson 1927), in percent. */
function wilson(right: number, all: number): [number, number] {
  const z = 1.959963984540054;
  const p = right / all;
  const half = z * Math.sqrt((p * (1 - p)) / all + (z * z) / (4 * all * all));
  return [p + (z * z) / (2 * all) - half, p + (z * z) / (2 * all) + half].map(
    (bound) => (100 * bound) / (1 + (z * z) / all),
  ) as [number, number];
}

/** Measures of which every score is 0 or 100. */
const PROPORTIONS = new Set(['accuracy', 'string-match-part']);

describe.each(Object.keys(pairs))('%s', (suite) => {
  it.each(Object.entries(pairs[suite] as Record<string, Row[]>))('%s', (task, rows) => {
    const name = suite === 'infinitebench' ? `preds_${task}.jsonl` : `${task}.jsonl`;
    const path = join(root, suite, 'model', name);
    mkdirSync(dirname(path), { recursive: true });
    const lines = rows.map(({ score: _, prediction, folder: __, ...row }) =>
      JSON.stringify(suite === 'longbench' ? { all_classes: null, ...row, pred: prediction } : { ...row, prediction }),
    );
    writeFileSync(path, lines.join('\n'));
    const [row] = scorePredictions(path, { suite });
    const { interval, metric, score } = row as NonNullable<typeof row>;
    const scores = rows.filter(({ folder }) => folder === undefined).map((one) => one.score);
    const isProportion = scores.every((value) => value === 0 || value === 100);
    if (PROPORTIONS.has(metric)) expect(isProportion).toBe(true);
    const byWilson = wilson(score * rows.length * 0.01, rows.length);
    if (isProportion || new Set(scores).size === 1) {
      expect(interval[0]).toBeCloseTo(byWilson[0], 9);
      expect(interval[1]).toBeCloseTo(byWilson[1], 9);
      return;
    }
    // no graded variable of this mean varies as much as a right-or-wrong one
    expect(interval).not.toEqual(byWilson);
    expect(interval[0]).toBeLessThanOrEqual(score);
    expect(interval[1]).toBeGreaterThanOrEqual(score);
    expect(interval[1] - interval[0]).toBeLessThan(1.2 * (byWilson[1] - byWilson[0]));
  });
});

describe('coverage', () => {
  const random = makeRandom(7, 'coverage');
  /** Share of 400 studies of `samples` draws whose interval holds the true mean. */
  function cover(samples: number, truth: number, draw: () => number): number {
    const studies = Array.from({ length: 400 }, () => summariseScores(Array.from({ length: samples }, draw)).interval);
    return studies.filter(([low, high]) => low <= truth && truth <= high).length / studies.length;
  }

  it('of right-or-wrong scores is 95 %', () => {
    expect(cover(40, 0.9, () => (random.uniform() < 0.9 ? 100 : 0))).toBeGreaterThan(0.92);
  });

  it('of graded scores is near 95 %, and their interval narrower than one of a proportion', () => {
    const draw = (): number => 100 * (0.5 + 0.4 * (random.uniform() - 0.5));
    const covered = cover(40, 0.5, draw);
    expect(covered).toBeGreaterThan(0.9);
    expect(covered).toBeLessThan(0.985);
    const { interval, intervalKind } = summariseScores(Array.from({ length: 40 }, draw));
    expect(intervalKind).toBe('bootstrap');
    expect(interval[1] - interval[0]).toBeLessThan(0.12);
  });

  it('of kept gain is near 95 %, over texts', () => {
    const studies = Array.from({ length: 300 }, () => {
      const texts = Array.from({ length: 30 }, () => {
        const kept = 0.7 + 0.3 * (random.uniform() - 0.5);
        const tokens = Array.from({ length: 5 }, () => -0.1);
        return { full: tokens, streaming: tokens.map(() => -4.1), mask: tokens.map(() => -4.1 + 4 * kept) };
      });
      return measureKeptGain(texts).interval as [number, number];
    });
    const covered = studies.filter(([low, high]) => low <= 0.7 && 0.7 <= high).length / studies.length;
    expect(covered).toBeGreaterThan(0.88);
    expect(covered).toBeLessThan(0.985);
  });
});

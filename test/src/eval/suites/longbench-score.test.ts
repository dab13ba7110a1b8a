// Every pair of the golden file scores what LongBench's own eval.py gives it (test/golden/README.md).
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { averageBuckets, cutTurn, scoreLongbench } from '../../../../src/eval/suites/longbench-score.ts';

interface Pair {
  readonly answers: string[];
  readonly prediction: string;
  readonly score: number;
  readonly score_with_python_levenshtein?: number;
  readonly all_classes?: string[];
}

const sets = JSON.parse(
  readFileSync(new URL('../../../golden/metrics/longbench-pairs.json', import.meta.url), 'utf8'),
) as Record<string, { all_classes: string[] | null; rows: Pair[] }>;

describe.each(Object.entries(sets))('%s', (dataset, { all_classes, rows }) => {
  const differences = (options: object, want: (row: Pair) => number | undefined): object[] =>
    rows.flatMap((row) => {
      const classes = row.all_classes ?? all_classes ?? [];
      const score = scoreLongbench(dataset, { answers: row.answers, classes }, options).score(row.prediction);
      const wanted = want(row) as number;
      return Math.abs(score - wanted) <= 1e-6 ? [] : [{ ...row, got: score }];
    });

  it('equals the official score', () => {
    expect(rows.length).toBeGreaterThan(50);
    expect(differences({}, (row) => row.score)).toEqual([]);
  });

  if (dataset === 'lcc') {
    it('equals the variant with python-Levenshtein', () => {
      const codeSimilarity = 'levenshtein';
      expect(differences({ codeSimilarity }, (row) => row.score_with_python_levenshtein)).toEqual([]);
    });
  }
});

it('scores 0 where rouge runs into the recursion limit of Python, and says the words it has below it', () => {
  const text = (count: number, letter: string): string =>
    Array.from({ length: count }, (_, index) => `${letter}${index}`).join(' ');
  const score = (words: number): number =>
    scoreLongbench('gov_report', { answers: [text(words, 'a')], classes: [] }).score(text(words, 'a'));
  expect(score(989)).toBeCloseTo(100, 5);
  expect(score(990)).toBe(0);
});

it("averages LongBench-E's lengths, and leaves out one without a sample", () => {
  expect(averageBuckets([100, 0, 50], [3999, 4000, 7999])).toEqual({
    '0-4k': { score: 100, samples: 1 },
    '4-8k': { score: 25, samples: 2 },
  });
});

it("cuts answers as DuoAttention's run of Llama-3 models does, before the first line is taken, and says so", () => {
  const prediction = '  \nParis.assistant\n\nQuestion: where? London';
  const score = (dataset: string, options: object): number =>
    scoreLongbench(dataset, { answers: ['Paris'], classes: [] }, options).score(prediction);
  expect(score('hotpotqa', {})).toBeLessThan(100);
  expect(score('hotpotqa', { answerCut: 'llama-3' })).toBe(100);
  // the first line of the whole answer is blank
  expect([score('triviaqa', {}), score('triviaqa', { answerCut: 'llama-3' })]).toEqual([0, 100]);
  expect(cutTurn('one</s>two\n\nQuestion')).toBe('one');
  const { note } = scoreLongbench('hotpotqa', { answers: ['a'], classes: [] }, { answerCut: 'llama-3' });
  expect(note).toContain("as in DuoAttention's tables, not in LongBench's");
});

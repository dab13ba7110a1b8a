// Prediction files in the official projects' forms, scored without a model; InfiniteBench's cases are worked out by its rules by hand.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type ScoreRow, scorePredictions } from '../../../src/eval/score-predictions.ts';
import { EVAL_TASKS } from '../../../src/eval/tasks/task-list.ts';

const root = mkdtempSync(join(tmpdir(), 'duo-score-'));
afterAll(() => rmSync(root, { recursive: true }));

function write(name: string, lines: readonly object[]): string {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return path;
}
const only = (path: string, options: Parameters<typeof scorePredictions>[1]): ScoreRow => {
  const rows = scorePredictions(path, options);
  expect(rows).toHaveLength(1);
  return rows[0] as ScoreRow;
};

interface GoldenSet {
  readonly all_classes: string[] | null;
  readonly rows: { answers: string[]; prediction: string; score: number; all_classes?: string[] }[];
}
const golden = JSON.parse(
  readFileSync(new URL('../../golden/metrics/longbench-pairs.json', import.meta.url), 'utf8'),
) as Record<string, GoldenSet>;

describe('LongBench', () => {
  it.each(Object.entries(golden))('%s has the mean of the official scores', (dataset, { all_classes, rows }) => {
    const lines = rows.map((row) => ({
      pred: row.prediction,
      answers: row.answers,
      all_classes: row.all_classes ?? all_classes,
      length: 5000,
    }));
    const row = only(write(`pred/some-model/${dataset}.jsonl`, lines), { suite: 'longbench' });
    const mean = rows.reduce((sum, { score }) => sum + score, 0) / rows.length;
    expect(row).toMatchObject({ task: dataset, samples: rows.length });
    expect(row.score).toBeCloseTo(mean, 6);
    expect(row.buckets).toBeUndefined();
  });

  it('gives the means of the lengths for LongBench-E', () => {
    const line = { answers: ['x'], all_classes: null };
    const lines = [
      { ...line, pred: 'x', length: 10 },
      { ...line, pred: 'y', length: 9000 },
    ];
    const buckets = { '0-4k': { score: 100, samples: 1 }, '8k+': { score: 0, samples: 1 } };
    expect(only(write('pred_e/some-model/hotpotqa.jsonl', lines), { suite: 'longbench' }).buckets).toEqual(buckets);
    expect(only(write('hotpotqa.jsonl', lines), { suite: 'longbench-e' }).buckets).toEqual(buckets);
  });

  it('refuses a foreign name, a missing suite and a malformed line', () => {
    const path = write('mine.jsonl', [{ pred: 'x', answers: ['x'], all_classes: null }]);
    expect(() => scorePredictions(path, { suite: 'longbench' })).toThrow('got `mine`');
    expect(() => scorePredictions(path, {})).toThrow('Expected --suite with one of longbench');
    const listless = write('qasper.jsonl', [{ pred: 'x', all_classes: null }]);
    expect(() => scorePredictions(listless, { suite: 'longbench' })).toThrow(`\`answers\` in ${listless}, line 1`);
    const unclassed = write('trec.jsonl', [{ pred: 'x', answers: ['x'], all_classes: null }]);
    expect(() => scorePredictions(unclassed, { suite: 'longbench' })).toThrow(
      `Expected \`all_classes\` in ${unclassed}, line 1 to list the classes that trec is scored by, got none.`,
    );
  });

  it('counts a prediction without answers as wrong, as the suite does', () => {
    const line = { pred: 'x', answers: ['x'], all_classes: null };
    const path = write('musique.jsonl', [line, { ...line, answers: [] }]);
    expect(only(path, { suite: 'longbench' })).toMatchObject({ score: 50, samples: 2 });
  });
});

describe('LongBench v2', () => {
  const score = (response: string, answer: string): number =>
    only(write('v2.jsonl', [{ answer, response }]), { suite: 'longbench-v2' }).score;

  it.each([
    ['The correct answer is (C)', 'C', 100],
    ['The correct answer is C', 'C', 100],
    ['**The correct answer is** (C)', 'C', 100],
    ['The correct answer is Choice B', 'C', 100],
    ['The correct answer is a bit unclear', 'A', 0],
    ['The answer is D', 'D', 0],
    ['the correct answer is (b)', 'B', 0],
    ['A', 'A', 0],
  ])('%s for %s: %f', (response, answer, expected) => {
    expect(score(response, answer)).toBe(expected);
  });

  it('names difficulty and length, keeps the lenient reading apart, reads a JSON list too', () => {
    const line = { answer: 'D', response: 'The answer is D', difficulty: 'easy', length: 'short', pred: null };
    const path = join(root, 'v2.json');
    writeFileSync(path, JSON.stringify([line, { ...line, response: null, length: 'long' }]));
    expect(only(path, { suite: 'longbench-v2' })).toMatchObject({
      score: 0,
      others: { 'stated-option': 50 },
      buckets: { easy: { samples: 2 }, short: { samples: 1 }, long: { samples: 1 } },
    });
  });

  it('scores the letters of a file that kept no responses', () => {
    const letters = ['C', 'A', null].map((pred) => ({ answer: 'C', pred, judge: pred === 'C', difficulty: 'hard' }));
    expect(only(write('letters.jsonl', letters), { suite: 'longbench-v2' })).toMatchObject({ samples: 3, buckets: {} });
    expect(only(write('letters.jsonl', letters), { suite: 'longbench-v2' }).score).toBeCloseTo(100 / 3, 9);
  });
});

describe('folders', () => {
  const line = { pred: 'x', answers: ['x'], all_classes: null };

  it('reads a folder of models and says which file a row is of', () => {
    const files = ['one/hotpotqa', 'one/musique', 'two/hotpotqa'].map((name) =>
      write(`all/pred/${name}.jsonl`, [line]),
    );
    writeFileSync(join(root, 'all/pred/one/result.json'), '{"hotpotqa": 100}');
    const rows = scorePredictions(join(root, 'all/pred'), { suite: 'longbench' });
    expect(rows.map(({ file, task, score }) => [file, task, score])).toEqual([
      [files[0], 'hotpotqa', 100],
      [files[1], 'musique', 100],
      [files[2], 'hotpotqa', 100],
    ]);
  });

  it("joins RULER's parts of a task, and refuses them beside the whole", () => {
    const ruler = { index: 0, pred: 'one', outputs: ['one'], others: {} };
    const parts = [0, 1].map((n) => write(`ruler/vt-${n}.jsonl`, [{ ...ruler, outputs: [n === 0 ? 'one' : 'two'] }]));
    expect(scorePredictions(join(root, 'ruler'), { suite: 'ruler' })).toMatchObject([
      { file: join(root, 'ruler/vt.jsonl'), task: 'vt', score: 50, samples: 2 },
    ]);
    write('ruler/vt.jsonl', [ruler]);
    expect(() => scorePredictions(join(root, 'ruler'), { suite: 'ruler' })).toThrow(`got both that and ${parts[0]}`);
  });

  it('takes predictions.jsonl alone from a folder of duo, and refuses a folder without predictions', () => {
    const own = { promptHash: 'sha256:0', task: 'qa_2', prediction: 'b', answers: ['b'], score: 100, mask: 'full' };
    write('run/predictions.jsonl', [own]);
    write('run/metrics.jsonl', [{ step: 1 }]);
    expect(scorePredictions(join(root, 'run'), {})).toMatchObject([{ task: 'qa_2', score: 100 }]);
    mkdirSync(join(root, 'empty'));
    expect(() => scorePredictions(join(root, 'empty'), { suite: 'longbench' })).toThrow('found none.');
  });
});

describe('InfiniteBench', () => {
  const score = (task: string, prediction: string, label: unknown, folder = 'some-model'): number =>
    only(write(`${folder}/preds_${task}.jsonl`, [{ id: 0, prediction, ground_truth: label }]), {
      suite: 'infinitebench',
    }).score;

  it.each([
    ['passkey', 'The answer is not 99 but 71432', ['71432'], 0],
    ['passkey', ' 71432.', '71432', 100],
    ['kv_retrieval', '"ab-1": 2', 'ab-1', 100],
    ['code_debug', ' A', ['f', 'A'], 0],
    ['code_debug', ' A. f', ['f', 'A'], 100],
    ['code_debug', 'the `answer is: A', ['f', 'A'], 100],
    ['code_debug', 'The correct option is: f', ['f', 'A'], 100],
    ['code_debug', 'answer is:', ['f', 'A'], 0],
    ['longbook_choice_eng', ' (D).', ['text', 'D'], 0],
    ['longbook_choice_eng', " 'A'.", ['text', 'A'], 100],
    ['longbook_choice_eng', ' B. The choice', ['text', 'C'], 0],
    ['longbook_choice_eng', '', ['text', 'A'], 0],
    ['longbook_choice_eng', 'I think BC', ['text', 'BC'], 100],
    ['code_run', ' -257910.\n\nThe value of func_4', 4, 0],
    ['code_run', 'it is -4', [-4], 100],
    ['longbook_qa_chn', '10', ['18'], 50],
    ['longdialogue_qa_eng', ' Stamp said', ['STAMP', 'PAID'], 100],
    ['longdialogue_qa_eng', ' Paid', ['STAMP', 'PAID'], 0],
    ['math_find', 'It is 2.50', 2.5, 100],
    ['math_calc', '79, 59, 1', [[79, 59, 3, 4]], 50],
    ['math_calc', '[3, -4]', [3, -4], 50],
    ['longbook_sum_eng', 'The cat', 'the cat sat', 80],
  ])('%s: %j for %j is %f', (task, prediction, label, expected) => {
    expect(score(task, prediction, label)).toBeCloseTo(expected, 9);
  });

  it("leaves the first number of GPT-4's sums out", () => {
    expect(score('math_calc', '1: 79, 59', [79, 59], 'gpt4')).toBe(100);
    expect(score('math_calc', '1: 79, 59', [79, 59])).toBe(0);
  });
});

it("scores RULER's files, folded white space apart", () => {
  const line = {
    index: 0,
    pred: 'São\nPaulo',
    outputs: ['São Paulo'],
    input: '',
    others: {},
    truncation: -1,
    length: 9,
  };
  expect(only(write('qa_1.jsonl', [line]), { suite: 'ruler' })).toMatchObject({
    task: 'qa_1',
    score: 0,
    metric: 'string-match-part',
    others: { 'folded-string-match': 100 },
  });
  const two = { ...line, pred: 'one', outputs: ['One', 'two'] };
  expect(only(write('niah_multivalue.jsonl', [two]), { suite: 'ruler' }).score).toBe(50);
});

describe('kvpress', () => {
  const score = (line: object): number => only(write('rows.jsonl', [line]), { suite: 'kvpress' }).score;
  const question = 'Which?\nA. one\nB. two\nC. three\nD. four';

  it.each([
    [{ task: 'niah_single_1', answer: ['3,677'], predicted_answer: '3,6\n77 seated' }, 100],
    [{ task: 'longbench-v2', answer: 'C', predicted_answer: 'The correct answer is (C)' }, 100],
    [{ task: 'longbench-v2', answer: 'C', predicted_answer: 'The correct answer is (C), because' }, 0],
    [{ task: 'longbench-v2', answer: 'C', predicted_answer: 'A) because' }, 0],
    [{ task: 'passkey', answer: ['71432'], predicted_answer: 'not 99 but 71432' }, 0],
    [{ task: 'longbook_choice_eng', answer: ['C'], question, predicted_answer: ' B. The choice' }, 0],
    [{ task: 'longbook_choice_eng', answer: ['C'], question, predicted_answer: 'three' }, 100],
    [{ task: 'code_debug', answer: ['A'], question, predicted_answer: ' A' }, 100],
    [{ task: 'trec', answers: ['Date'], all_classes: ['Date', 'City'], predicted_answer: ' \nDate\nCity' }, 100],
    [{ task: 'trec-e', answers: ['Date'], all_classes: ['Date', 'City'], predicted_answer: ' \nDate', length: 9 }, 0],
  ])('%j: %f', (line, expected) => {
    expect(score(line)).toBe(expected);
  });

  it('refuses a task that it cannot score', () => {
    expect(() => score({ task: 'shortdep_qa', answer: 'A sentence.', predicted_answer: 'x' })).toThrow(
      'got task `shortdep_qa`',
    );
  });
});

it.each(EVAL_TASKS.map((task) => [task.name, task] as const))("gives duo's own task %s its own score", (name, task) => {
  const answers = ['red hat', 'blue cup'];
  const predictions = ['a RED hat', 'a hat that is red', 'the blue\tcup, the red hat', ''];
  const lines = predictions.map((prediction) => ({
    promptHash: 'sha256:0',
    task: name,
    prediction,
    answers,
    score: 7,
  }));
  const scores = predictions.map((prediction) => task.score(prediction, answers));
  const [row] = scorePredictions(write('run/predictions.jsonl', lines), {});
  expect(row).toMatchObject({ task: name, samples: 4 });
  expect(row?.score).toBeCloseTo(scores.reduce((sum, one) => sum + one, 0) / 4, 9);
  expect(row?.note).toBeUndefined();
});

it("scores duo's own file by the tasks it names, one row per mask", () => {
  const line = { index: 0, promptHash: 'sha256:0', score: 1, metric: 'x', answers: ['b'], length: null, depth: null };
  const longbench = { ...line, task: 'longbench/hotpotqa', record: { answers: ['Ann Lee'], all_classes: null } };
  const path = write('predictions.jsonl', [
    { ...longbench, mask: 'full', prediction: 'ann lee' },
    { ...longbench, mask: 'given', prediction: 'ann' },
    { ...line, task: 'qa_2', mask: 'full', length: 1024, prediction: 'a B c' },
    { ...line, task: 'multi_passkey', mask: 'full', score: 60, prediction: '' },
    { ...line, task: 'infinitebench/math_calc', mask: 'full', prediction: '1 2', record: { label: [1, 2] } },
  ]);
  expect(scorePredictions(path, {}).map(({ task, mask, score }) => [task, mask, Math.round(score)])).toEqual([
    ['longbench/hotpotqa', 'full', 100],
    ['longbench/hotpotqa', 'given', 67],
    ['qa_2', 'full', 100],
    ['multi_passkey', 'full', 60],
    ['infinitebench/math_calc', 'full', 100],
  ]);
});

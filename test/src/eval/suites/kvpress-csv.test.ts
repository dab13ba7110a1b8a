// predictions.csv as kvpress's evaluate.py writes it through pandas: lists as Python and numpy print them, texts over several lines.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { scorePredictions } from '../../../../src/eval/score-predictions.ts';
import { readKvpressCsv } from '../../../../src/eval/suites/kvpress-csv.ts';
import { readPythonList } from '../../../../src/eval/suites/python-list.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-kvpress-csv-'));
afterAll(() => rmSync(folder, { recursive: true }));
const write = (text: string, name = 'predictions.csv'): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

describe('readPythonList', () => {
  it.each([
    ["['a', 'b']", ['a', 'b']],
    ["['a' 'b'\n 'c']", ['a', 'b', 'c']],
    [`["it's" 'say "x"' '\\'\\n\\\\\\xe9\\u5f20']`, ["it's", 'say "x"', "'\n\\é张"]],
    ['[1, -2.5, 3e5]', ['1', '-2.5', '3e5']],
    ['[]', []],
  ])('%j', (text, expected) => {
    expect(readPythonList(text)).toEqual(expected);
  });

  it.each(["['1' '2' ... '9']", '3', "['a'", "['a' b]"])('%j is none', (text) => {
    expect(readPythonList(text)).toBeNull();
  });
});

const HEADER = 'question,answer,task,predicted_answer,max_new_tokens,compression_ratio\n';

it('scores each task of a file, numpy lists and line breaks read', () => {
  const path = write(
    `${HEADER}"What, ""then""?","['4821' '77']",niah_multivalue,"4821\n and more",128,0.5\nWho?,['Ann Lee'],qa_1,,32,0.5\n` +
      "Which?,\"['one', 'two']\",vt,ONE two,30,0.5\r\n",
  );
  expect(scorePredictions(path, { suite: 'kvpress' })).toMatchObject([
    { file: path, task: 'niah_multivalue', score: 50, samples: 1 },
    { task: 'qa_1', score: 0, samples: 1 },
    { task: 'vt', score: 100, samples: 1 },
  ]);
});

it("reads LongBench's answers, classes and lengths, and the options of multiple choice", () => {
  const longbench = write(
    'answers,all_classes,task,length,predicted_answer\n' +
      "['Date'],['Date' 'City'],trec-e,9000,Date\n['Ann'],,qasper-e,100,ann lee\n",
  );
  expect(scorePredictions(longbench, { suite: 'kvpress' })).toMatchObject([
    { task: 'trec-e', score: 100, buckets: { '8k+': { samples: 1 } } },
    { task: 'qasper-e', buckets: { '0-4k': { samples: 1 } } },
  ]);
  const choice = write(
    'question,answer,task,predicted_answer\n"Which?\nA. one\nB. two\nC. three\nD. four",[\'C\'],longbook_choice_eng,three\n',
  );
  expect(scorePredictions(choice, { suite: 'kvpress' })).toMatchObject([{ score: 100 }]);
});

it.each([
  ['predicted_answer\nx\n', 'to have the columns task, predicted_answer and answer or answers'],
  [`${HEADER}q,['a'],vt,x\n`, 'predictions.csv, line 2 to have 6 cells as the header has, got 4.'],
  [`${HEADER}"q\nq",['a'],vt,x,1,0\nq,"open,vt,x,1,0\n`, 'line 4 to be a row of CSV: a quote is open'],
  [`${HEADER}q,['1' ... '9'],vt,x,1,0\n`, 'numpy shortens lists of more than a thousand elements.'],
  [`${HEADER}q,['1'],shortdep_qa,x,1,0\n`, 'line 2 to come from RULER, LongBench, LongBench v2 or InfiniteBench'],
  [`${HEADER}q,,vt,x,1,0\n`, 'line 2 to be a string or a list of strings, got `nothing`.'],
  [HEADER, 'to hold a header and at least one row, got none.'],
])('refuses %j', (text, message) => {
  expect(() => scorePredictions(write(text), { suite: 'kvpress' })).toThrow(message);
});

it('keeps a length and lets an empty list of classes be none', () => {
  const path = write("answers,all_classes,task,length,predicted_answer\n['Ann'],None,qasper,12,x\n");
  expect(readKvpressCsv(path)[0]?.record).toMatchObject({ answers: ['Ann'], all_classes: null, length: 12 });
});

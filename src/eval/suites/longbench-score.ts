// LongBench's scores by dataset (its eval.py and metrics.py): the best over a prompt's answers.
import { scoreClassification, scoreCount, scoreRetrieval } from '../metrics/choice.ts';
import { type CodeSimilarity, scoreEditSimilarity } from '../metrics/edit-similarity.ts';
import { normaliseChinese } from '../metrics/normalise.ts';
import { scoreCharacterF1, scoreChineseQaF1, scoreQaF1 } from '../metrics/qa-f1.ts';
import { scoreChineseRougeL, scoreRougeL } from '../metrics/rouge-l.ts';
import { openSegmenter } from '../metrics/segment-chinese.ts';
import { type Scoring, scoreBest } from './scoring.ts';

interface Answer {
  readonly answers: readonly string[];
  /** class names of a classification set */
  readonly classes: readonly string[];
}

export interface LongbenchOptions {
  /** default 'difflib', which the published tables used */
  readonly codeSimilarity?: CodeSimilarity;
  /** default 'whole': as LongBench's own run */
  readonly answerCut?: AnswerCut;
}

/** Where an answer ends before it is scored: nowhere, as in LongBench's own run of its models, or where a Llama-3 model begins another
 * turn, as in DuoAttention's tables (its eval/LongBench/pred.py, `post_process`). */
export type AnswerCut = (typeof ANSWER_CUTS)[number];
export const ANSWER_CUTS = ['whole', 'llama-3'] as const;

const TURN_ENDS = ['.assistant', '\n\nQuestion', '</s>'];
const CUT_NOTE =
  "answers cut where a Llama-3 model begins another turn, as in DuoAttention's tables, not in LongBench's";

/** The answer up to the first sign of another turn, without white space around it. */
export function cutTurn(prediction: string): string {
  return TURN_ENDS.reduce((text, end) => text.split(end)[0] as string, prediction).trim();
}

type MakeScoring = (answer: Answer, options: LongbenchOptions) => Scoring;

const UNSEGMENTED =
  "not comparable: Chinese scored by character, without jieba's dictionary (npm install duo-heads-jieba)";

const qaF1: MakeScoring = ({ answers }) => ({
  metric: 'qa-f1',
  score: (prediction) => scoreBest(answers, (answer) => scoreQaF1(prediction, answer)),
});
const rougeL: MakeScoring = ({ answers }) => ({
  metric: 'rouge-l',
  score: (prediction) => scoreBest(answers, (answer) => scoreRougeL(prediction, answer)),
});
const classification: MakeScoring = ({ answers, classes }) => ({
  metric: 'classification',
  score: (prediction) => scoreBest(answers, (answer) => scoreClassification(prediction, answer, classes)),
});
const retrieval: MakeScoring = ({ answers }) => ({
  metric: 'retrieval',
  score: (prediction) => scoreBest(answers, (answer) => scoreRetrieval(prediction, answer)),
});
const count: MakeScoring = ({ answers }) => ({
  metric: 'count',
  score: (prediction) => scoreBest(answers, (answer) => scoreCount(prediction, answer)),
});
const code: MakeScoring = ({ answers }, { codeSimilarity = 'difflib' }) => ({
  metric: `code-similarity-${codeSimilarity}`,
  score: (prediction) => scoreBest(answers, (answer) => scoreEditSimilarity(prediction, answer, codeSimilarity)),
});
const chineseQaF1: MakeScoring = ({ answers }) => {
  const segment = openSegmenter();
  if (segment === null) {
    const score = (prediction: string): number => scoreBest(answers, (answer) => scoreCharacterF1(prediction, answer));
    return { metric: 'character-f1', score, note: UNSEGMENTED };
  }
  return {
    metric: 'qa-f1',
    score: (prediction) => scoreBest(answers, (answer) => scoreChineseQaF1(prediction, answer, segment)),
  };
};
const chineseRougeL: MakeScoring = ({ answers }) => {
  const segment = openSegmenter();
  if (segment === null) {
    const space = (text: string): string => [...normaliseChinese(text)].join(' ');
    const score = (prediction: string): number =>
      scoreBest(answers, (answer) => scoreRougeL(space(prediction), space(answer)));
    return { metric: 'character-rouge-l', score, note: UNSEGMENTED };
  }
  return {
    metric: 'rouge-l',
    score: (prediction) => scoreBest(answers, (answer) => scoreChineseRougeL(prediction, answer, segment)),
  };
};

/** dataset2metric of the suite. */
const MEASURES: Readonly<Record<string, MakeScoring>> = {
  narrativeqa: qaF1,
  qasper: qaF1,
  multifieldqa_en: qaF1,
  multifieldqa_zh: chineseQaF1,
  hotpotqa: qaF1,
  '2wikimqa': qaF1,
  musique: qaF1,
  dureader: chineseRougeL,
  gov_report: rougeL,
  qmsum: rougeL,
  multi_news: rougeL,
  vcsum: chineseRougeL,
  trec: classification,
  triviaqa: qaF1,
  samsum: rougeL,
  lsht: classification,
  passage_retrieval_en: retrieval,
  passage_count: count,
  passage_retrieval_zh: retrieval,
  lcc: code,
  'repobench-p': code,
};

export const LONGBENCH_SETS: readonly string[] = Object.keys(MEASURES);

/** Sets whose answers are one of the record's classes. */
export const CLASSIFICATION_SETS: ReadonlySet<string> = new Set(['trec', 'lsht']);

/** Sets of one line of code. */
const CODE_SETS: ReadonlySet<string> = new Set(['lcc', 'repobench-p']);

/** True for a set of LongBench: `hotpotqa`, `longbench/hotpotqa_e`, `kvpress/hotpotqa-e`. */
export const usesLongbench = (task: string): boolean => LONGBENCH_SETS.includes(setOf(task));

/** True for a set that is scored by CodeSimilarity. */
export const usesCodeSimilarity = (task: string): boolean => CODE_SETS.has(setOf(task));

const setOf = (task: string): string => task.replace(/^.*\//, '').replace(/[-_]e$/, '');

/** Few-shot sets: the model continues with further examples, so only the first line of an answer counts. */
const FIRST_LINE_ONLY: ReadonlySet<string> = new Set(['trec', 'triviaqa', 'samsum', 'lsht']);

/** How the suite scores a prompt of a dataset.
 * @param dataset one of LONGBENCH_SETS.
 * @param options.stripFirst what precedes an answer's first line and does not count: line breaks, or all white space as in kvpress. */
export function scoreLongbench(
  dataset: string,
  answer: Answer,
  options: LongbenchOptions & { readonly stripFirst?: (prediction: string) => string } = {},
): Scoring {
  const measure = (MEASURES[dataset] as MakeScoring)(answer, options);
  const strip = options.stripFirst ?? ((text: string) => text.replace(/^\n+/, ''));
  const scoring = FIRST_LINE_ONLY.has(dataset)
    ? { ...measure, score: (prediction: string) => measure.score(strip(prediction).split('\n')[0] as string) }
    : measure;
  if (options.answerCut !== 'llama-3') return scoring;
  return {
    ...scoring,
    score: (prediction) => scoring.score(cutTurn(prediction)),
    note: [CUT_NOTE, ...(scoring.note === undefined ? [] : [scoring.note])].join('; '),
  };
}

/** Mean scores (0 to 100) and samples of LongBench-E's three lengths; those without a sample are left out.
 * @param lengths words of each prediction's text */
export function averageBuckets(
  scores: readonly number[],
  lengths: readonly number[],
): Record<string, { score: number; samples: number }> {
  const groups = new Map<string, number[]>([
    ['0-4k', []],
    ['4-8k', []],
    ['8k+', []],
  ]);
  for (const [index, score] of scores.entries()) groups.get(findLengthBucket(lengths[index] as number))?.push(score);
  const filled = [...groups].filter(([, group]) => group.length > 0);
  return Object.fromEntries(
    filled.map(([name, group]) => [
      name,
      { score: group.reduce((sum, score) => sum + score, 0) / group.length, samples: group.length },
    ]),
  );
}

/** Bucket of LongBench-E for a text of so many words (characters for Chinese). */
function findLengthBucket(length: number): '0-4k' | '4-8k' | '8k+' {
  return length < 4000 ? '0-4k' : length < 8000 ? '4-8k' : '8k+';
}

// InfiniteBench's scores by task (its compute_scores.py at 88b3daa). It looks for answers in narrow forms; what a reader would also
// take for an answer counts in `stated-option` and `any-label`, which no table of the suite has.
import { scoreStatedOption } from '../metrics/choice.ts';
import { parsePythonInteger, splitWhiteSpace, stripWhiteSpace, toAsciiDigits } from '../metrics/python-text.ts';
import { scoreCharacterF1, scoreQaF1 } from '../metrics/qa-f1.ts';
import { scoreRougeLsum } from '../metrics/rouge-lsum.ts';
import { type Scoring, scoreBest } from './scoring.ts';

/** An answer as the suite's files have it. Multiple choice: the option's text, then its letter. */
export type Label = readonly (string | number)[];

export interface InfinitebenchOptions {
  /** leave out a prediction's first number in math_calc, as the suite does for its folder `gpt4` */
  readonly skipsFirstNumber?: boolean;
}

type MakeScoring = (label: Label, options: InfinitebenchOptions) => Scoring;

const all = (isRight: boolean): number => (isRight ? 100 : 0);
const first = (label: Label): string => String(label[0]);

/** Accuracy of one answer. */
const accuracy =
  (isRight: (prediction: string, label: Label) => boolean): MakeScoring =>
  (label) => ({ metric: 'accuracy', score: (prediction) => all(isRight(prediction, label)) });

/** Accuracy of an option letter, and by the lenient reading. */
export const choiceAccuracy =
  (isRight: (prediction: string, label: Label) => boolean): MakeScoring =>
  (label) => ({
    metric: 'accuracy',
    score: (prediction) => all(isRight(prediction, label)),
    others: { 'stated-option': (prediction) => scoreStatedOption(prediction, String(label[1])) },
  });

const firstNumber = (prediction: string, label: Label): boolean => /[0-9]+/.exec(prediction)?.[0] === first(label);

const MARKS = /[\n:"'.,?!{}]/g;

/** Words between white space and the marks that the suite takes out. */
export const listWords = (prediction: string): string[] => splitWhiteSpace(prediction.replace(MARKS, ' '));

const collapse = (text: string): string => text.replace(/ {2,}/g, ' ');

/** What follows the first of the prefixes that occurs, less one character; null where none occurs, '' where nothing follows. */
export function findAfterPrefix(text: string, prefixes: readonly string[]): string | null {
  const prefix = prefixes.find((candidate) => text.includes(candidate));
  if (prefix === undefined) return null;
  const rest = text.slice(text.indexOf(prefix) + prefix.length);
  return [...rest].slice(1).join('');
}

const beginsWithAny = (text: string, label: Label): boolean => label.some((part) => text.startsWith(String(part)));

export const DEBUG_PREFIXES = ['answer is:', 'is:', 'answer:', 'correct option is:'];
/** Option letter, then the name of the function, as code_debug tries them. */
export const debugAnswers = (label: Label): Label => [label[1] as string, label[0] as string];
export const cleanDebug = (text: string): string => collapse(text.replace(/[\n`'"*-]|[Oo]ption/g, ' '));

function isRightDebug(prediction: string, label: Label): boolean {
  const text = stripWhiteSpace(prediction);
  if (text.startsWith(`${label[1]}.`) || text.startsWith(`${label[1]}:`)) return true;
  const after = findAfterPrefix(cleanDebug(text), DEBUG_PREFIXES);
  return after !== null && beginsWithAny(after, debugAnswers(label));
}

const CHOICE_PREFIXES = ['answer is:', 'answer:', 'answer is', 'option is'];

/** The first letter, else what follows "answer is" and the like, else the first word that is part of "ABCD". */
export function isRightChoice(prediction: string, label: Label): boolean {
  const text = stripWhiteSpace(prediction);
  if (text === '') return false;
  const letter = text[0] as string;
  if ('ABCD'.includes(letter)) return label.includes(letter);
  if (label.includes(text)) return true;
  const cleaned = collapse(text.replace(/[\n"'.,?!{}]/g, ' '));
  const after = findAfterPrefix(cleaned, CHOICE_PREFIXES);
  if (after !== null) return beginsWithAny(after, label);
  const word = splitWhiteSpace(cleaned).find((candidate) => 'ABCD'.includes(candidate));
  return word !== undefined && label.includes(word);
}

function isRightRun(prediction: string, label: Label): boolean {
  const words = splitWhiteSpace(stripWhiteSpace(prediction).replace(/[\n.`'":]/g, ' '));
  const said = parsePythonInteger(words.at(-1) ?? '');
  return said !== null && said === Number(label[0]);
}

function isRightFind(prediction: string, label: Label): boolean {
  const said = /\p{Nd}+\.\p{Nd}+|\p{Nd}+/u.exec(prediction)?.[0];
  return said !== undefined && Number(toAsciiDigits(said)) === Number(label[0]);
}

function isRightDialogue(prediction: string, label: Label): boolean {
  return listWords(stripWhiteSpace(prediction)).some((word) => word.toUpperCase() === first(label));
}

/** Share of the results that are right before the first wrong one; signs are not read. */
const mathCalc: MakeScoring = (label, { skipsFirstNumber = false }) => ({
  metric: 'results-before-error',
  score: (prediction) => {
    const said = (prediction.match(/[0-9]+/g) ?? []).slice(skipsFirstNumber ? 1 : 0);
    const wrong = label.findIndex(
      (result, index) => said[index] === undefined || Number(said[index]) !== Number(result),
    );
    return (100 * (wrong < 0 ? label.length : wrong)) / label.length;
  },
});

const graded =
  (metric: string, score: (prediction: string, reference: string) => number): MakeScoring =>
  (label) => ({ metric, score: (prediction) => scoreBest(label.map(String), (one) => score(prediction, one)) });

export const anyLabel = (prediction: string, label: Label): number =>
  all(label.some((name) => prediction.toUpperCase().includes(String(name).toUpperCase())));

const MEASURES: Readonly<Record<string, MakeScoring>> = {
  passkey: accuracy(firstNumber),
  number_string: accuracy(firstNumber),
  kv_retrieval: accuracy((prediction, label) => listWords(prediction).includes(first(label))),
  longbook_sum_eng: graded('rouge-lsum', scoreRougeLsum),
  longbook_qa_eng: graded('qa-f1', scoreQaF1),
  longbook_qa_chn: graded('character-f1', scoreCharacterF1),
  longbook_choice_eng: choiceAccuracy(isRightChoice),
  code_debug: choiceAccuracy(isRightDebug),
  code_run: accuracy(isRightRun),
  longdialogue_qa_eng: (label) => ({
    metric: 'accuracy',
    score: (prediction) => all(isRightDialogue(prediction, label)),
    others: { 'any-label': (prediction) => anyLabel(prediction, label) },
  }),
  math_find: accuracy(isRightFind),
  math_calc: mathCalc,
};

export const INFINITEBENCH_TASKS: readonly string[] = Object.keys(MEASURES);
/** Tasks whose label is an option's text and its letter. */
export const CHOICE_TASKS: ReadonlySet<string> = new Set(['longbook_choice_eng', 'code_debug']);

/** How the suite scores a prompt of a task. @param task one of INFINITEBENCH_TASKS. */
export function scoreInfinitebench(task: string, label: Label, options: InfinitebenchOptions = {}): Scoring {
  return (MEASURES[task] as MakeScoring)(label, options);
}

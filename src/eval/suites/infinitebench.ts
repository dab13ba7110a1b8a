// InfiniteBench: one JSONL a task, {id, context, input, answer, options}. The suite keeps its prompts in Python; ours are plain.
// Scores follow its compute_scores.py; summaries get LongBench's ROUGE-L, which differs from its stemmed ROUGE-Lsum.
import { basename } from 'node:path';
import { FormatError } from '../../errors/errors.ts';
import { scoreOption } from '../metrics/choice.ts';
import { scoreQaF1 } from '../metrics/qa-f1.ts';
import { scoreRougeL } from '../metrics/rouge-l.ts';
import { type PlacedRecord, readJsonLines, textField, textListField } from './read-records.ts';
import { type SuiteItem, scoreBest } from './suite-item.ts';

interface TaskRule {
  /** at least the suite's; number tasks allow a token a digit and a few words before */
  readonly maxNewTokens: number;
  readonly hasOptions?: true;
  readonly score: (prediction: string, references: readonly string[]) => number;
}

const wordsOf = (text: string): string[] =>
  text
    .replace(/[\n:"'.,?!{}]/g, ' ')
    .split(/\s+/)
    .filter((word) => word !== '');

const firstNumber = (text: string): string | undefined => /-?\d+(?:\.\d+)?/.exec(text)?.[0];
const digits: TaskRule['score'] = (prediction, [reference]) => (/\d+/.exec(prediction)?.[0] === reference ? 100 : 0);
const option: TaskRule['score'] = (prediction, references) => scoreOption(prediction, references[1] as string);

const RULES: Readonly<Record<string, TaskRule>> = {
  passkey: { maxNewTokens: 16, score: digits },
  number_string: { maxNewTokens: 20, score: digits },
  kv_retrieval: {
    maxNewTokens: 50,
    score: (prediction, [reference]) => (wordsOf(prediction).includes(reference as string) ? 100 : 0),
  },
  longbook_sum_eng: {
    maxNewTokens: 1200,
    score: (prediction, references) => scoreBest(references, (reference) => scoreRougeL(prediction, reference)),
  },
  longbook_qa_eng: {
    maxNewTokens: 40,
    score: (prediction, references) => scoreBest(references, (reference) => scoreQaF1(prediction, reference)),
  },
  longbook_qa_chn: {
    maxNewTokens: 40,
    score: (prediction, references) => scoreBest(references, (reference) => scoreQaF1(prediction, reference, 'zh')),
  },
  longbook_choice_eng: { maxNewTokens: 40, hasOptions: true, score: option },
  code_debug: { maxNewTokens: 16, hasOptions: true, score: option },
  longdialogue_qa_eng: {
    maxNewTokens: 40,
    score: (prediction, references) => {
      const names = references.map((reference) => reference.toUpperCase());
      return wordsOf(prediction.toUpperCase()).some((word) => names.includes(word)) ? 100 : 0;
    },
  },
  math_find: {
    maxNewTokens: 8,
    score: (prediction, [reference]) => (Number(firstNumber(prediction)) === Number(reference) ? 100 : 0),
  },
  math_calc: { maxNewTokens: 30_000, score: scoreRunningResults },
  code_run: {
    maxNewTokens: 12,
    score: (prediction, [reference]) => {
      const numbers = prediction.match(/-?\d+/g) ?? [];
      return numbers.length > 0 && Number(numbers.at(-1)) === Number(reference) ? 100 : 0;
    },
  },
};

/** Read one task's JSONL; the task is the name of the file.
 * @throws {FileError}; {FormatError} the name is no task of the suite, or a malformed line, with its number. */
export function readInfinitebench(path: string): SuiteItem[] {
  const task = basename(path).replace(/\.jsonl$/, '');
  const rule = RULES[task];
  if (rule === undefined) {
    throw new FormatError(
      `Expected ${path} to have the name of an InfiniteBench task (${Object.keys(RULES).join(', ')}), got \`${task}\`.`,
    );
  }
  return readJsonLines(path).map((placed): SuiteItem => {
    const input = textField(placed, 'input');
    const options = rule.hasOptions ? readOptions(placed) : [];
    const answers = textListField(placed, 'answer');
    const references = rule.hasOptions ? [answers[0] as string, findLetter(answers, options, placed)] : answers;
    const listed = options.map((text, index) => `${'ABCD'[index]}. ${text}`).join('\n');
    const question = [input, listed, 'Answer:'].filter((part) => part !== '').join('\n');
    return {
      task: `infinitebench/${task}`,
      place: placed.place,
      prompt: `${textField(placed, 'context')}\n\n${question}`,
      references,
      maxNewTokens: rule.maxNewTokens,
      score: (prediction) => rule.score(prediction, references),
      tooLong: 'cut-middle',
    };
  });
}

/** Share of the results that are right before the first wrong one. */
function scoreRunningResults(prediction: string, references: readonly string[]): number {
  const said = prediction.match(/-?\d+/g) ?? [];
  const wrong = references.findIndex((reference, index) => said[index] !== reference);
  return (100 * (wrong < 0 ? references.length : wrong)) / references.length;
}

function readOptions(placed: PlacedRecord): string[] {
  const options = textListField(placed, 'options');
  if (options.length === 4) return options;
  throw new FormatError(`Expected \`options\` in ${placed.place} to list 4 options, got ${options.length}.`);
}

/** The letter of the right option: given as second answer, or the place of the first among the options. */
function findLetter(answers: readonly string[], options: readonly string[], placed: PlacedRecord): string {
  const given = answers[1];
  if (given !== undefined && /^[A-D]$/.test(given)) return given;
  const letter = 'ABCD'[options.indexOf(answers[0] as string)];
  if (letter !== undefined) return letter;
  throw new FormatError(`Expected \`answer\` in ${placed.place} to be one of its options, got \`${answers[0]}\`.`);
}

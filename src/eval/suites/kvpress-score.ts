// Scores of the suites that NVIDIA's kvpress distributes, by the task a row comes from and as kvpress computes them, which is not
// always as the suite does: it cleans RULER's predictions otherwise and finds more InfiniteBench answers.

import { scoreStatedOption } from '../metrics/choice.ts';
import { stripWhiteSpace } from '../metrics/python-text.ts';
import { removeControlCharacters } from '../metrics/string-match.ts';
import {
  anyLabel,
  choiceAccuracy,
  cleanDebug,
  DEBUG_PREFIXES,
  debugAnswers,
  findAfterPrefix,
  INFINITEBENCH_TASKS,
  isRightChoice,
  type Label,
  scoreInfinitebench,
} from './infinitebench-score.ts';
import { LONGBENCH_SETS, type LongbenchOptions, scoreLongbench } from './longbench-score.ts';
import { findRulerRule, scoreRuler } from './ruler-score.ts';
import type { Scoring } from './scoring.ts';

/** Which suite a task of this name belongs to; null where duo does not score it (LooGLE, ZeroSCROLLS, AIME, …). */
export function findKvpressSuite(task: string): 'ruler' | 'longbench' | 'longbench-v2' | 'infinitebench' | null {
  if (findRulerRule(task) !== null) return 'ruler';
  if (LONGBENCH_SETS.includes(dropE(task))) return 'longbench';
  if (INFINITEBENCH_TASKS.includes(findInfinitebenchTask(task)) && task !== 'longbook_sum_eng') return 'infinitebench';
  return /^longbench-?_?v2$/i.test(task) ? 'longbench-v2' : null;
}

/** kvpress names LongBench-E's sets `qasper-e`; our files and the suite's `qasper_e`. */
export const dropE = (task: string): string => task.replace(/[-_]e$/, '');

const findInfinitebenchTask = (task: string): string => task.replace(/^(kv_retrieval)_(?:prefix|both)$/, '$1');

/** @param row.options the text of the options A to D, for multiple choice of InfiniteBench; absent where the row has none.
 * @param task one that findKvpressSuite knows. */
export function scoreKvpress(
  task: string,
  row: { answers: readonly string[]; classes: readonly string[]; options?: readonly string[] },
  options: LongbenchOptions = {},
): Scoring {
  const { answers, classes } = row;
  switch (findKvpressSuite(task)) {
    case 'ruler':
      return scoreRuler(
        findRulerRule(task) as NonNullable<ReturnType<typeof findRulerRule>>,
        answers,
        removeControlCharacters,
      );
    case 'longbench': {
      const isE = dropE(task) !== task;
      const stripFirst = isE ? {} : { stripFirst: stripWhiteSpace };
      return scoreLongbench(dropE(task), { answers, classes }, { ...options, ...stripFirst });
    }
    case 'longbench-v2': {
      const [answer = ''] = answers;
      return {
        metric: 'accuracy',
        score: (prediction) => (isWholeAnswer(prediction, answer) ? 100 : 0),
        others: { 'stated-option': (prediction) => scoreStatedOption(prediction, answer) },
      };
    }
    default:
      return scoreInfinitebenchRow(findInfinitebenchTask(task), row);
  }
}

/** The prediction is the sentence and nothing else. */
function isWholeAnswer(prediction: string, answer: string): boolean {
  const said = stripWhiteSpace(prediction.replaceAll('*', ''));
  return said === `The correct answer is (${answer})` || said === `The correct answer is ${answer}`;
}

function scoreInfinitebenchRow(
  task: string,
  row: { answers: readonly string[]; options?: readonly string[] },
): Scoring {
  const letter = row.answers[0] as string;
  const label: Label =
    row.options === undefined ? row.answers : [row.options['ABCD'.indexOf(letter)] ?? letter, letter];
  if (task === 'longbook_choice_eng') {
    const isRight = (prediction: string): boolean =>
      label.includes(findLastLetter(stripWhiteSpace(prediction), /[A-D]/) ?? '') || isRightChoice(prediction, label);
    return choiceAccuracy(isRight)(label, {});
  }
  if (task === 'code_debug') return choiceAccuracy(isRightDebug)(label, {});
  if (task === 'longdialogue_qa_eng')
    return { metric: 'accuracy', score: (prediction) => anyLabel(stripWhiteSpace(prediction), label) };
  return scoreInfinitebench(task, label);
}

/** kvpress takes the last option letter of the first line that has one, or what InfiniteBench itself finds. */
function isRightDebug(prediction: string, label: Label): boolean {
  const text = stripWhiteSpace(prediction);
  const [name, letter] = label.map(String) as [string, string];
  if (findLastLetter(text, /[A-J]/) === letter) return true;
  const cleaned = cleanDebug(text);
  if (cleaned.startsWith(letter) || cleaned.startsWith(name)) return true;
  const after = findAfterPrefix(cleaned, DEBUG_PREFIXES);
  return after !== null && debugAnswers(label).some((part) => after.startsWith(String(part)));
}

/** The first letter that is a word of its own and is followed by no other such letter in its line. */
function findLastLetter(text: string, letters: RegExp): string | null {
  for (const line of text.split('\n')) {
    const alone = new RegExp(`(?<![\\p{L}\\p{N}_])${letters.source}(?![\\p{L}\\p{N}_])`, 'gu');
    const found = line.match(alone);
    if (found !== null) return found.at(-1) as string;
  }
  return null;
}

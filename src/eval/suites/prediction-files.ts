// One line of a prediction file, of duo or of an official project, as a text and the way to score it.
import { FormatError } from '../../errors/errors.ts';
import { EVAL_TASKS } from '../tasks/task-list.ts';
import { readAnswers } from './infinitebench.ts';
import { INFINITEBENCH_TASKS, scoreInfinitebench } from './infinitebench-score.ts';
import { dropE, findKvpressSuite, scoreKvpress } from './kvpress-score.ts';
import { readClasses } from './longbench.ts';
import { LONGBENCH_SETS, type LongbenchOptions, scoreLongbench } from './longbench-score.ts';
import { scoreLongbenchV2 } from './longbench-v2-score.ts';
import { answersField, countField, type PlacedRecord, textField, textListField } from './read-records.ts';
import { findRulerTask } from './ruler.ts';
import { scoreRuler } from './ruler-score.ts';
import type { Scoring } from './scoring.ts';

/** A prediction, its task, and what groups it with others of its file. */
export interface ScoredText {
  readonly task: string;
  readonly prediction: string;
  readonly scoring: Scoring;
  /** of duo's own files */
  readonly mask?: string;
  readonly length?: number;
  readonly depth?: number;
  /** LongBench-E: words of the text, by which its results are grouped */
  readonly words?: number;
  /** LongBench v2: names of the parts of the suite that it belongs to */
  readonly parts?: readonly string[];
}

interface FileOptions extends LongbenchOptions {
  readonly path: string;
  /** of the file, with its ending */
  readonly name: string;
  /** of the folder that it lies in */
  readonly folder: string;
}

type ReadPrediction = (placed: PlacedRecord, options: FileOptions) => ScoredText;

const READERS: Readonly<Record<string, ReadPrediction>> = {
  longbench: readLongbench,
  'longbench-e': readLongbench,
  'longbench-v2': readLongbenchV2,
  infinitebench: readInfinitebench,
  ruler: readRuler,
  kvpress: readKvpress,
};

export const PREDICTION_SUITES: readonly string[] = Object.keys(READERS);

/** How a line is read: as duo's own where it has a prompt's hash, else as the suite's.
 * @throws {FormatError} no suite is named for a line that is not duo's own. */
export function findPredictionReader(placed: PlacedRecord, suite: string | undefined): ReadPrediction {
  if (typeof placed.record.promptHash === 'string') return readOwn;
  const read = suite === undefined ? undefined : READERS[suite];
  if (read === undefined) {
    throw new FormatError(
      `Expected --suite with one of ${PREDICTION_SUITES.join(', ')} for ${placed.place}: it is not a line of duo's own predictions.jsonl`,
    );
  }
  if (suite !== 'longbench-e') return read;
  return (line, options) => ({ ...read(line, options), ...countWords(line) });
}

/** duo's own line: its task names suite and set, and `record` holds what the suite's files would. */
function readOwn(placed: PlacedRecord, options: FileOptions): ScoredText {
  const named = textField(placed, 'task');
  const [suite, set] = named.includes('/') ? (named.split('/') as [string, string]) : ['', named];
  const prediction = textField(placed, 'prediction');
  const own = placed.record.record ?? { outputs: placed.record.answers };
  const record = { ...(own as Record<string, unknown>), prediction, task: set };
  const read = findOwnReader(suite || named, placed);
  const scored = read({ ...placed, record }, { ...options, name: `${set}.jsonl`, path: `${set}/${set}.jsonl` });
  const { mask, length, depth } = placed.record;
  return {
    ...scored,
    task: named,
    ...(typeof mask === 'string' ? { mask } : {}),
    ...(typeof length === 'number' ? { length } : {}),
    ...(typeof depth === 'number' ? { depth } : {}),
  };
}

function findOwnReader(suite: string, placed: PlacedRecord): ReadPrediction {
  const read = READERS[suite];
  if (read !== undefined) return read;
  const task = EVAL_TASKS.find(({ name }) => name === suite);
  if (task !== undefined) {
    return (line) => {
      const references = textListField(line, 'outputs');
      const scoring: Scoring = { metric: 'string-match', score: (text) => task.score(text, references) };
      return { task: suite, prediction: textField(line, 'prediction'), scoring };
    };
  }
  // a task of another version of duo: what it scored
  const score = placed.record.score;
  if (typeof score !== 'number') {
    throw new FormatError(`Expected \`score\` in ${placed.place} to be a number, got \`${typeof score}\`.`);
  }
  const metric = typeof placed.record.metric === 'string' ? placed.record.metric : 'kept';
  return (line) => ({
    task: suite,
    prediction: textField(line, 'prediction'),
    scoring: { metric, score: () => score, note: 'kept score: this duo has no such task' },
  });
}

/** `pred/<model>/<set>.jsonl`: {pred, answers, all_classes, length}; LongBench-E's lie in `pred_e`. */
function readLongbench(placed: PlacedRecord, options: FileOptions): ScoredText {
  const name = stem(options.name);
  const set = name.replace(/_e$/, '');
  if (!LONGBENCH_SETS.includes(set)) {
    throw new FormatError(
      `Expected ${placed.place} to be in a file with the name of a LongBench set, got \`${name}\`.`,
    );
  }
  const isE = set !== name || /(?:^|\/)pred_e\//.test(options.path);
  const answers = answersField(placed);
  return {
    task: name,
    prediction: readPrediction(placed),
    scoring: scoreLongbench(set, { answers, classes: readClasses(set, placed) }, options),
    ...(isE ? countWords(placed) : {}),
  };
}

/** Lines of `results/<model>.jsonl`: {answer, response, pred, judge, difficulty, length, …}. A response that is null is no answer;
 * where responses were not kept, `pred` is the letter that the suite found in them, or null. */
function readLongbenchV2(placed: PlacedRecord): ScoredText {
  const { response, pred, difficulty, length } = placed.record;
  const answer = textField(placed, 'answer').trim();
  const parts = [difficulty, length].filter((part): part is string => typeof part === 'string');
  const task = 'longbench-v2';
  if (response === undefined && (pred === null || (typeof pred === 'string' && /^[A-D]$/.test(pred)))) {
    const score = (letter: string): number => (letter === answer ? 100 : 0);
    return { task, prediction: String(pred), scoring: { metric: 'accuracy', score }, parts };
  }
  const prediction = response === null ? '' : typeof response === 'string' ? response : readPrediction(placed);
  return { task, prediction, scoring: scoreLongbenchV2(answer), parts };
}

/** `results/<model>/preds_<task>.jsonl`: {prediction or pred, ground_truth or label}. */
function readInfinitebench(placed: PlacedRecord, options: FileOptions): ScoredText {
  const task = INFINITEBENCH_TASKS.find((known) =>
    new RegExp(`^(?:preds?_)?${known}(?:_\\d+-\\d+)?$`).test(stem(options.name)),
  );
  if (task === undefined) {
    throw new FormatError(
      `Expected ${placed.place} to be in a file preds_<task>.jsonl with a task of InfiniteBench (${INFINITEBENCH_TASKS.join(', ')}), got \`${options.name}\`.`,
    );
  }
  const key = placed.record.ground_truth === undefined ? 'label' : 'ground_truth';
  const label = readAnswers(placed, key);
  const skipsFirstNumber = options.folder === 'gpt4';
  return {
    task,
    prediction: readPrediction(placed),
    scoring: scoreInfinitebench(task, label, { skipsFirstNumber }),
  };
}

/** `<task>.jsonl` of RULER's call_api.py: {pred, outputs, …}; a task run in parts has one file `<task>-<n>.jsonl` per part. */
function readRuler(placed: PlacedRecord, options: FileOptions): ScoredText {
  const { task, rule } = findRulerTask(joinParts(options.path));
  const references = textListField(placed, placed.record.outputs === undefined ? 'output' : 'outputs');
  return { task, prediction: readPrediction(placed), scoring: scoreRuler(rule, references) };
}

/** The file that RULER makes of a file's part: `vt.jsonl` of `vt-0.jsonl`. */
export const joinParts = (path: string): string => path.replace(/-\d+\.jsonl$/, '.jsonl');

/** Lines with kvpress's columns: {task, predicted_answer, answer or answers, all_classes, question}. */
function readKvpress(placed: PlacedRecord, options: FileOptions): ScoredText {
  const task = typeof placed.record.task === 'string' ? placed.record.task : stem(options.name);
  if (findKvpressSuite(task) === null) {
    throw new FormatError(
      `Expected ${placed.place} to come from RULER, LongBench, LongBench v2 or InfiniteBench, got task \`${task}\`; duo does not compute that task's score.`,
    );
  }
  const key = placed.record.answer === undefined ? 'answers' : 'answer';
  const isLongbench = findKvpressSuite(task) === 'longbench';
  const answers = isLongbench ? answersField(placed, key) : textListField(placed, key);
  const classes = isLongbench ? readClasses(dropE(task), placed) : [];
  const { options: kept, question } = placed.record;
  const listed =
    typeof question === 'string' ? /\nA\. (.*)\nB\. (.*)\nC\. (.*)\nD\. (.*)$/.exec(question)?.slice(1) : undefined;
  const isTexts = Array.isArray(kept) && kept.every((text) => typeof text === 'string');
  const choices = isTexts ? (kept as string[]) : listed;
  return {
    task,
    prediction: readPrediction(placed),
    scoring: scoreKvpress(task, { answers, classes, ...(choices === undefined ? {} : { options: choices }) }, options),
    ...(/[-_]e$/.test(task) ? countWords(placed) : {}),
  };
}

function readPrediction(placed: PlacedRecord): string {
  const key = ['pred', 'prediction', 'predicted_answer'].find((name) => placed.record[name] !== undefined) ?? 'pred';
  return textField(placed, key);
}

function countWords(placed: PlacedRecord): { words?: number } {
  const words = countField(placed, 'length');
  return words === null ? {} : { words };
}

const stem = (name: string): string => name.replace(/\.(?:jsonl?|csv)$/, '');

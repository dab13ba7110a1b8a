// InfiniteBench: one JSONL per task, {id, context, input, answer, options}, with the suite's own prompts where its src/prompt.py lies
// near, else with plain ones of duo's.
import { basename } from 'node:path';
import { FormatError } from '../../errors/errors.ts';
import { fillInfinitebenchPrompt, findPrompts } from './infinitebench-prompts.ts';
import { CHOICE_TASKS, INFINITEBENCH_TASKS, type Label, scoreInfinitebench } from './infinitebench-score.ts';
import { type PlacedRecord, readJsonLines, textListField } from './read-records.ts';
import type { SuiteItem } from './suite-item.ts';

/** DATA_NAME_TO_MAX_NEW_TOKENS of the suite. Numbers are cut short where a tokenizer has a token per digit: so are the suite's. */
const MAX_NEW_TOKENS: Readonly<Record<string, number>> = {
  passkey: 6,
  number_string: 12,
  kv_retrieval: 50,
  longbook_sum_eng: 1200,
  longbook_choice_eng: 40,
  longbook_qa_eng: 40,
  longbook_qa_chn: 40,
  longdialogue_qa_eng: 40,
  math_find: 3,
  math_calc: 30_000,
  code_run: 5,
  code_debug: 5,
};

/** Read one task's JSONL; the task is the name of the file.
 * @throws {FileError}; {FormatError} the name is no task of the suite, or a malformed line, with its number. */
export function readInfinitebench(path: string): SuiteItem[] {
  const task = basename(path).replace(/\.jsonl$/, '');
  if (!INFINITEBENCH_TASKS.includes(task)) {
    throw new FormatError(
      `Expected ${path} to have the name of an InfiniteBench task (${INFINITEBENCH_TASKS.join(', ')}), got \`${task}\`.`,
    );
  }
  const prompts = findPrompts(path);
  return readJsonLines(path).map((placed): SuiteItem => {
    const options = CHOICE_TASKS.has(task) ? readOptions(placed) : [];
    const answers = readAnswers(placed);
    const label: Label = CHOICE_TASKS.has(task)
      ? [answers[0] as string, findLetter(answers, options, placed)]
      : answers;
    const scoring = scoreInfinitebench(task, label);
    return {
      task: `infinitebench/${task}`,
      place: placed.place,
      prompt: fillInfinitebenchPrompt(prompts.templates[task] as string, { task, placed, options }),
      references: label.map(String),
      maxNewTokens: MAX_NEW_TOKENS[task] as number,
      scoring: prompts.note === null ? scoring : { ...scoring, note: prompts.note },
      tooLong: 'cut-joined',
      wantsChat: prompts.note !== null,
      record: { label },
    };
  });
}

/** Answers as a flat list; math_calc's are published nested in a second list. */
export function readAnswers(placed: PlacedRecord, key = 'answer'): Label {
  const value = placed.record[key];
  if (!Array.isArray(value) || !Array.isArray(value[0])) {
    const list = textListField(placed, key);
    return Array.isArray(value) ? (value as Label) : typeof value === 'number' ? [value] : list;
  }
  return textListField({ ...placed, record: { [key]: value[0] } }, key).map((text, index) =>
    typeof value[0][index] === 'number' ? (value[0][index] as number) : text,
  );
}

function readOptions(placed: PlacedRecord): string[] {
  const options = textListField(placed, 'options');
  if (options.length === 4) return options;
  throw new FormatError(`Expected \`options\` in ${placed.place} to list 4 options, got ${options.length}.`);
}

/** The letter of the right option: given as second answer, or the place of the first among the options. */
function findLetter(answers: Label, options: readonly string[], placed: PlacedRecord): string {
  const given = String(answers[1] ?? '');
  if (/^[A-D]$/.test(given)) return given;
  const letter = 'ABCD'[options.indexOf(String(answers[0]))];
  if (letter !== undefined) return letter;
  throw new FormatError(`Expected \`answer\` in ${placed.place} to be one of its options, got \`${answers[0]}\`.`);
}

// RULER's generated JSONL: {index, input, outputs, length, answer_prefix}, one file per task, in a folder of the task's name.
import { basename, dirname } from 'node:path';
import { FormatError } from '../../errors/errors.ts';
import { readJsonLines, textField, textListField } from './read-records.ts';
import { findRulerRule, type RulerRule, scoreRuler } from './ruler-score.ts';
import type { SuiteItem } from './suite-item.ts';

/** Read one file of RULER. @throws {FileError}; {FormatError} no task of RULER, or a malformed line, with its number. */
export function readRuler(path: string): SuiteItem[] {
  const { task, rule } = findRulerTask(path);
  return readJsonLines(path).map((placed): SuiteItem => {
    const references = textListField(placed, 'outputs');
    return {
      task: `ruler/${task}`,
      place: placed.place,
      prompt: textField(placed, 'input'),
      answerPrefix: placed.record.answer_prefix === undefined ? '' : textField(placed, 'answer_prefix'),
      references,
      maxNewTokens: rule.maxNewTokens,
      scoring: scoreRuler(rule, references),
      tooLong: 'refuse',
      wantsChat: true,
      record: { outputs: references },
    };
  });
}

/** The task that a file's name states, or its folder's for `validation.jsonl` and the like.
 * @throws {FormatError} neither names a task of RULER. */
export function findRulerTask(path: string): { task: string; rule: RulerRule } {
  const names = [basename(path).replace(/\.jsonl$/, ''), basename(dirname(path))];
  const task = names.find((name) => findRulerRule(name) !== null);
  if (task === undefined) {
    throw new FormatError(
      `Expected ${path} or its folder to have the name of a RULER task (niah_…, vt, cwe, fwe, qa_1, qa_2), got \`${names[0]}\` in \`${names[1]}\`.`,
    );
  }
  return { task, rule: findRulerRule(task) as RulerRule };
}

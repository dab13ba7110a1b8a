// RULER's generated JSONL: {index, input, outputs, length, answer_prefix}, one file a task, in a folder of the task's name.
import { basename, dirname } from 'node:path';
import { FormatError } from '../../errors/errors.ts';
import { scoreAllReferences, scoreAnyReference } from '../metrics/string-match.ts';
import { readJsonLines, textField, textListField } from './read-records.ts';
import type { SuiteItem } from './suite-item.ts';

/** tokens_to_generate of the suite, by the task's first word. */
const MAX_NEW_TOKENS: Readonly<Record<string, number>> = { niah: 128, vt: 30, cwe: 120, fwe: 50, qa: 32 };

/** Read one file of RULER. The task is the name of the file, or of its folder for `validation.jsonl` and the like.
 * @throws {FileError}; {FormatError} neither names a task of RULER, or a malformed line, with its number. */
export function readRuler(path: string): SuiteItem[] {
  const names = [basename(path).replace(/\.jsonl$/, ''), basename(dirname(path))];
  const task = names.find((name) => chooseRulerScoring(name) !== null);
  if (task === undefined) {
    throw new FormatError(
      `Expected ${path} or its folder to have the name of a RULER task (niah_…, vt, cwe, fwe, qa_1, qa_2), got \`${names[0]}\` in \`${names[1]}\`.`,
    );
  }
  const scoring = chooseRulerScoring(task) as RulerScoring;
  return readJsonLines(path).map((placed): SuiteItem => {
    const references = textListField(placed, 'outputs');
    const prefix = placed.record.answer_prefix === undefined ? '' : textField(placed, 'answer_prefix');
    return {
      task: `ruler/${task}`,
      place: placed.place,
      prompt: textField(placed, 'input') + prefix,
      references,
      maxNewTokens: scoring.maxNewTokens,
      score: (prediction) => scoring.score(prediction, references),
      tooLong: 'refuse',
    };
  });
}

export interface RulerScoring {
  readonly maxNewTokens: number;
  readonly score: (prediction: string, references: readonly string[]) => number;
}

/** How RULER scores a task of this name; null if it has none of that name. */
export function chooseRulerScoring(task: string): RulerScoring | null {
  const family = /^(niah|vt|cwe|fwe|qa)(?:_|$)/.exec(task)?.[1];
  if (family === undefined) return null;
  const maxNewTokens = MAX_NEW_TOKENS[family] as number;
  return { maxNewTokens, score: family === 'qa' ? scoreAnyReference : scoreAllReferences };
}

// Every task by name, in the order in which they are listed to a person.
import { ConfigError } from '../../errors/errors.ts';
import { kvRetrieval } from './kv-retrieval.ts';
import { multiPasskey } from './multi-passkey.ts';
import { needleInHaystack } from './niah.ts';
import { numberString } from './number-string.ts';
import { commonWords } from './ruler-style/cwe.ts';
import { frequentWords } from './ruler-style/fwe.ts';
import { NEEDLE_TASKS } from './ruler-style/needle-tasks.ts';
import { defineQaTask } from './ruler-style/qa.ts';
import { variableTracking } from './ruler-style/vt.ts';
import { singlePasskey } from './single-passkey.ts';
import type { EvalTask } from './task.ts';

/** The tasks in the manner of RULER's 13. */
export const RULER_STYLE_TASKS: readonly EvalTask[] = [
  ...NEEDLE_TASKS,
  variableTracking,
  commonWords,
  frequentWords,
  defineQaTask('qa_1', 'squad'),
  defineQaTask('qa_2', 'hotpotqa'),
];

export const EVAL_TASKS: readonly EvalTask[] = [
  singlePasskey,
  multiPasskey,
  needleInHaystack,
  ...RULER_STYLE_TASKS,
  kvRetrieval,
  numberString,
];

/** The tasks of these names, in that order; `ruler` means all thirteen in the manner of RULER.
 * @throws {ConfigError} an unknown name; the message lists the known ones. */
export function findTasks(names: readonly string[]): EvalTask[] {
  return names.flatMap((name) => {
    if (name === 'ruler') return [...RULER_STYLE_TASKS];
    const task = EVAL_TASKS.find((candidate) => candidate.name === name);
    if (task !== undefined) return [task];
    const known = EVAL_TASKS.map((candidate) => candidate.name).join(', ');
    throw new ConfigError(`Expected a task of ${known}, ruler or long-range, got \`${name}\``);
  });
}

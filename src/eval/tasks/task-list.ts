// Every task by name, in the order in which they are listed to a person.
import { ConfigError } from '../../errors/errors.ts';
import { kvRetrieval } from './kv-retrieval.ts';
import { multiPasskey } from './multi-passkey.ts';
import { needleInHaystack } from './niah.ts';
import { numberString } from './number-string.ts';
import { commonWords } from './ruler-style/cwe.ts';
import { frequentWords } from './ruler-style/fwe.ts';
import { niahMultikey1 } from './ruler-style/niah-multikey-1.ts';
import { niahMultikey2 } from './ruler-style/niah-multikey-2.ts';
import { niahMultikey3 } from './ruler-style/niah-multikey-3.ts';
import { niahMultiquery } from './ruler-style/niah-multiquery.ts';
import { niahMultivalue } from './ruler-style/niah-multivalue.ts';
import { niahSingle1 } from './ruler-style/niah-single-1.ts';
import { niahSingle2 } from './ruler-style/niah-single-2.ts';
import { niahSingle3 } from './ruler-style/niah-single-3.ts';
import { qa1 } from './ruler-style/qa-1.ts';
import { qa2 } from './ruler-style/qa-2.ts';
import { variableTracking } from './ruler-style/vt.ts';
import { singlePasskey } from './single-passkey.ts';
import type { EvalTask } from './task.ts';

/** The tasks in the manner of RULER's 13. */
export const RULER_STYLE_TASKS: readonly EvalTask[] = [
  niahSingle1,
  niahSingle2,
  niahSingle3,
  niahMultikey1,
  niahMultikey2,
  niahMultikey3,
  niahMultivalue,
  niahMultiquery,
  variableTracking,
  commonWords,
  frequentWords,
  qa1,
  qa2,
];

export const EVAL_TASKS: readonly EvalTask[] = [
  singlePasskey,
  multiPasskey,
  needleInHaystack,
  ...RULER_STYLE_TASKS,
  kvRetrieval,
  numberString,
];

/** The tasks of these names, in that order; `ruler` stands for all thirteen in the manner of RULER.
 * @throws {ConfigError} an unknown name; the message lists the known ones. */
export function findTasks(names: readonly string[]): EvalTask[] {
  return names.flatMap((name) => {
    if (name === 'ruler') return [...RULER_STYLE_TASKS];
    const task = EVAL_TASKS.find((candidate) => candidate.name === name);
    if (task !== undefined) return [task];
    const known = EVAL_TASKS.map((candidate) => candidate.name).join(', ');
    throw new ConfigError(`Expected a task of ${known} or ruler, got \`${name}\``);
  });
}

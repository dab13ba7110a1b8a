// What each flag of `duo eval` acts on, for flags that do so in some command lines only.

import type { Use } from '../config/idle.ts';
import { isDemoName } from '../core/package.ts';
import { LONG_RANGE_TASK } from '../eval/evaluate-long-range.ts';
import { findTasks } from '../eval/tasks/task-list.ts';
import type { MaskFlags } from './eval-masks.ts';
import { listTaskNames, type TaskFlags } from './eval-tasks.ts';

/** Kinds of suites that have sets of LongBench. */
const WITH_LONGBENCH = /^(?:longbench|kvpress):/;

/** Uses that the flags decide, without a look into the files that they name. @throws {ConfigError} a task that is none. */
export function listEvalFlagUses(flags: TaskFlags & MaskFlags): Use[] {
  const names = listTaskNames(flags);
  const tasks = findTasks(names.filter((name) => name !== LONG_RANGE_TASK));
  const suites = flags.suite ?? [];
  const hasSuites = suites.length > 0;
  const [hasTasks, hasLongRange] = [tasks.length > 0, names.includes(LONG_RANGE_TASK)];
  const isPlain = (flags.wording ?? (isDemoName(flags.model) ? 'small-vocabulary' : 'plain')) === 'plain';
  const readers = (file: string): string => `task ${tasksThatRead(file).join(' or ')}`;
  const reads = (file: string): boolean => tasks.some((task) => task.reads === file);
  const ofSessions = {
    isUsed: hasTasks || hasSuites,
    needs: `--suite or --tasks other than ${LONG_RANGE_TASK}, which run through sessions`,
  };
  const ofTasks = { isUsed: hasTasks, needs: `--tasks other than ${LONG_RANGE_TASK}` };
  const ofSuites = { isUsed: hasSuites, needs: '--suite' };
  const ofLongRange = { isUsed: hasLongRange, needs: `task ${LONG_RANGE_TASK}` };
  const ofLongbench = {
    isUsed: suites.some((spec) => WITH_LONGBENCH.test(spec)),
    needs: '--suite longbench: or kvpress:',
  };
  const cuts = { isUsed: flags.fractions !== undefined, needs: '--gates and --fractions' };
  return [
    { flag: '--lengths', isUsed: hasTasks || hasLongRange, needs: '--tasks' },
    {
      flag: '--depths',
      isUsed: tasks.some((task) => task.hasDepth),
      needs: 'a task whose needle can be moved, such as niah',
    },
    { flag: '--task-samples', isUsed: hasTasks || hasLongRange || hasSuites, needs: '--tasks or --suite' },
    { flag: '--measure', ...ofTasks },
    { flag: '--wording', ...ofTasks },
    { flag: '--haystack', ...ofTasks },
    { flag: '--essays', isUsed: reads('essays') && isPlain, needs: `${readers('essays')}, in plain wording` },
    { flag: '--squad', isUsed: reads('squad'), needs: readers('squad') },
    { flag: '--hotpotqa', isUsed: reads('hotpotqa'), needs: readers('hotpotqa') },
    { flag: '--documents', ...ofLongRange },
    { flag: '--held-out-documents', ...ofLongRange },
    { flag: '--max-length', ...ofSuites },
    { flag: '--chat', ...ofSessions },
    { flag: '--code-similarity', ...ofLongbench },
    { flag: '--answer-cut', ...ofLongbench },
    { flag: '--prefill', ...ofSessions },
    { flag: '--chunk-tokens', ...ofSessions },
    { flag: '--concurrent', ...ofSessions },
    { flag: '--kv-dtype', ...ofSessions },
    { flag: '--kv-rotation', ...ofSessions },
    { flag: '--random-masks', isUsed: /\brandom\b/.test(flags.baselines), needs: '--baselines random' },
    { flag: '--sink', ...cuts },
    { flag: '--recent', ...cuts },
  ];
}

function tasksThatRead(file: string): string[] {
  return findTasks(['ruler'])
    .filter((task) => task.reads === file)
    .map(({ name }) => name);
}

// The eight needle tasks with RULER's settings: what they hide in what, and how much of it they ask for.
import type { EvalTask } from '../task.ts';
import { defineNeedleTask, type NeedleSettings } from './needle-task.ts';

const one = { keyType: 'words', valueType: 'numbers', keys: 1, values: 1, queries: 1 } as const;

const SETTINGS: readonly NeedleSettings[] = [
  // one number in repeated noise: the easiest
  { ...one, name: 'niah_single_1', haystack: 'noise' },
  { ...one, name: 'niah_single_2', haystack: 'essays' },
  { ...one, name: 'niah_single_3', haystack: 'essays', valueType: 'uuids' },
  { ...one, name: 'niah_multikey_1', haystack: 'essays', keys: 4 },
  // nothing but other keys and their values around the one that is asked for
  { ...one, name: 'niah_multikey_2', haystack: 'needles' },
  { ...one, name: 'niah_multikey_3', haystack: 'needles', keyType: 'uuids', valueType: 'uuids' },
  { ...one, name: 'niah_multivalue', haystack: 'essays', values: 4 },
  { ...one, name: 'niah_multiquery', haystack: 'essays', keys: 4, queries: 4 },
];

export const NEEDLE_TASKS: readonly EvalTask[] = SETTINGS.map(defineNeedleTask);

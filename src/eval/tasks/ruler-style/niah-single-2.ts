// One number in essays.
import { defineNeedleTask } from './needle-task.ts';

export const niahSingle2 = defineNeedleTask({
  name: 'niah_single_2',
  haystack: 'essays',
  keyType: 'words',
  valueType: 'numbers',
  keys: 1,
  values: 1,
  queries: 1,
});

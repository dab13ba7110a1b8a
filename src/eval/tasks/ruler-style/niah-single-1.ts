// One number in repeated noise: the easiest needle.
import { defineNeedleTask } from './needle-task.ts';

export const niahSingle1 = defineNeedleTask({
  name: 'niah_single_1',
  haystack: 'noise',
  keyType: 'words',
  valueType: 'numbers',
  keys: 1,
  values: 1,
  queries: 1,
});

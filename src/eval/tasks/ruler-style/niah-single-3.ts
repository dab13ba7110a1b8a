// One UUID in essays.
import { defineNeedleTask } from './needle-task.ts';

export const niahSingle3 = defineNeedleTask({
  name: 'niah_single_3',
  haystack: 'essays',
  keyType: 'words',
  valueType: 'uuids',
  keys: 1,
  values: 1,
  queries: 1,
});

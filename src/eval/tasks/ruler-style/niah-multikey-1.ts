// Four keys in essays, one of them asked for.
import { defineNeedleTask } from './needle-task.ts';

export const niahMultikey1 = defineNeedleTask({
  name: 'niah_multikey_1',
  haystack: 'essays',
  keyType: 'words',
  valueType: 'numbers',
  keys: 4,
  values: 1,
  queries: 1,
});

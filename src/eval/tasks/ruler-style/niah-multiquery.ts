// Four keys in essays, all asked for.
import { defineNeedleTask } from './needle-task.ts';

export const niahMultiquery = defineNeedleTask({
  name: 'niah_multiquery',
  haystack: 'essays',
  keyType: 'words',
  valueType: 'numbers',
  keys: 4,
  values: 1,
  queries: 4,
});

// Four numbers of one key in essays, all asked for.
import { defineNeedleTask } from './needle-task.ts';

export const niahMultivalue = defineNeedleTask({
  name: 'niah_multivalue',
  haystack: 'essays',
  keyType: 'words',
  valueType: 'numbers',
  keys: 1,
  values: 4,
  queries: 1,
});

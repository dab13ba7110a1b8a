// One number among nothing but other keys and numbers.
import { defineNeedleTask } from './needle-task.ts';

export const niahMultikey2 = defineNeedleTask({
  name: 'niah_multikey_2',
  haystack: 'needles',
  keyType: 'words',
  valueType: 'numbers',
  keys: 1,
  values: 1,
  queries: 1,
});

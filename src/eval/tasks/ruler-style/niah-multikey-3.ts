// One UUID among nothing but other UUID keys and UUIDs.
import { defineNeedleTask } from './needle-task.ts';

export const niahMultikey3 = defineNeedleTask({
  name: 'niah_multikey_3',
  haystack: 'needles',
  keyType: 'uuids',
  valueType: 'uuids',
  keys: 1,
  values: 1,
  queries: 1,
});

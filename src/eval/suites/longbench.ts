// LongBench v1: one JSONL per dataset, with the suite's dataset2prompt.json and dataset2maxlen.json next to it or in `config/`.
// Long prompts lose their middle; the few-shot datasets and code go without a chat template.
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FormatError } from '../../errors/errors.ts';
import { readJson } from '../../formats/read-json.ts';
import { CLASSIFICATION_SETS, LONGBENCH_SETS, type LongbenchOptions, scoreLongbench } from './longbench-score.ts';
import { answersField, classesField, countField, type PlacedRecord, readJsonLines, textField } from './read-records.ts';
import type { SuiteItem } from './suite-item.ts';

/** Sets on which the suite's pred.py builds no chat. */
const WITHOUT_CHAT: ReadonlySet<string> = new Set(['trec', 'triviaqa', 'samsum', 'lsht', 'lcc', 'repobench-p']);
const MAX_SETTINGS_BYTES = 2 ** 20;

/** Read one dataset's JSONL; LongBench-E's `…_e.jsonl` keeps its `_e` in the task.
 * @throws {FileError}; {FormatError} settings absent or without this dataset, unknown dataset, malformed line with its number. */
export function readLongbench(path: string, options: LongbenchOptions = {}): SuiteItem[] {
  const name = basename(path).replace(/\.jsonl$/, '');
  const dataset = name.replace(/_e$/, '');
  if (!LONGBENCH_SETS.includes(dataset)) {
    throw new FormatError(`Expected ${path} to have the name of a LongBench dataset, got \`${dataset}\`.`);
  }
  const template = readSetting(path, 'dataset2prompt.json', dataset, 'string') as string;
  const maxNewTokens = readSetting(path, 'dataset2maxlen.json', dataset, 'number') as number;
  return readJsonLines(path).map((placed): SuiteItem => {
    const answers = answersField(placed);
    const slots: Readonly<Record<string, string>> = {
      context: textField(placed, 'context'),
      input: textField(placed, 'input'),
    };
    const length = countField(placed, 'length');
    return {
      task: `longbench/${name}`,
      place: placed.place,
      prompt: template.replace(/\{(context|input)\}/g, (_, slot: string) => slots[slot] as string),
      references: answers,
      maxNewTokens,
      scoring: scoreLongbench(dataset, { answers, classes: readClasses(dataset, placed) }, options),
      tooLong: 'cut-halves',
      wantsChat: !WITHOUT_CHAT.has(dataset),
      ...(dataset === 'samsum' ? { endsWithLine: true } : {}),
      record: { answers, all_classes: placed.record.all_classes ?? null, ...(length === null ? {} : { length }) },
      ...(length === null ? {} : { length }),
    };
  });
}

/** Class names of a record of a dataset; none where the dataset has none.
 * @throws {FormatError} none, or of another type, where the dataset is scored by them. */
export function readClasses(dataset: string, placed: PlacedRecord): string[] {
  const classes = classesField(placed);
  if (classes.length > 0 || !CLASSIFICATION_SETS.has(dataset)) return classes;
  throw new FormatError(
    `Expected \`all_classes\` in ${placed.place} to list the classes that ${dataset} is scored by, got none.`,
  );
}

function readSetting(path: string, name: string, dataset: string, type: 'string' | 'number'): unknown {
  const folder = dirname(path);
  const places = [folder, join(folder, 'config'), join(folder, '..', 'config'), join(folder, '..')];
  const found = places.map((place) => join(place, name)).find((file) => existsSync(file));
  if (found === undefined) {
    throw new FormatError(`Expected LongBench's ${name} next to ${path} or in a config folder there, found none.`);
  }
  const value = (readJson(found, MAX_SETTINGS_BYTES) as Record<string, unknown> | null)?.[dataset];
  if (typeof value === type) return value;
  throw new FormatError(`Expected \`${dataset}\` in ${found} to be a ${type}, got \`${typeof value}\`.`);
}

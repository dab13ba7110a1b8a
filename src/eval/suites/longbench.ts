// LongBench v1: one JSONL a dataset, with the suite's dataset2prompt.json and dataset2maxlen.json beside it or in `config/`.
// Long prompts lose their middle; the few-shot datasets score the first line of an answer only.
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FormatError } from '../../errors/errors.ts';
import { readJson } from '../../formats/read-json.ts';
import { scoreClassification, scoreCount, scoreRetrieval } from '../metrics/choice.ts';
import { scoreEditSimilarity } from '../metrics/edit-similarity.ts';
import { scoreQaF1 } from '../metrics/qa-f1.ts';
import { scoreRougeL } from '../metrics/rouge-l.ts';
import { type PlacedRecord, readJsonLines, textField, textListField } from './read-records.ts';
import { type SuiteItem, scoreBest } from './suite-item.ts';

type Score = (prediction: string, reference: string, classes: readonly string[]) => number;

const english: Score = (prediction, reference) => scoreQaF1(prediction, reference, 'en');
const chinese: Score = (prediction, reference) => scoreQaF1(prediction, reference, 'zh');
const summary: Score = (prediction, reference) => scoreRougeL(prediction, reference, 'en');
const chineseSummary: Score = (prediction, reference) => scoreRougeL(prediction, reference, 'zh');

/** dataset2metric of the suite. */
const SCORES: Readonly<Record<string, Score>> = {
  narrativeqa: english,
  qasper: english,
  multifieldqa_en: english,
  multifieldqa_zh: chinese,
  hotpotqa: english,
  '2wikimqa': english,
  musique: english,
  dureader: chineseSummary,
  gov_report: summary,
  qmsum: summary,
  multi_news: summary,
  vcsum: chineseSummary,
  trec: scoreClassification,
  triviaqa: english,
  samsum: summary,
  lsht: scoreClassification,
  passage_retrieval_en: scoreRetrieval,
  passage_count: scoreCount,
  passage_retrieval_zh: scoreRetrieval,
  lcc: scoreEditSimilarity,
  'repobench-p': scoreEditSimilarity,
};

const FIRST_LINE_ONLY = new Set(['trec', 'triviaqa', 'samsum', 'lsht']);
const MAX_SETTINGS_BYTES = 2 ** 20;

/** Read one dataset's JSONL (LongBench-E's `…_e.jsonl` too).
 * @throws {FileError}; {FormatError} settings absent or without this dataset, unknown dataset, malformed line with its number. */
export function readLongbench(path: string): SuiteItem[] {
  const dataset = basename(path)
    .replace(/\.jsonl$/, '')
    .replace(/_e$/, '');
  const score = SCORES[dataset];
  if (score === undefined) {
    throw new FormatError(`Expected ${path} to have the name of a LongBench dataset, got \`${dataset}\`.`);
  }
  const template = readSetting(path, 'dataset2prompt.json', dataset, 'string') as string;
  const maxNewTokens = readSetting(path, 'dataset2maxlen.json', dataset, 'number') as number;
  return readJsonLines(path).map((placed): SuiteItem => {
    const references = textListField(placed, 'answers');
    const classes = readClasses(placed);
    const slots: Readonly<Record<string, string>> = {
      context: textField(placed, 'context'),
      input: textField(placed, 'input'),
    };
    return {
      task: `longbench/${dataset}`,
      place: placed.place,
      prompt: template.replace(/\{(context|input)\}/g, (_, slot: string) => slots[slot] as string),
      references,
      maxNewTokens,
      score: (prediction) => {
        const said = FIRST_LINE_ONLY.has(dataset)
          ? (prediction.replace(/^\n+/, '').split('\n')[0] as string)
          : prediction;
        return scoreBest(references, (reference) => score(said, reference, classes));
      },
      tooLong: 'cut-middle',
    };
  });
}

function readClasses(placed: PlacedRecord): string[] {
  const value = placed.record.all_classes;
  return value === null || value === undefined ? [] : textListField(placed, 'all_classes');
}

function readSetting(path: string, name: string, dataset: string, type: 'string' | 'number'): unknown {
  const folder = dirname(path);
  const places = [folder, join(folder, 'config'), join(folder, '..', 'config'), join(folder, '..')];
  const found = places.map((place) => join(place, name)).find((file) => existsSync(file));
  if (found === undefined) {
    throw new FormatError(`Expected LongBench's ${name} beside ${path} or in a config folder there, found none.`);
  }
  const value = (readJson(found, MAX_SETTINGS_BYTES) as Record<string, unknown> | null)?.[dataset];
  if (typeof value === type) return value;
  throw new FormatError(`Expected \`${dataset}\` in ${found} to be a ${type}, got \`${typeof value}\`.`);
}

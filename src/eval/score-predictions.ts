// Scores kept predictions again, without a model: duo's own predictions.jsonl, and the files that the official projects write.
import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ConfigError, FormatError } from '../errors/errors.ts';
import { fileErrorOf } from '../formats/atomic-file.ts';
import { summariseScores } from './metrics/summarise-scores.ts';
import { readKvpressCsv } from './suites/kvpress-csv.ts';
import { averageBuckets, type LongbenchOptions } from './suites/longbench-score.ts';
import { findPredictionReader, joinParts, PREDICTION_SUITES, type ScoredText } from './suites/prediction-files.ts';
import { readJsonRecords } from './suites/read-records.ts';

/** One task of a prediction file; of duo's own files, under one mask at one length. */
export interface ScoreRow {
  /** the file that was scored; of RULER's parts the file that they make up */
  readonly file: string;
  readonly task: string;
  /** mean, 0 to 100 */
  readonly score: number;
  /** 95 % interval of the mean, 0 to 100 */
  readonly interval: [number, number];
  readonly samples: number;
  readonly metric: string;
  readonly mask?: string;
  readonly length?: number;
  readonly depth?: number;
  /** means of further scores by name */
  readonly others?: Readonly<Record<string, number>>;
  /** means over parts of the file: LongBench-E's lengths, LongBench v2's difficulties and lengths */
  readonly buckets?: Readonly<Record<string, { readonly score: number; readonly samples: number }>>;
  readonly note?: string;
}

/** Score files of predictions, or folders of them with all that lies below.
 * @param options.suite one of PREDICTION_SUITES; may be left out for duo's own files, whose tasks name theirs.
 * @throws {ConfigError} no such suite, or none named for a file that needs it; {FormatError} a malformed line, with its number,
 *   a task that no score fits, or both a file of RULER and its parts; {FileError}. */
export function scorePredictions(
  paths: string | readonly string[],
  options: LongbenchOptions & { readonly suite?: string },
): ScoreRow[] {
  const { suite } = options;
  if (suite !== undefined && !PREDICTION_SUITES.includes(suite)) {
    throw new ConfigError(`Expected --suite to be one of ${PREDICTION_SUITES.join(', ')}, got \`${suite}\``);
  }
  const files = [paths].flat().flatMap((path) => listFiles(path, suite));
  const groups = new Map<string, { readonly file: string; readonly texts: ScoredText[] }>();
  for (const path of files) {
    const file = suite === 'ruler' ? joinParts(path) : path;
    if (file !== path && files.includes(file)) {
      throw new FormatError(`Expected either ${file} or its parts, got both that and ${path}; remove one of them.`);
    }
    const records = path.endsWith('.csv') ? readKvpressCsv(path) : readJsonRecords(path);
    for (const placed of records) {
      const read = findPredictionReader(placed, suite);
      const scored = read(placed, { ...options, path, name: basename(path), folder: basename(dirname(path)) });
      const key = JSON.stringify([file, scored.task, scored.mask, scored.length, scored.depth]);
      const group = groups.get(key) ?? { file, texts: [] };
      group.texts.push(scored);
      groups.set(key, group);
    }
  }
  return [...groups.values()].map(summarise);
}

/** Where predictions lie in a folder of duo's own. */
const OWN_FILE = 'predictions.jsonl';

/** A file itself, or those of a folder and of the folders in it, by name: JSON lines, for kvpress its CSV, for LongBench v2 its JSON too.
 * A folder with predictions.jsonl is one of duo's and means that file. @throws {FileError}; {FormatError} a folder without any. */
function listFiles(path: string, suite: string | undefined): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    const found = findFiles(
      path,
      suite === 'kvpress' ? /\.(?:csv|jsonl)$/ : suite === 'longbench-v2' ? /\.jsonl?$/ : /\.jsonl$/,
    );
    if (found.length > 0) return found;
  } catch (cause) {
    throw fileErrorOf('read', path, cause);
  }
  throw new FormatError(`Expected ${path} to hold files of predictions (.jsonl; of kvpress .csv), found none.`);
}

function findFiles(folder: string, ending: RegExp): string[] {
  const entries = readdirSync(folder, { withFileTypes: true });
  if (entries.some(({ name }) => name === OWN_FILE)) return [join(folder, OWN_FILE)];
  return entries
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (statSync(path).isDirectory()) return findFiles(path, ending);
      return ending.test(entry.name) ? [path] : [];
    });
}

function summarise({ file, texts }: { readonly file: string; readonly texts: readonly ScoredText[] }): ScoreRow {
  const [first] = texts as [ScoredText];
  const scores = texts.map(({ scoring, prediction }) => scoring.score(prediction));
  if (scores.some((score) => !Number.isFinite(score))) {
    throw new FormatError(
      `Expected every prediction of \`${first.task}\` to have a score, got one that is not a number`,
    );
  }
  const { mean, interval } = summariseScores(scores);
  const others = Object.keys(first.scoring.others ?? {}).map((name) => {
    const own = texts.map(({ scoring, prediction }) => scoring.others?.[name]?.(prediction) ?? 0);
    return [name, own.reduce((sum, score) => sum + score, 0) / own.length] as const;
  });
  const buckets = makeBuckets(texts, scores);
  return {
    file,
    task: first.task,
    score: 100 * mean,
    interval: [100 * interval[0], 100 * interval[1]],
    samples: texts.length,
    metric: first.scoring.metric,
    ...(first.mask === undefined ? {} : { mask: first.mask }),
    ...(first.length === undefined ? {} : { length: first.length }),
    ...(first.depth === undefined ? {} : { depth: first.depth }),
    ...(others.length === 0 ? {} : { others: Object.fromEntries(others) }),
    ...(buckets === null ? {} : { buckets }),
    ...(first.scoring.note === undefined ? {} : { note: first.scoring.note }),
  };
}

function makeBuckets(texts: readonly ScoredText[], scores: readonly number[]): NonNullable<ScoreRow['buckets']> | null {
  const words = texts.map(({ words }) => words);
  if (words.every((count) => count !== undefined)) return averageBuckets(scores, words as number[]);
  const parts = new Map<string, number[]>();
  for (const [index, text] of texts.entries()) {
    for (const part of text.parts ?? []) parts.set(part, [...(parts.get(part) ?? []), scores[index] as number]);
  }
  if (parts.size === 0) return null;
  return Object.fromEntries(
    [...parts].map(([part, own]) => [
      part,
      { score: own.reduce((sum, score) => sum + score, 0) / own.length, samples: own.length },
    ]),
  );
}

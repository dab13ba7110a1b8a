// Scores kept predictions again, without a model: duo's own predictions.jsonl, and the files that the official projects write.
import { basename, dirname } from 'node:path';
import { ConfigError, FormatError } from '../errors/errors.ts';
import { summariseScores } from './metrics/summarise-scores.ts';
import { averageBuckets, type LongbenchOptions } from './suites/longbench-score.ts';
import { findPredictionReader, PREDICTION_SUITES, type ScoredText } from './suites/prediction-files.ts';
import { readJsonRecords } from './suites/read-records.ts';

/** One task of a prediction file; of duo's own files, under one mask at one length. */
export interface ScoreRow {
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

/** Score a file of predictions.
 * @param options.suite one of PREDICTION_SUITES; may be left out for duo's own files, whose tasks name theirs.
 * @throws {ConfigError} no such suite, or none named for a file that needs it; {FormatError} a malformed line, with its number,
 *   or a task that no score fits; {FileError}. */
export function scorePredictions(path: string, options: LongbenchOptions & { readonly suite?: string }): ScoreRow[] {
  const { suite } = options;
  if (suite !== undefined && !PREDICTION_SUITES.includes(suite)) {
    throw new ConfigError(`Expected --suite to be one of ${PREDICTION_SUITES.join(', ')}, got \`${suite}\``);
  }
  const records = readJsonRecords(path);
  const groups = new Map<string, ScoredText[]>();
  for (const placed of records) {
    const read = findPredictionReader(placed, suite);
    const scored = read(placed, { ...options, path, name: basename(path), folder: basename(dirname(path)) });
    const key = JSON.stringify([scored.task, scored.mask, scored.length, scored.depth]);
    groups.set(key, [...(groups.get(key) ?? []), scored]);
  }
  return [...groups.values()].map(summarise);
}

function summarise(texts: readonly ScoredText[]): ScoreRow {
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

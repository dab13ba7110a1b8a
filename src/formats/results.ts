// results.json: the rows of an evaluation, one per task, length and mask, with what each cost; and the same rows as CSV.
import { z } from 'zod';
import { stableJson, writeFileAtomic } from './atomic-file.ts';
import { checkJson, exactly, finiteNumber, integerWithin, readJson, unitNumber } from './read-json.ts';

/** Rows of a wide sweep stay far below it. */
const MAX_FILE_BYTES = 256 * 2 ** 20;

const interval = z.tuple([finiteNumber, finiteNumber]);
const count = integerWithin(0, Number.MAX_SAFE_INTEGER);

/** One row: what one mask scored on one task at one length. */
export const evalRowSchema = z.looseObject({
  /** task name, or `samples` */
  task: z.string().min(1),
  /** `full`, `given`, `streaming`, `random-0`, … or a name of the caller's */
  mask: z.string().min(1),
  /** what made the mask, at which budget, and which draw it is (row-origin.ts, which reads files of an older duo that lack them) */
  method: z.string().min(1).optional(),
  fraction: unitNumber.nullable().optional(),
  kvShare: unitNumber.nullable().optional(),
  draw: count.nullable().optional(),
  /** sha256 of the mask (mask-hash.ts), null for full attention; absent in files of an older duo */
  maskHash: z.string().nullable().optional(),
  /** tokens asked for; null where the samples have lengths of their own */
  length: integerWithin(1, Number.MAX_SAFE_INTEGER).nullable(),
  /** depth of the needle, 0 to 1, in a length × depth grid */
  depth: unitNumber.nullable(),
  samples: count,
  /** how `accuracy` was found: answer tokens predicted from the true prefix, or the task's score of a generated text */
  measure: z.enum(['teacher-forced', 'generated']),
  /** teacher-forced: share of answer tokens whose greedy prediction is right; generated: mean score over 100 */
  accuracy: unitNumber,
  /** 95 % interval of `accuracy` (Wilson, over samples) */
  accuracyInterval: interval,
  /** mean natural-log probability of the answer tokens; null where texts were generated */
  logProb: finiteNumber.nullable(),
  /** 95 % interval of `logProb` (bootstrap over samples) */
  logProbInterval: interval.nullable(),
  answerTokens: count.nullable(),
  /** generated texts: name of the score behind `accuracy` */
  metric: z.string().optional(),
  /** means of further scores, 0 to 1, by name: more lenient readings, which no table of a suite has */
  others: z.record(z.string(), unitNumber).optional(),
  /** share of KV heads that stream */
  streamingFraction: unitNumber,
  /** cached keys and values of the longest run, bytes */
  kvBytes: count,
  /** the same with every head full */
  fullKvBytes: count,
  kvDtype: z.enum(['f32', 'bf16', 'int8', 'fp8', 'k8v4', 'int4']),
  /** whether quantised keys and values were rotated before they were rounded; null: not quantised; absent in files of an older duo: they were not */
  kvRotation: z.boolean().nullable().optional(),
  /** attended entries over all tokens, as a share of full attention's (PruLong) */
  footprint: unitNumber,
  /** most entries alive at once, as a share of full attention's */
  peakFootprint: unitNumber,
  prefill: z.enum(['exact', 'chunked']),
  /** wall-clock seconds of the row */
  seconds: finiteNumber,
  /** why `accuracy` cannot be compared with published values */
  note: z.string().optional(),
  /** task `long-range`: kept gain, null where `note` says why, with its 95 % interval, and mean losses over all tokens */
  keptGain: finiteNumber.nullable().optional(),
  keptGainInterval: interval.nullable().optional(),
  loss: finiteNumber.optional(),
  fullLoss: finiteNumber.optional(),
  /** LongBench-E: mean score (0 to 100) by length of the text */
  buckets: z.record(z.string(), z.object({ score: finiteNumber, samples: count })).optional(),
});

/** A row that could not be computed, and why. */
export const failedRowSchema = z.looseObject({
  task: z.string().min(1),
  mask: z.string().min(1),
  length: integerWithin(1, Number.MAX_SAFE_INTEGER).nullable(),
  depth: unitNumber.nullable(),
  /** one sentence */
  error: z.string().min(1),
});

export type FailedRow = z.infer<typeof failedRowSchema>;

export type EvalRow = z.infer<typeof evalRowSchema>;

export const resultsSchema = z.looseObject({
  schema: exactly('duo.results'),
  version: exactly(1),
  rows: z.array(evalRowSchema),
});

/** What results.json holds, rows that failed apart. */
export interface Results extends z.infer<typeof resultsSchema> {
  readonly failed: FailedRow[];
}

const isFailed = (row: unknown): boolean => typeof (row as { error?: unknown } | null)?.error === 'string';

/** Columns of the CSV, in order; an interval takes two columns. */
const COLUMNS = [
  'task',
  'mask',
  'length',
  'depth',
  'samples',
  'measure',
  'accuracy',
  'accuracyInterval',
  'logProb',
  'logProbInterval',
  'answerTokens',
  'streamingFraction',
  'kvBytes',
  'fullKvBytes',
  'kvDtype',
  'kvRotation',
  'footprint',
  'peakFootprint',
  'prefill',
  'seconds',
  'keptGain',
  'keptGainInterval',
  'loss',
  'fullLoss',
  'metric',
  'note',
  'error',
] as const;

/** Write rows, with any further fields, as results.json.
 * @throws {FileError} disk full, read-only, no such folder. */
export function writeResults(
  path: string,
  rows: readonly (EvalRow | FailedRow)[],
  fields: Record<string, unknown> = {},
): void {
  writeFileAtomic(path, stableJson({ schema: 'duo.results', version: 1, ...fields, rows }));
}

/** Read and check results.json.
 * @throws {FileError} absent or unreadable; {FormatError} too large, not JSON, or not of this form, with the first wrong place. */
export function readResults(path: string): Results {
  const value = readJson(path, MAX_FILE_BYTES);
  const all = (value as { rows?: unknown } | null)?.rows;
  if (!Array.isArray(all) || !all.some(isFailed)) return { ...checkJson(resultsSchema, { value, path }), failed: [] };
  const rows = all.filter((row) => !isFailed(row));
  const failed = all.filter(isFailed).map((row) => checkJson(failedRowSchema, { value: row, path }));
  return { ...checkJson(resultsSchema, { value: { ...(value as object), rows }, path }), failed };
}

/** Rows as CSV (RFC 4180, LF): a header, a line per row, null as an empty field. */
export function formatRowsCsv(rows: readonly (EvalRow | FailedRow)[]): string {
  const header = COLUMNS.flatMap((column) =>
    column.endsWith('Interval') ? [`${column}Low`, `${column}High`] : [column],
  );
  const lines = rows.map((row) =>
    COLUMNS.flatMap((column) => {
      const value = (row as Record<string, unknown>)[column] ?? null;
      if (column.endsWith('Interval')) return (value as [number, number] | null) ?? [null, null];
      return [value as string | number | null];
    })
      .map(formatField)
      .join(','),
  );
  return `${[header.join(','), ...lines].join('\n')}\n`;
}

function formatField(value: string | number | null): string {
  const text = value === null ? '' : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

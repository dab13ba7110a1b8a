// Everything a run folder holds, read and checked once: what identify, eval and bench left there. Files that are absent are null.
import { existsSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { toMaskGrid } from '../core/head-mask.ts';
import { SAVING_LENGTHS } from '../core/kv-cost.ts';
import { streamingFractionOf } from '../core/masks.ts';
import { isDemoName } from '../core/package.ts';
import { FileError, FormatError } from '../errors/errors.ts';
import { type BenchFile, readBench } from '../formats/bench.ts';
import { type Comparison, readComparison } from '../formats/comparison.ts';
import { type GatesFile, type ModelTag, readGates } from '../formats/gates.ts';
import { type MaskFile, readMask, toHeadMask } from '../formats/mask.ts';
import { hashMask } from '../formats/mask-hash.ts';
import { type MetricsLine, readMetrics } from '../formats/metrics.ts';
import { type KeptPrediction, readPredictions } from '../formats/predictions.ts';
import { checkJson } from '../formats/read-json.ts';
import { type EvalRow, evalRowSchema, type Results, readResults } from '../formats/results.ts';
import { type RunFile, readRun } from '../formats/run.ts';
import { isOfAnotherMask, labelResults } from './own-mask.ts';

const toldSchema = z.looseObject({
  savings: z
    .array(z.looseObject({ tokens: z.number().min(1) }))
    .min(1)
    .optional(),
  warnings: z.array(z.string()).optional(),
});
const closingSchema = z.looseObject({
  results: z.looseObject({
    heldOut: z.array(evalRowSchema).optional(),
    keptGain: z.array(evalRowSchema).optional(),
  }),
});

export interface RunData {
  /** absolute path of the folder */
  readonly path: string;
  /** the folder's own name */
  readonly name: string;
  /** the model's folder as run.json names it, to be filled into commands; a placeholder where there is no run.json */
  readonly model: string;
  /** files that were measured with another mask than the run's: labelled, or left out */
  readonly ofAnotherMask: readonly string[];
  readonly run: RunFile | null;
  readonly gates: GatesFile | null;
  readonly mask: MaskFile | null;
  /** one line per step, empty without metrics.jsonl */
  readonly metrics: readonly MetricsLine[];
  /** lengths at which savings are reported: those that identify reported, all within the model's longest text */
  readonly savingTokens: readonly number[];
  /** what identify warned of, as sentences without a full stop */
  readonly warnings: readonly string[];
  /** rows of identify's closing table */
  readonly heldOut: readonly EvalRow[];
  /** kept gain of the same masks on held-out documents; empty where identify had none */
  readonly keptGain: readonly EvalRow[];
  /** what `duo eval --out` wrote */
  readonly results: Results | null;
  /** texts that `duo eval --out` kept */
  readonly predictions?: readonly KeptPrediction[];
  /** what `duo bench --json` printed, kept as bench.json */
  readonly bench: BenchFile | null;
  /** what scripts/compare-methods.ts wrote, kept as comparison.json */
  readonly comparison: Comparison | null;
}

/** Read a run folder.
 * @throws {FileError} no such folder, or unreadable; {FormatError} nothing of a run in it, a malformed file (named, with the
 *   place), or files of different models. */
export function readRunFolder(folder: string): RunData {
  const path = resolve(folder);
  if (!existsSync(path) || !statSync(path).isDirectory()) {
    throw new FileError(
      `Expected a run folder at ${path}, found ${existsSync(path) ? 'a file' : 'nothing there'}; name the folder that identify wrote.`,
    );
  }
  const read = <T>(name: string, reader: (file: string) => T): T | null => {
    const file = join(path, name);
    return existsSync(file) ? reader(file) : null;
  };
  const run = read('run.json', readRun);
  const mask = read('mask.json', readMask);
  const own = mask === null ? null : describeMask(mask);
  const found = read('results.json', readResults);
  const labelled = found === null ? null : labelResults(found, own);
  const bench = read('bench.json', readBench);
  const comparison = read('comparison.json', readComparison);
  const isOtherBench = isOfAnotherMask(bench?.maskHash, own?.hash ?? null);
  const isOtherComparison = isOfAnotherMask(comparison?.maskHash, own?.hash ?? null);
  const data: RunData = {
    path,
    name: basename(path),
    model: nameModel(run),
    ofAnotherMask: [
      ...(labelled?.isOther ? ['results.json'] : []),
      ...(isOtherBench ? ['bench.json'] : []),
      ...(isOtherComparison ? ['comparison.json'] : []),
    ],
    run,
    gates: read('gates.json', readGates),
    mask,
    metrics: read('metrics.jsonl', readMetrics) ?? [],
    ...readClosing(run, join(path, 'run.json')),
    ...readTold(run),
    results: labelled?.results ?? null,
    // texts under another mask would be shown next to the run's own
    predictions: labelled?.isOther ? [] : (read('predictions.jsonl', readPredictions) ?? []),
    bench: isOtherBench ? null : bench,
    comparison: isOtherComparison ? null : comparison,
  };
  if (!data.run && !data.gates && !data.mask && !data.results && data.metrics.length === 0) {
    throw new FormatError(
      `Expected ${path} to hold run.json, gates.json, mask.json, metrics.jsonl or results.json, found none; name the folder that identify wrote.`,
    );
  }
  checkAgreement(data);
  return data;
}

/** The model as commands name it: tasks of the demo have words of their own. */
function nameModel(run: RunFile | null): string {
  const path = run?.inputs.model;
  if (typeof path !== 'string') return '<model folder>';
  return isDemoName(path) ? 'demo' : path;
}

/** The model the run's heads belong to; null where neither gates nor mask are there. */
export function modelOfRun(data: RunData): ModelTag | null {
  return data.mask?.model ?? data.gates?.model ?? null;
}

function describeMask(file: MaskFile): { hash: string; streamingFraction: number } {
  const mask = toHeadMask(file);
  return { hash: hashMask(mask) as string, streamingFraction: streamingFractionOf(toMaskGrid(mask)) };
}

/** What identify reported about its mask; records of an older duo have less. */
function readTold(run: RunFile | null): Pick<RunData, 'savingTokens' | 'warnings'> {
  const { savings, warnings } = toldSchema.safeParse(run?.results).data ?? {};
  return { savingTokens: savings?.map(({ tokens }) => tokens) ?? SAVING_LENGTHS, warnings: warnings ?? [] };
}

function readClosing(run: RunFile | null, path: string): Pick<RunData, 'heldOut' | 'keptGain'> {
  const results = run?.results;
  if (typeof results !== 'object' || results === null) return { heldOut: [], keptGain: [] };
  const { heldOut = [], keptGain = [] } = checkJson(closingSchema, { value: run, path }).results;
  return { heldOut, keptGain };
}

/** One page shows figures of one model only. */
function checkAgreement({ path, gates, mask, metrics, comparison }: RunData): void {
  const model = mask?.model ?? gates?.model;
  if (!model) return;
  if (gates && mask) {
    for (const key of ['architecture', 'layers', 'heads', 'kvHeads', 'headDim', 'fingerprint'] as const) {
      if (gates.model[key] === mask.model[key]) continue;
      throw new FormatError(
        `Expected \`model.${key}\` in ${join(path, 'mask.json')} to be that of gates.json, \`${gates.model[key]}\`, got \`${mask.model[key]}\`; the two belong to different models.`,
      );
    }
  }
  if (comparison) {
    for (const key of ['architecture', 'layers', 'heads', 'kvHeads', 'headDim'] as const) {
      if (comparison.shape[key] === model[key]) continue;
      throw new FormatError(
        `Expected \`shape.${key}\` in ${join(path, 'comparison.json')} to be that of the run's model, \`${model[key]}\`, got \`${comparison.shape[key]}\`; compare the methods on the run's own model.`,
      );
    }
  }
  metrics.forEach((line, index) => {
    if (!line.gates) return;
    const rows = line.gates;
    if (rows.length === model.layers && rows.every((row) => row.length === model.kvHeads)) return;
    throw new FormatError(
      `Expected \`gates\` in line ${index + 1} of ${join(path, 'metrics.jsonl')} to be ${model.layers} × ${model.kvHeads}, got \`${rows.length} × ${rows[0]?.length ?? 0}\`.`,
    );
  });
}

// The files of a sweep's cells: `cells/<name>.json` holds inputs and row of a finished one, `predictions/<name>.jsonl` the texts
// that it generated, written first, and `cells/<name>.claim` the process
// that is at work on one. A claim only saves work; results do not depend on it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Claims } from '../core/claims.ts';
import { fileErrorOf, makeFolder, stableJson, writeFileAtomic } from '../formats/atomic-file.ts';
import { type Prediction, predictionSchema, writePredictions } from '../formats/predictions.ts';
import { checkJson, exactly, readJson, readTextWithin } from '../formats/read-json.ts';
import { type EvalRow, evalRowSchema } from '../formats/results.ts';

const MAX_CELL_BYTES = 64 * 2 ** 20;

const cellSchema = z.looseObject({
  schema: exactly('duo.eval-cell'),
  version: exactly(1),
  inputs: z.unknown(),
  row: evalRowSchema,
});

const cellPath = (folder: string, name: string): string => join(folder, 'cells', `${name}.json`);
const claimPath = (folder: string, name: string): string => join(folder, 'cells', `${name}.claim`);

const predictionsPath = (folder: string, name: string): string => join(folder, 'predictions', `${name}.jsonl`);

/** The texts that a finished cell generated; none where its answers were fed. @throws {FormatError}; {FileError}. */
export function readCellPredictions(folder: string, name: string): Prediction[] {
  const path = predictionsPath(folder, name);
  if (!existsSync(path)) return [];
  const lines = readTextWithin(path, MAX_CELL_BYTES)
    .split('\n')
    .filter((line) => line !== '');
  return lines.map((line) => checkJson(predictionSchema, { value: JSON.parse(line), path }));
}

/** Row of a finished cell, null where there is none. @throws {FormatError} the file is not a cell; {FileError}. */
export function readCell(folder: string, name: string): EvalRow | null {
  const path = cellPath(folder, name);
  if (!existsSync(path)) return null;
  return checkJson(cellSchema, { value: readJson(path, MAX_CELL_BYTES), path }).row as EvalRow;
}

/** Write a finished cell, whole or not at all. @throws {FileError}. */
export function writeCell(
  folder: string,
  name: string,
  cell: { readonly inputs: unknown; readonly row: EvalRow; readonly predictions: readonly Prediction[] },
): void {
  const { predictions, ...rest } = cell;
  makeFolder(join(folder, 'cells'));
  if (predictions.length > 0) {
    makeFolder(join(folder, 'predictions'));
    writePredictions(predictionsPath(folder, name), predictions);
  }
  writeFileAtomic(cellPath(folder, name), stableJson({ schema: 'duo.eval-cell', version: 1, ...rest }));
}

/** Claim a cell for this process. A claim whose process is gone is taken over (src/core/claims.ts).
 * @returns false where another process is at work on it. @throws {FileError}. */
export function claimCell(folder: string, name: string, claims: Claims): boolean {
  makeFolder(join(folder, 'cells'));
  const path = claimPath(folder, name);
  try {
    return claims.take(path);
  } catch (cause) {
    throw fileErrorOf('write', path, cause);
  }
}

/** Give up this process's claim; the claim of another process stays. */
export function releaseCell(folder: string, name: string, claims: Claims): void {
  claims.release(claimPath(folder, name));
}

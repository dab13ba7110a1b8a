// The files of a sweep's cells: `cells/<name>.json` holds inputs and row of a finished one, `predictions/<name>.jsonl` the texts
// that it generated, written first, and `cells/<name>.claim` the process
// that is at work on one. A claim only saves work; results do not depend on it.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { isRunning } from '../core/process-life.ts';
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

/** Claim a cell for this process. A claim of a process of this machine that no longer runs is taken over.
 * @returns false where another process is at work on it. @throws {FileError}. */
export function claimCell(folder: string, name: string): boolean {
  makeFolder(join(folder, 'cells'));
  const path = claimPath(folder, name);
  if (existsSync(path) && isLive(path)) return false;
  rmSync(path, { force: true });
  try {
    writeFileSync(path, JSON.stringify({ host: hostname(), pid: process.pid }), { flag: 'wx' });
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw fileErrorOf('write', path, cause);
  }
}

/** Give up this process's claim; another's stays. */
export function releaseCell(folder: string, name: string): void {
  const path = claimPath(folder, name);
  const owner = readClaim(path);
  if (owner?.host === hostname() && owner.pid === process.pid) rmSync(path, { force: true });
}

function isLive(path: string): boolean {
  const owner = readClaim(path);
  if (owner === null) return false;
  if (owner.host !== hostname()) return true;
  return isRunning(owner.pid);
}

/** null for a claim that is gone or was cut short by a crash. */
function readClaim(path: string): { readonly host: string; readonly pid: number } | null {
  try {
    const { host, pid } = JSON.parse(readFileSync(path, 'utf8')) as { host?: unknown; pid?: unknown };
    return typeof host === 'string' && Number.isInteger(pid) ? { host, pid: pid as number } : null;
  } catch {
    return null;
  }
}

// Tasks × lengths × depths × masks. Each cell is a file named by the hash of everything that decides it, written whole or not
// at all: a stopped sweep resumes where it was, a repeated one costs nothing, and two in one folder share their cells.

import { createHash } from 'node:crypto';
import { Claims } from '../core/claims.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError, DuoError } from '../errors/errors.ts';
import type { Prediction } from '../formats/predictions.ts';
import type { EvalRow, FailedRow } from '../formats/results.ts';
import { nameRow } from '../formats/row-origin.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import type { NamedMask } from './baselines.ts';
import { evaluateTask, type RunSettings } from './evaluate-task.ts';
import { countCellBytes } from './sweep-bytes.ts';
import { claimCell, readCell, readCellPredictions, releaseCell, writeCell } from './sweep-cells.ts';
import type { TaskSample } from './tasks/task.ts';

/** Part of every cell's name; raised when a task, a score or the way of running changes its numbers. */
const CELLS_VERSION = 2;
/** How often a sweep looks for a cell that another is at work on. */
const POLL_MS = 200;
/** Prompts kept between the check of all groups and their cells, in tokens of their longest: 16 million numbers. Others are built again. */
const MAX_KEPT_TOKENS = 2 ** 24;

/** The prompts of one task at one length and depth; built only when a cell of them is missing. */
export interface SweepGroup {
  readonly task: string;
  /** tokens; null where a suite's prompts have lengths of their own */
  readonly length: number | null;
  readonly depth?: number;
  readonly measure: EvalRow['measure'];
  /** everything that decides the prompts, by value or hash: seed, count, wording, files, haystack, tokenizer */
  readonly identity: unknown;
  /** rough size of the group's work and memory: samples, and tokens of the longest */
  readonly numSamples: number;
  readonly mostTokens: number;
  readonly build: () => readonly TaskSample[] | Promise<readonly TaskSample[]>;
}

export interface SweepProgress {
  readonly done: number;
  readonly total: number;
  /** cells found finished */
  readonly reused: number;
  /** by the work of the cells done so far; null before the first */
  readonly secondsLeft: number | null;
}

/** Run every group under every mask.
 * @param options.folder where cells are kept; null keeps none.
 * @param options.model fingerprint of the model, part of each cell's name.
 * @param options.concurrent cells that run at once, default 1.  @param options.memoryBytes bound on the KV caches of cells that run
 *   at once (one alone may pass it), default unbounded.
 * @returns a row per cell: groups in order, masks in order within each, whichever ran first.
 * @param options.onUnbuilt called with each group whose prompts cannot be built, all of them before the first cell is computed.
 * @param options.onFailed called with each cell that cannot be computed, while the others continue; without it the first one ends the sweep.
 * @param options.onPredictions called with each cell's generated texts, kept ones included, in the order of the rows.
 * @param options.onStopped given the rows that are finished, where the sweep ends before its last one.
 * @throws {AbortedError}, {DuoError} of the first cell that fails, without `onFailed`; finished cells stay. */
export async function runSweep(options: {
  readonly engine: Engine;
  readonly model: string;
  readonly tokenizer: Tokenizer;
  readonly stopTokens: readonly number[];
  readonly groups: readonly SweepGroup[];
  readonly masks: readonly NamedMask[];
  readonly settings?: RunSettings;
  readonly folder: string | null;
  readonly concurrent?: number;
  readonly memoryBytes?: number;
  /** default: those of src/core/claims.ts; others are for tests */
  readonly claims?: Claims;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: SweepProgress) => void;
  readonly onUnbuilt?: (group: SweepGroup, error: DuoError) => void;
  readonly onFailed?: (row: FailedRow) => void;
  readonly onPredictions?: (row: EvalRow, predictions: readonly Prediction[]) => void;
  readonly onStopped?: (rows: EvalRow[]) => void;
}): Promise<EvalRow[]> {
  const { groups, masks, folder, signal, concurrent = 1, memoryBytes = Number.POSITIVE_INFINITY } = options;
  const cells = groups.flatMap((group) => masks.map((mask) => makeCell(options, group, mask)));
  const rows = new Map<Cell, EvalRow>();
  const predictions = new Map<Cell, readonly Prediction[]>();
  const reasons = new Map<Cell, string>();
  for (const cell of cells) {
    const row = folder === null ? null : readCell(folder, cell.name);
    if (row !== null) rows.set(cell, row);
  }
  const missing = cells.filter((cell) => !rows.has(cell));
  const prompts = new PromptStore(missing);
  const unbuilt = await prompts.check(options);
  for (const cell of missing) {
    const error = unbuilt.get(cell.group);
    if (error !== undefined) reasons.set(cell, error.message);
  }
  const claims = options.claims ?? new Claims();
  const later: Cell[] = [];
  const queue = missing.filter((cell) => !reasons.has(cell));
  const meter = makeMeter({ missing: [...queue], reused: rows.size, report: options.onProgress });
  const running = new Map<Cell, Promise<void>>();
  let failure: unknown = null;

  const run = async (cell: Cell): Promise<void> => {
    const finished = folder === null ? null : readCell(folder, cell.name);
    const made: Prediction[] = [];
    const row = finished ?? (await computeCell(options, cell, { prompts, onPrediction: (one) => made.push(one) }));
    if (folder !== null && finished === null)
      writeCell(folder, cell.name, { inputs: cell.inputs, row, predictions: made });
    if (folder === null) predictions.set(cell, made);
    rows.set(cell, row);
    meter.finish(cell);
  };
  const start = (cell: Cell): void => {
    const work = run(cell)
      .catch((error: unknown) => {
        const isTold = options.onFailed !== undefined && error instanceof DuoError && !(error instanceof AbortedError);
        if (!isTold) failure ??= error;
        else {
          reasons.set(cell, error.message);
          meter.finish(cell);
        }
      })
      .finally(() => {
        if (folder !== null) releaseCell(folder, cell.name, claims);
        prompts.release(cell);
        running.delete(cell);
      });
    running.set(cell, work);
  };

  while (failure === null && (queue.length > 0 || later.length > 0 || running.size > 0)) {
    if (signal?.aborted) break;
    const cell = queue[0] ?? later[0];
    const held = [...running.keys()].reduce((sum, other) => sum + other.kvBytes, 0);
    const hasRoom = running.size < concurrent && (running.size === 0 || held + (cell?.kvBytes ?? 0) <= memoryBytes);
    if (cell === undefined || !hasRoom) {
      await Promise.race(running.values());
      continue;
    }
    const isLeft = queue.length === 0;
    if (isLeft) later.shift();
    else queue.shift();
    // another sweep is at this cell: come back after the others, and take it when it is finished or its process is gone
    if (folder === null || readCell(folder, cell.name) !== null || claimCell(folder, cell.name, claims)) start(cell);
    else {
      later.push(cell);
      if (isLeft) await Promise.race([...running.values(), new Promise((resolve) => setTimeout(resolve, POLL_MS))]);
    }
  }
  await Promise.all(running.values());
  const listRows = (): EvalRow[] =>
    cells.flatMap((cell): EvalRow[] => {
      const found = rows.get(cell);
      if (found === undefined) {
        const { task, length, depth = null } = cell.group;
        const error = reasons.get(cell);
        if (error !== undefined) options.onFailed?.({ task, mask: cell.mask.name, length, depth, error });
        return [];
      }
      const row = { ...found, ...nameRow(cell.mask) };
      if (options.onPredictions !== undefined) {
        options.onPredictions(
          row,
          folder === null ? (predictions.get(cell) ?? []) : readCellPredictions(folder, cell.name),
        );
      }
      return [row];
    });
  if (failure !== null || signal?.aborted) {
    options.onStopped?.(listRows());
    throw (
      failure ??
      new AbortedError('The sweep was stopped before its last cell; the same command with --out continues it.')
    );
  }
  return listRows();
}

interface Cell {
  readonly group: SweepGroup;
  readonly mask: NamedMask;
  readonly inputs: unknown;
  readonly name: string;
  readonly kvBytes: number;
  /** share of the sweep's work, in tokens */
  readonly work: number;
}

function makeCell(
  options: { readonly engine: Engine; readonly model: string; readonly settings?: RunSettings },
  group: SweepGroup,
  mask: NamedMask,
): Cell {
  const { engine, settings = {} } = options;
  const { task, length, depth = null, measure, identity } = group;
  const place = { engine: engine.name, device: engine.device, model: options.model };
  const inputs = {
    version: CELLS_VERSION,
    ...place,
    task,
    length,
    depth,
    measure,
    identity,
    settings,
    mask: mask.mask,
  };
  return {
    group,
    mask,
    inputs,
    name: createHash('sha256').update(JSON.stringify(inputs)).digest('hex').slice(0, 40),
    kvBytes: countCellBytes({ model: engine.model, group, mask: mask.mask, settings, device: engine.device }),
    work: group.numSamples * group.mostTokens,
  };
}

async function computeCell(
  options: Parameters<typeof runSweep>[0],
  cell: Cell,
  parts: { readonly prompts: PromptStore; readonly onPrediction: (prediction: Prediction) => void },
): Promise<EvalRow> {
  const { group, mask } = cell;
  const { prompts, onPrediction } = parts;
  return evaluateTask({
    engine: options.engine,
    task: group.task,
    samples: await prompts.take(group),
    onPrediction,
    mask,
    measure: group.measure,
    tokenizer: options.tokenizer,
    stopTokens: options.stopTokens,
    length: group.length,
    ...(group.depth === undefined ? {} : { depth: group.depth }),
    ...(options.settings === undefined ? {} : { settings: options.settings }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}

/** The prompts of groups, built once for all their cells where memory allows. */
class PromptStore {
  readonly #kept = new Map<SweepGroup, Promise<readonly TaskSample[]>>();
  readonly #cellsLeft = new Map<SweepGroup, number>();

  constructor(cells: readonly Cell[]) {
    for (const { group } of cells) this.#cellsLeft.set(group, (this.#cellsLeft.get(group) ?? 0) + 1);
  }

  /** Build the prompts of every group once.  @returns what is wrong with those that cannot be built.
   * @throws {DuoError} the first fault, where there is no `onFailed`. */
  async check(options: Parameters<typeof runSweep>[0]): Promise<Map<SweepGroup, DuoError>> {
    const { signal, onFailed, onUnbuilt } = options;
    const faults = new Map<SweepGroup, DuoError>();
    let keptTokens = 0;
    for (const group of this.#cellsLeft.keys()) {
      if (signal?.aborted) break;
      try {
        await this.take(group);
        keptTokens += group.numSamples * group.mostTokens;
        if (keptTokens > MAX_KEPT_TOKENS) this.#kept.delete(group);
      } catch (error) {
        if (onFailed === undefined || !(error instanceof DuoError)) throw error;
        faults.set(group, error);
        onUnbuilt?.(group, error);
      }
    }
    return faults;
  }

  take(group: SweepGroup): Promise<readonly TaskSample[]> {
    const kept = this.#kept.get(group);
    if (kept !== undefined) return kept;
    const built = Promise.resolve().then(() => group.build());
    this.#kept.set(group, built);
    return built;
  }

  /** A cell of the group has ended; after its last one the prompts are let go. */
  release({ group }: Cell): void {
    const left = (this.#cellsLeft.get(group) ?? 0) - 1;
    this.#cellsLeft.set(group, left);
    if (left <= 0) this.#kept.delete(group);
  }
}

/** Counts cells and estimates the time left from the work done in this run. */
function makeMeter(options: {
  readonly missing: readonly Cell[];
  readonly reused: number;
  readonly report: ((progress: SweepProgress) => void) | undefined;
}): { finish(cell: Cell): void } {
  const { missing, reused, report } = options;
  const total = missing.length + reused;
  const startMs = performance.now();
  let workLeft = missing.reduce((sum, cell) => sum + cell.work, 0);
  let workDone = 0;
  let done = reused;
  report?.({ done, total, reused, secondsLeft: null });
  return {
    finish(cell) {
      done++;
      workDone += cell.work;
      workLeft -= cell.work;
      const seconds = (performance.now() - startMs) / 1000;
      report?.({ done, total, reused, secondsLeft: (seconds / Math.max(1, workDone)) * workLeft });
    },
  };
}

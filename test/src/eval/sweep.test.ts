// Sweeps over the golden model: stopped and resumed, repeated, killed, two at once.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Claims } from '../../../src/core/claims.ts';
import { machineName } from '../../../src/core/process-life.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { ConfigError } from '../../../src/errors/errors.ts';
import type { NamedMask } from '../../../src/eval/baselines.ts';
import { runSweep, type SweepGroup, type SweepProgress } from '../../../src/eval/sweep.ts';
import { claimCell, readCell, releaseCell } from '../../../src/eval/sweep-cells.ts';
import type { Prediction } from '../../../src/formats/predictions.ts';
import type { EvalRow, FailedRow } from '../../../src/formats/results.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import { GOLDEN_FOLDER, goldenTokenizer } from './golden-prompts.ts';
import { goldenGroup, goldenGroups, goldenMasks } from './golden-sweep.ts';

const root = mkdtempSync(join(tmpdir(), 'duo-sweep-'));
let model: ModelFolder;
let engine: Engine;
beforeAll(async () => {
  model = openModelFolder(GOLDEN_FOLDER);
  engine = await openTensorflowEngine(model);
});
afterAll(async () => {
  await engine.close();
  model.close();
  rmSync(root, { recursive: true });
});

let built = 0;
const groups = goldenGroups(() => {
  built++;
});
const group = goldenGroup;
const masks = goldenMasks;

function sweep(folder: string | null, more: Partial<Parameters<typeof runSweep>[0]> = {}): Promise<EvalRow[]> {
  return runSweep({
    engine,
    model: 'sha256:golden',
    tokenizer: goldenTokenizer,
    stopTokens: [2],
    groups,
    masks,
    folder,
    ...more,
  });
}

/** Seconds are outside the promise of equal bytes. */
const timeless = (rows: readonly EvalRow[]): object[] => rows.map((row) => ({ ...row, seconds: 0 }));

let reference: object[];
beforeAll(async () => {
  reference = timeless(await sweep(null));
});

it('gives a row per cell: groups, then masks', () => {
  const names = (reference as EvalRow[]).map((row) => `${row.task} ${row.mask} ${row.measure}`);
  expect(names).toEqual(groups.flatMap((one) => masks.map((mask) => `${one.task} ${mask.name} ${one.measure}`)));
});

it('gives the same rows when stopped and resumed, and computes only what is missing', async () => {
  const folder = join(root, 'stopped');
  const stop = new AbortController();
  const first = sweep(folder, { signal: stop.signal, onProgress: ({ done }) => done >= 4 && stop.abort() });
  await expect(first).rejects.toMatchObject({ exitCode: 130 });
  const kept = readdirSync(join(folder, 'cells')).filter((name) => name.endsWith('.json'));
  expect(kept.length).toBeGreaterThanOrEqual(4);
  expect(kept.length).toBeLessThan(9);
  const progress: SweepProgress[] = [];
  const rows = await sweep(folder, { onProgress: (one) => progress.push(one) });
  expect(timeless(rows)).toEqual(reference);
  expect(progress[0]).toEqual({ done: kept.length, total: 9, reused: kept.length, secondsLeft: null });
  expect(progress.at(-1)).toMatchObject({ done: 9, secondsLeft: 0 });

  built = 0;
  expect(await sweep(folder)).toEqual(rows);
  expect(built).toBe(0);
});

it('gives the same rows after a kill -9, and takes over what the dead process had claimed', async () => {
  const folder = join(root, 'killed');
  const child = spawn(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'killed-sweep.ts'), folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', () => child.kill('SIGKILL'));
    child.on('exit', (code, signal) => (signal === 'SIGKILL' ? resolve() : reject(new Error(`exit ${code}`))));
  });
  const kept = readdirSync(join(folder, 'cells'));
  expect(kept.filter((name) => name.endsWith('.json'))).toHaveLength(4);
  expect(kept.filter((name) => name.endsWith('.claim'))).toHaveLength(1);
  expect(timeless(await sweep(folder))).toEqual(reference);
  expect(readdirSync(join(folder, 'cells')).filter((name) => !name.endsWith('.json'))).toEqual([]);
});

it('keeps every generated text, and hands kept ones out again', async () => {
  const folder = join(root, 'predictions');
  const collect = async (where: string | null): Promise<[string, readonly Prediction[]][]> => {
    const kept: [string, readonly Prediction[]][] = [];
    await sweep(where, { onPredictions: (row, made) => kept.push([`${row.task} ${row.mask}`, made]) });
    return kept;
  };
  const first = await collect(folder);
  expect(first.map(([, made]) => made.length)).toEqual([0, 0, 0, 0, 0, 0, 1, 1, 1]);
  expect(readdirSync(join(folder, 'predictions'))).toHaveLength(3);
  const one = first.at(-1)?.[1][0];
  expect(one).toMatchObject({
    task: 'golden-0',
    index: 0,
    metric: 'string-match',
    promptHash: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
  });
  expect(await collect(folder)).toEqual(first);
  expect(await collect(null)).toEqual(first);
});

it('makes a group that cannot be built a failed row per mask, and computes all others', async () => {
  const broken: SweepGroup = {
    ...group(1),
    task: 'broken',
    build: () => {
      throw new ConfigError('Expected 4 words, got 3');
    },
  };
  const failed: FailedRow[] = [];
  const rows = await sweep(null, {
    groups: [broken, ...groups],
    onFailed: (row) => failed.push(row),
    onProgress: ({ secondsLeft }) => expect(secondsLeft ?? 0).toBeGreaterThanOrEqual(0),
  });
  expect(timeless(rows)).toEqual(reference);
  expect(failed.map(({ task, mask, error }) => `${task} ${mask}: ${error}`)).toEqual(
    masks.map(({ name }) => `broken ${name}: Expected 4 words, got 3`),
  );
  await expect(sweep(null, { groups: [broken] })).rejects.toThrow('Expected 4 words, got 3');
});

it('shares a folder between two sweeps at once', async () => {
  const folder = join(root, 'shared');
  const [one, two] = await Promise.all([sweep(folder), sweep(folder)]);
  expect(timeless(one)).toEqual(reference);
  expect(timeless(two)).toEqual(reference);
  const files = readdirSync(join(folder, 'cells'));
  expect(files.filter((name) => name.endsWith('.json'))).toHaveLength(9);
  expect(files.filter((name) => !name.endsWith('.json'))).toEqual([]);
});

it('runs cells at once within a bound on memory, with the same rows', async () => {
  expect(timeless(await sweep(null, { concurrent: 3 }))).toEqual(reference);
  expect(timeless(await sweep(null, { concurrent: 3, memoryBytes: 1 }))).toEqual(reference);
});

it('names cells by everything that decides them', async () => {
  const folder = join(root, 'names');
  const one = { groups: [group(0)], masks: [masks[0] as NamedMask] };
  await sweep(folder, one);
  await sweep(folder, { ...one, model: 'sha256:other' });
  await sweep(folder, { ...one, settings: { chunkTokens: 9 } });
  await sweep(folder, { ...one, groups: [{ ...group(0), identity: { index: 0, seed: 1 } }] });
  expect(readdirSync(join(folder, 'cells'))).toHaveLength(4);
  // a mask's name is no part: the cell is found again under another
  const renamed = await sweep(folder, { ...one, masks: [{ name: 'other', mask: 'full' }] });
  expect(renamed[0]?.mask).toBe('other');
  expect(readdirSync(join(folder, 'cells'))).toHaveLength(4);
});

it('builds every prompt before the first cell, and names all that cannot be built', async () => {
  const folder = join(root, 'failing');
  const failing = (task: string): SweepGroup => ({
    ...group(1),
    task,
    build: () => Promise.reject(new ConfigError(`no ${task}`)),
  });
  const events: string[] = [];
  const rows = await sweep(folder, {
    groups: [group(0), failing('one'), failing('two')],
    onUnbuilt: ({ task }, { message }) => events.push(`${task}: ${message}`),
    onProgress: ({ done }) => events.push(`done ${done}`),
    onFailed: () => {},
  });
  expect(events.slice(0, 3)).toEqual(['one: no one', 'two: no two', 'done 0']);
  expect(rows).toHaveLength(3);
  // without a listener the first fault ends the sweep before anything is computed
  await expect(sweep(join(root, 'none'), { groups: [group(0), failing('one')] })).rejects.toThrow('no one');
  expect(existsSync(join(root, 'none', 'cells'))).toBe(false);
});

it('builds prompts once for all their masks', async () => {
  built = 0;
  await sweep(null);
  expect(built).toBe(groups.length);
});

it('hands out the finished rows where it is stopped or fails', async () => {
  const controller = new AbortController();
  let stopped: EvalRow[] = [];
  const work = sweep(null, {
    signal: controller.signal,
    onProgress: ({ done }) => done === 4 && controller.abort(),
    onStopped: (rows) => {
      stopped = rows;
    },
  });
  await expect(work).rejects.toThrow('stopped before its last cell');
  expect(timeless(stopped)).toEqual(reference.slice(0, 4));
});

describe('claims', () => {
  const folder = join(root, 'claims');
  const claims = new Claims({ staleMs: 60 });
  const take = (name: string): boolean => claimCell(folder, name, claims);
  const write = (name: string, text: string): void => writeFileSync(join(folder, 'cells', `${name}.claim`), text);

  it('are held once, given up by their holder, and taken over from a process that is gone', async () => {
    expect(take('a')).toBe(true);
    expect(take('a')).toBe(false);
    releaseCell(folder, 'a', claims);
    expect(take('a')).toBe(true);
    // of this machine and gone: at once; cut short, or of another machine without a sign of life: after a while
    write('b', JSON.stringify({ host: machineName(), pid: 2 ** 30 }));
    expect(take('b')).toBe(true);
    write('c', '{"ho');
    write('d', JSON.stringify({ host: 'elsewhere', pid: 1 }));
    expect([take('c'), take('d')]).toEqual([false, false]);
    releaseCell(folder, 'd', claims);
    expect(readdirSync(join(folder, 'cells'))).toContain('d.claim');
    await new Promise((resolve) => setTimeout(resolve, 80));
    expect([take('c'), take('d')]).toEqual([true, true]);
    claims.close();
  });

  it('does not stop a sweep: a cell claimed on a machine that gives no sign of life is computed here in the end', async () => {
    const held = join(root, 'held');
    const one = { groups: [group(0)], masks: [masks[0] as NamedMask] };
    await sweep(held, one);
    const [cell] = readdirSync(join(held, 'cells')) as [string];
    rmSync(join(held, 'cells', cell));
    writeFileSync(join(held, 'cells', cell.replace('.json', '.claim')), JSON.stringify({ host: 'elsewhere', pid: 1 }));
    const claims = new Claims({ staleMs: 300 });
    expect(timeless(await sweep(held, { ...one, claims }))).toEqual(reference.slice(0, 1));
  });

  it('refuses a cell file that is none, by name and place', () => {
    writeFileSync(join(folder, 'cells', 'e.json'), '{"schema": "duo.eval-cell", "version": 2}');
    expect(() => readCell(folder, 'e')).toThrow(/Expected `version` in .*e\.json to be `1`, got `2`/);
  });
});

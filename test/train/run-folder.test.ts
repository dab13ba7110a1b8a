import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { machineName } from '../../src/core/process-life.ts';
import { ConfigError, FileError } from '../../src/errors/errors.ts';
import { type RunFile, writeRun } from '../../src/formats/run.ts';
import { enterRunFolder, holdsRun, type RunEntry } from '../../train/run-folder.ts';

const newFolder = (): string => mkdtempSync(join(tmpdir(), 'duo-folder-'));
const identity = { config: { lr: 0.02, steps: 10 }, samples: 'sha256:00' };
const enter = (path: string, entry: RunEntry, now = identity) => enterRunFolder({ path, entry, identity: now });

function fillRun(path: string): void {
  const run: RunFile = {
    schema: 'duo.run',
    version: 1,
    status: 'running',
    command: [],
    config: {},
    identity,
    engine: { name: 'tensorflow', device: 'test' },
    versions: {},
    inputs: {},
    host: {},
    startedAt: 'now',
    endedAt: null,
    resumes: 0,
    results: null,
    error: null,
  };
  writeRun(join(path, 'run.json'), run);
  for (const name of ['metrics.jsonl', 'checkpoint.json', 'gates.json', 'mask.json'])
    writeFileSync(join(path, name), 'x');
}

describe('enterRunFolder', () => {
  test.each<RunEntry>(['fresh', 'resume', 'overwrite'])(
    'makes an absent folder and takes an empty one (%s)',
    (entry) => {
      const path = join(newFolder(), 'a', 'b');
      const folder = enter(path, entry);
      expect(folder.isResumed).toBe(false);
      expect(folder.file('gates.json')).toBe(join(path, 'gates.json'));
      folder.close();
      enter(path, entry).close();
      expect(readdirSync(path)).toEqual([]);
    },
  );

  test('does not take files of others for a run, nor touch them', () => {
    const path = newFolder();
    writeFileSync(join(path, 'samples.jsonl'), 'x');
    enter(path, 'fresh').close();
    enter(path, 'overwrite').close();
    expect(holdsRun(path)).toBe(false);
    expect(readdirSync(path)).toEqual(['samples.jsonl']);
  });

  test('overwrite clears what eval, bench and report left about the old mask', () => {
    const path = newFolder();
    fillRun(path);
    mkdirSync(join(path, 'cells'));
    for (const name of [
      'results.json',
      'results.csv',
      'cells/a.json',
      'bench.json',
      'comparison.json',
      'predictions.jsonl',
      'mine.txt',
    ])
      writeFileSync(join(path, name), 'x');
    enter(path, 'overwrite').close();
    expect(readdirSync(path)).toEqual(['mine.txt']);
  });

  test('refuses a run unless told what to do with it, and leaves it whole', () => {
    const path = newFolder();
    fillRun(path);
    const before = readdirSync(path);
    expect(() => enter(path, 'fresh')).toThrow(ConfigError);
    expect(() => enter(path, 'fresh')).toThrow(
      /to hold no run, found `checkpoint\.json`; pass --resume .* --overwrite/,
    );
    expect(readdirSync(path)).toEqual(before);
  });

  test('overwrite removes the run and what a kill left beside it, nothing else', () => {
    const path = newFolder();
    fillRun(path);
    for (const name of ['.gates.json.host-123-4-0123abcd.tmp', '.other.json.host-123-4-0123abcd.tmp', 'notes.md'])
      writeFileSync(join(path, name), 'x');
    enter(path, 'overwrite').close();
    expect(readdirSync(path).sort()).toEqual(['.other.json.host-123-4-0123abcd.tmp', 'notes.md']);
  });

  test('resume keeps a run of the same settings and refuses another, naming the first difference', () => {
    const path = newFolder();
    fillRun(path);
    const folder = enter(path, 'resume');
    expect(folder.isResumed).toBe(true);
    folder.close();
    expect(() => enter(path, 'resume', { ...identity, config: { lr: 0.02, steps: 20 } })).toThrow(
      new ConfigError(
        "Expected --resume to keep the run's settings, but `config.steps` was `10` and is `20`; use the old value, or --overwrite to start anew.",
      ),
    );
    expect(existsSync(join(path, 'checkpoint.json'))).toBe(true);
    expect(existsSync(join(path, '.lock'))).toBe(false);
  });

  test('resume without run.json leaves the check to the checkpoint', () => {
    const path = newFolder();
    writeFileSync(join(path, 'metrics.jsonl'), '');
    const folder = enter(path, 'resume');
    expect(folder.isResumed).toBe(true);
    folder.close();
  });

  test('a file in its place and a folder that cannot be written are file errors', () => {
    const path = join(newFolder(), 'file');
    writeFileSync(path, '');
    expect(() => enter(path, 'fresh')).toThrow(FileError);
    expect(() => enter(join(path, 'below'), 'fresh')).toThrow(FileError);
    expect(() => enter('/proc/duo', 'fresh')).toThrow(FileError);
  });
});

describe('lock', () => {
  test('keeps a second run out until the first ends; close twice is one close', () => {
    const path = newFolder();
    const first = enter(path, 'fresh');
    expect(() => enter(path, 'overwrite')).toThrow(
      /Expected to be the only one writing this run folder, but this process/,
    );
    first.close();
    const second = enter(path, 'fresh');
    first.close();
    expect(() => enter(path, 'fresh')).toThrow(FileError);
    second.close();
  });

  const writeLock = (holder: unknown): string => {
    const path = newFolder();
    writeFileSync(join(path, '.lock'), typeof holder === 'string' ? holder : JSON.stringify(holder));
    return path;
  };

  test.each([
    ['a process that is gone', { pid: 2 ** 22 + 1, host: machineName(), started: null }],
    ['an earlier process of our own number', { pid: process.pid, host: machineName(), started: '1' }],
    ['a process whose number another one has now', { pid: process.ppid, host: machineName(), started: '1' }],
    ['a process killed before it wrote its name', ''],
  ])('of %s is taken over', (_, holder) => {
    const path = writeLock(holder);
    enter(path, 'fresh').close();
    expect(readdirSync(path)).toEqual([]);
  });

  test.each([
    ['a live process', { pid: process.ppid, host: machineName(), started: null }, `process ${process.ppid} on`],
    ['a process of another machine', { pid: 1, host: 'elsewhere', started: null }, 'process 1 on elsewhere'],
    ['who knows whom', 'not json', 'another process'],
  ])('of %s is honoured', (_, holder, words) => {
    const path = writeLock(holder);
    expect(() => enter(path, 'fresh')).toThrow(words);
    expect(existsSync(join(path, '.lock'))).toBe(true);
  });
});

test.skipIf(process.getuid?.() === 0)('a read-only folder is refused in one sentence', () => {
  const path = newFolder();
  mkdirSync(join(path, 'out'));
  chmodSync(join(path, 'out'), 0o500);
  expect(() => enter(join(path, 'out'), 'fresh')).toThrow(/permission was denied; choose another output folder/);
});

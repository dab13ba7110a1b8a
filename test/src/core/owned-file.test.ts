// Owned files: what a run's lock and the claims on work have in common.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import {
  createOwned,
  isHeldHere,
  isOwnerRunning,
  readOwned,
  removeLeft,
  removeOwned,
  touchOwned,
} from '../../../src/core/owned-file.ts';
import { machineName, startTimeOf } from '../../../src/core/process-life.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-owned-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('is created once, names this process, and is held under every spelling of its path', () => {
  const path = join(folder, 'once');
  expect([createOwned(path), createOwned(path)]).toEqual([true, false]);
  expect(readOwned(path)?.owner).toEqual({
    host: machineName(),
    pid: process.pid,
    started: startTimeOf(process.pid),
  });
  expect(isHeldHere(relative(process.cwd(), path))).toBe(true);
  removeOwned(relative(process.cwd(), path));
  expect([existsSync(path), isHeldHere(path)]).toEqual([false, false]);
});

it("is not removed or touched where it is another's by now", () => {
  const path = join(folder, 'lost');
  createOwned(path);
  writeFileSync(path, 'of another');
  const long = new Date(1000);
  utimesSync(path, long, long);
  touchOwned(path);
  expect(statSync(path).mtimeMs).toBe(1000);
  removeOwned(path);
  expect(readFileSync(path, 'utf8')).toBe('of another');
  removeOwned(path);
  expect(existsSync(path)).toBe(true);
});

it('shows a sign of life', () => {
  const path = join(folder, 'alive');
  createOwned(path);
  const long = new Date(1000);
  utimesSync(path, long, long);
  touchOwned(path);
  expect(Date.now() - statSync(path).mtimeMs).toBeLessThan(60_000);
  removeOwned(path);
});

it('of a process that is gone is removed; one that was created meanwhile is put back', () => {
  const path = join(folder, 'left');
  writeFileSync(path, 'of the next');
  expect(removeLeft(path, 'of the dead')).toBe(false);
  expect(readFileSync(path, 'utf8')).toBe('of the next');
  expect(removeLeft(path, 'of the next')).toBe(true);
  expect(removeLeft(path, 'of the next')).toBe(false);
  expect(readdirSync(folder).filter((name) => name.startsWith('left'))).toEqual([]);
});

it('tells owners that run from those that do not, and says nothing of other machines', () => {
  const path = join(folder, 'who');
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  const here = { host: machineName(), started: null };
  expect(isOwnerRunning(path, { ...here, pid })).toBe(false);
  expect(isOwnerRunning(path, { ...here, pid: 0 })).toBe(false);
  expect(isOwnerRunning(path, { ...here, pid: process.ppid })).toBe(true);
  expect(isOwnerRunning(path, { host: 'elsewhere', pid: 1, started: null })).toBe(null);
  // our own number in a file that we do not hold is an earlier process's
  expect(isOwnerRunning(path, { ...here, pid: process.pid })).toBe(false);
});

it('that names nobody is told by its text', () => {
  const path = join(folder, 'torn');
  for (const text of ['', '{"host": "a"', '{"host": "a", "pid": "1"}', '1\nhost\n']) {
    writeFileSync(path, text);
    expect(readOwned(path)).toMatchObject({ text, owner: null });
  }
  expect(readOwned(join(folder, 'nothing'))).toBe(null);
});

// Claims: held by one, given up, kept alive, and taken over from a process that is gone.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { Claims } from '../../../src/core/claims.ts';
import { machineName } from '../../../src/core/process-life.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-claims-'));
afterAll(() => rmSync(folder, { recursive: true }));
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

it('is held once in a process, whichever object took it, and is gone after release', () => {
  const path = join(folder, 'once');
  const [a, b] = [new Claims(), new Claims()];
  expect([a.take(path), a.take(path), b.take(path)]).toEqual([true, false, false]);
  expect([a.isLive(path), b.isLive(path)]).toEqual([true, true]);
  b.release(path);
  expect(existsSync(path)).toBe(true);
  a.close();
  expect(existsSync(path)).toBe(false);
  expect(b.take(path)).toBe(true);
  b.close();
});

it('names its holder, and is taken over at once from a process of this machine that runs no more', () => {
  const path = join(folder, 'dead');
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  writeFileSync(path, JSON.stringify({ host: machineName(), pid, started: '1' }));
  const claims = new Claims();
  expect(claims.isLive(path)).toBe(false);
  expect(claims.take(path)).toBe(true);
  expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ host: machineName(), pid: process.pid });
  claims.close();
});

it('honours another machine as long as its claim changes, and takes over what has not for the time that is set', async () => {
  const path = join(folder, 'far');
  writeFileSync(path, JSON.stringify({ host: 'elsewhere', pid: 1, started: null }));
  const claims = new Claims({ staleMs: 100 });
  for (let beat = 1; beat <= 4; beat++) {
    expect(claims.take(path)).toBe(false);
    await wait(60);
    // a clock that is years behind is as good as any
    utimesSync(path, new Date(beat * 1000), new Date(beat * 1000));
  }
  expect(claims.take(path)).toBe(false);
  await wait(120);
  expect(claims.take(path)).toBe(true);
  claims.close();
});

it('takes over at once what another machine has not touched for longer than clocks that agree allow', () => {
  const path = join(folder, 'old');
  writeFileSync(path, '1\nanother-host\n');
  const touched = (agoMs: number): void => utimesSync(path, new Date(Date.now() - agoMs), new Date(Date.now() - agoMs));
  const claims = new Claims({ maxAgeMs: 30_000 });
  touched(20_000);
  expect(claims.take(path)).toBe(false);
  touched(40_000);
  expect(new Claims().take(path)).toBe(false);
  expect(claims.take(path)).toBe(true);
  claims.close();
});

it('leaves a claim alone that another has taken over meanwhile', () => {
  const path = join(folder, 'lost');
  const claims = new Claims();
  expect(claims.take(path)).toBe(true);
  const other = JSON.stringify({ host: 'elsewhere', pid: 2, started: null });
  writeFileSync(path, other);
  claims.release(path);
  expect(readFileSync(path, 'utf8')).toBe(other);
});

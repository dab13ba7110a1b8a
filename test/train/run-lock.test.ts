import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { machineName } from '../../src/core/process-life.ts';
import { takeLock } from '../../train/run-lock.ts';
import { startUncollected } from '../src/core/uncollected-process.ts';

const makePath = (): string => join(mkdtempSync(join(tmpdir(), 'duo-lock-')), 'lock.json');

/** Writes the lock that process `pid` would have written. */
function writeLockOf(path: string, pid: number): void {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  writeFileSync(path, JSON.stringify({ pid, host: machineName(), started }));
}

const isLinux = process.platform === 'linux';

it.runIf(isLinux)('refuses a lock whose holder lives', () => {
  const child = spawn('sleep', ['60']);
  try {
    const path = makePath();
    writeLockOf(path, child.pid as number);
    expect(() => takeLock(path)).toThrow(`process ${child.pid} on`);
  } finally {
    child.kill('SIGKILL');
  }
});

it.runIf(isLinux)('takes over the lock of a killed process that its parent has not collected', async () => {
  const uncollected = await startUncollected();
  try {
    const path = makePath();
    writeLockOf(path, uncollected.pid);
    await uncollected.kill();
    takeLock(path)();
  } finally {
    uncollected.stop();
  }
});

it.runIf(isLinux)('waits for a holder that is being killed', () => {
  // how long it takes to be gone depends on the machine: a loaded one is slow to start it, too
  const child = spawn('sleep', ['0.3']);
  const path = makePath();
  writeLockOf(path, child.pid as number);
  takeLock(path, { dyingMs: 60_000 })();
});

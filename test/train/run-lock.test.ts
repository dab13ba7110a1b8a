import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { takeLock } from '../../train/run-lock.ts';

const makePath = (): string => join(mkdtempSync(join(tmpdir(), 'duo-lock-')), 'lock.json');

/** Writes the lock that process `pid` would have written. */
function writeLockOf(path: string, pid: number): void {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  writeFileSync(path, JSON.stringify({ pid, host: hostname(), started }));
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
  // The shell's child becomes a zombie: the shell turned into `sleep`, which collects nobody.
  const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60']);
  try {
    const [output] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(output.toString());
    const path = makePath();
    writeLockOf(path, pid);
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => readFileSync(`/proc/${pid}/stat`, 'utf8')).toContain(') Z ');
    takeLock(path)();
  } finally {
    parent.kill('SIGKILL');
  }
});

it.runIf(isLinux)('waits for a holder that is being killed', () => {
  const child = spawn('sleep', ['0.3']);
  const path = makePath();
  writeLockOf(path, child.pid as number);
  takeLock(path)();
});

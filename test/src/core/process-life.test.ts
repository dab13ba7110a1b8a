import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { isRunning, startTimeOf } from '../../../src/core/process-life.ts';

const isLinux = process.platform === 'linux';
const patience = { timeout: 10_000 };

it('knows this process and one that is gone', () => {
  expect(isRunning(process.pid)).toBe(true);
  const { pid } = spawnSync(process.execPath, ['-e', '0']);
  expect(isRunning(pid)).toBe(false);
  expect(startTimeOf(pid)).toBeNull();
});

it.runIf(isLinux)('tells a process by its start', () => {
  expect(startTimeOf(process.pid)).toMatch(/^\d+$/);
  expect(startTimeOf(1)).not.toBe(startTimeOf(process.pid));
});

it.runIf(isLinux)('counts a killed process that nobody collected as gone', { timeout: 30_000 }, async () => {
  // The shell turns into `sleep`, which collects nobody.
  const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60']);
  try {
    const [output] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(output.toString());
    expect(isRunning(pid)).toBe(true);
    // Killed before that turn, it would be collected by the shell.
    await expect.poll(() => readFileSync(`/proc/${parent.pid}/comm`, 'utf8'), patience).toBe('sleep\n');
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => readFileSync(`/proc/${pid}/stat`, 'utf8'), patience).toContain(') Z ');
    expect(isRunning(pid)).toBe(false);
  } finally {
    parent.kill('SIGKILL');
  }
});

import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { isRunning, isSameProcess, startTimeOf } from '../../../src/core/process-life.ts';
import { startUncollected } from './uncollected-process.ts';

const isLinux = process.platform === 'linux';

it('knows this process and one that is gone', () => {
  expect(isRunning(process.pid)).toBe(true);
  const { pid } = spawnSync(process.execPath, ['-e', '0']);
  expect(isRunning(pid)).toBe(false);
  expect(startTimeOf(pid)).toBeNull();
});

it.runIf(isLinux)('tells a process by its start', () => {
  expect(startTimeOf(process.pid)).toMatch(/^\d+$/);
  expect(startTimeOf(1)).not.toBe(startTimeOf(process.pid));
  expect(isSameProcess(process.pid, startTimeOf(process.pid))).toBe(true);
  expect(isSameProcess(process.pid, startTimeOf(1))).toBe(false);
  expect(isSameProcess(process.pid, null)).toBe(true);
  expect(isSameProcess(0, null)).toBe(false);
});

it.runIf(isLinux)('counts a killed process that nobody collected as gone', async () => {
  const uncollected = await startUncollected();
  try {
    expect(isRunning(uncollected.pid)).toBe(true);
    await uncollected.kill();
    expect(isRunning(uncollected.pid)).toBe(false);
  } finally {
    uncollected.stop();
  }
});

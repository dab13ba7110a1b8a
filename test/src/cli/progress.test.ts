import { Command } from 'commander';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { addProgressOption, makeProgress } from '../../../src/cli/progress.ts';

let written = '';

beforeEach(() => {
  written = '';
  vi.useFakeTimers();
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    written += String(text);
    return true;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const ask = (...args: string[]): void => {
  addProgressOption(new Command().exitOverride().configureOutput({ writeErr: () => {} })).parse(args, { from: 'user' });
};

it('writes one plain line per minute with the time left, and none after the end', () => {
  ask('--progress', 'plain');
  const progress = makeProgress('gates');
  vi.advanceTimersByTime(60_000);
  expect(written).toBe('duo: gates has begun.\n');
  for (let step = 1; step <= 90; step++) {
    progress.update(step, 400, 'loss 0.5000');
    vi.advanceTimersByTime(1000);
  }
  // 60 steps in 120 s: 340 more take 680 s.
  expect(written.split('\n').slice(1)).toEqual(['duo: gates 60/400, 11 min 20 s left, loss 0.5000.', '']);
  progress.finish();
  vi.advanceTimersByTime(600_000);
  expect(written.split('\n')).toHaveLength(3);
});

it('draws a bar where one is asked for, also without a terminal, and nothing for none or for silent commands', () => {
  ask('--progress', 'none');
  makeProgress('cells').update(1, 2);
  ask('--progress', 'bar');
  makeProgress('cells', { isSilent: true }).update(1, 2);
  expect(written).toBe('');
  vi.advanceTimersByTime(1000);
  makeProgress('cells').update(2, 2);
  expect(written).toContain('cells ████████████████████████ 2/2');
});

it('refuses another kind by name', () => {
  expect(() => ask('--progress', 'dots')).toThrow("Expected --progress to be one of bar, plain, none, got 'dots'.");
});

import { describe, expect, it } from 'vitest';
import { runWithin } from '../../../src/text/time-limit.ts';

const endless = (): boolean => /(a+)+$/.test(`${'a'.repeat(50)}!`);

describe('runWithin', () => {
  it('hands on what the work gives, and what it throws', () => {
    expect(runWithin(1000, () => [1])).toEqual({ value: [1] });
    expect(runWithin(1000, () => undefined)).toEqual({ value: undefined });
    const error = new TypeError('no');
    expect(() => {
      runWithin(1000, () => {
        throw error;
      });
    }).toThrow(error);
  });

  it('ends a regular expression that backtracks without end, whatever catches inside', () => {
    const before = process.cpuUsage();
    expect(runWithin(100, endless)).toBeNull();
    const caught = (): unknown => {
      try {
        return endless();
      } catch {
        return 'caught';
      }
    };
    expect(runWithin(100, caught)).toBeNull();
    // of the processor: by the clock a loaded machine takes any time
    expect(process.cpuUsage(before).user / 1e6).toBeLessThan(5);
  });

  it('counts the processor, not the clock: work that waits is not ended', () => {
    const cell = new Int32Array(new SharedArrayBuffer(4));
    let begun = 0;
    const wait = (): string => {
      begun++;
      for (let round = 0; round < 20; round++) Atomics.wait(cell, 0, 0, 20);
      return 'done';
    };
    expect(runWithin(150, wait)).toEqual({ value: 'done' });
    expect(begun).toBeGreaterThan(1);
  });

  it('may stand inside itself', () => {
    expect(runWithin(60_000, () => [runWithin(100, endless), runWithin(100, () => 1)])).toEqual({
      value: [null, { value: 1 }],
    });
  });
});

import { describe, expect, test } from 'vitest';
import { describeEstimate, estimateRun, measureRate } from '../../train/estimate.ts';
import { makeQuadraticEngine, quadraticSampleAt } from './quadratic-engine.ts';

const window = { sinkTokens: 2, recentTokens: 4 };

describe('estimateRun', () => {
  test('takes the memory of the longest step and the work of all', () => {
    const estimate = estimateRun({
      engine: makeQuadraticEngine(),
      lengths: [100, 300, 100],
      window,
      operationsPerSecond: 50,
    });
    expect(estimate).toEqual({ memoryBytes: 300_000, operations: 5000, seconds: 100, isLong: false });
    expect(describeEstimate(estimate)).toBe('Expected: 293 KiB of memory, 100 s.');
  });

  test('marks a run of an hour', () => {
    const engine = makeQuadraticEngine();
    expect(estimateRun({ engine, lengths: [360], window, operationsPerSecond: 1 }).isLong).toBe(true);
    expect(estimateRun({ engine, lengths: [359], window, operationsPerSecond: 1 }).isLong).toBe(false);
  });
});

test('the rate is operations of one real step over its seconds', async () => {
  const engine = makeQuadraticEngine();
  const { distill } = engine;
  engine.distill = async (...args) => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    return distill(...args);
  };
  const rate = await measureRate({ engine, sample: quadraticSampleAt(0), window: { sinkTokens: 0, recentTokens: 1 } });
  // 30 operations in 50 ms and a little, on a loaded machine in seconds.
  expect(rate).toBeLessThan(620);
  expect(rate).toBeGreaterThan(3);
});

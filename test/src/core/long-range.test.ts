// Which tokens only long context predicts: both bounds are exclusive, and both can be moved.
import { describe, expect, it } from 'vitest';
import { isLongRange } from '../../../src/core/long-range.ts';

describe('isLongRange', () => {
  it('asks for a gain above 2 nats and a log-probability above -2', () => {
    expect(isLongRange(-1, -3.5)).toBe(true);
    expect(isLongRange(-1, -3)).toBe(false);
    expect(isLongRange(-2, -9)).toBe(false);
  });

  it('takes other thresholds', () => {
    expect(isLongRange(-1, -1.6, { leastGain: 0.5, leastLogProb: -2 })).toBe(true);
    expect(isLongRange(-1, -1.4, { leastGain: 0.5, leastLogProb: -2 })).toBe(false);
    expect(isLongRange(-4, -9, { leastGain: 2, leastLogProb: -5 })).toBe(true);
  });
});

// Kept gain by hand, and its laws: full keeps 1, all streaming 0.
import { describe, expect, it } from 'vitest';
import { measureKeptGain, type TextLogProbs } from '../../../../src/eval/metrics/kept-gain.ts';

/** A text of `count` long-range tokens with gain 3, of which the mask keeps `kept`, and one token that is none. */
const text = (count: number, kept: number): TextLogProbs => ({
  full: [...new Array<number>(count).fill(-1), -5],
  streaming: [...new Array<number>(count).fill(-4), -9],
  mask: [...new Array<number>(count).fill(-4 + 3 * kept), -7],
});

describe('measureKeptGain', () => {
  it('is a ratio of sums, with the losses over all tokens', () => {
    const texts = [...Array.from({ length: 7 }, () => text(20, 1)), text(60, 0.5)];
    const found = measureKeptGain(texts);
    expect(found.keptGain).toBeCloseTo((140 + 30) / 200, 12);
    expect(found).toMatchObject({ longRangeTokens: 200, texts: 8, tokens: 208 });
    expect(found.fullLoss).toBeCloseTo((200 + 8 * 5) / 208, 12);
    expect(found.interval?.[0]).toBeLessThan(0.85);
    expect(found.interval?.[1]).toBe(1);
    expect(measureKeptGain(texts)).toEqual(found);
  });

  it('is 1 for full and 0 for all streaming', () => {
    const texts = Array.from({ length: 8 }, () => text(20, 0.3));
    expect(measureKeptGain(texts.map((one) => ({ ...one, mask: one.full }))).keptGain).toBe(1);
    expect(measureKeptGain(texts.map((one) => ({ ...one, mask: one.streaming }))).keptGain).toBe(0);
  });

  it('is null with its reason for too few texts or tokens', () => {
    const reason = 'too little to measure: 7 texts with 140 long-range tokens, of at least 8 and 100';
    expect(measureKeptGain(Array.from({ length: 7 }, () => text(20, 1)))).toMatchObject({ keptGain: null, reason });
    expect(measureKeptGain(Array.from({ length: 8 }, () => text(2, 1))).keptGain).toBeNull();
  });
});

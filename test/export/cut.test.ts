import { describe, expect, test } from 'vitest';
import { chooseCut, cutGates, defaultStreamingFraction } from '../../export/cut.ts';
import { rankGates } from '../../export/rank.ts';
import { makeRandom } from '../../src/core/random.ts';
import type { GateGrid } from '../../src/core/shapes.ts';
import { ConfigError, FormatError } from '../../src/errors/errors.ts';

/** Gates with many ties, as trained ones have: a third at 0, a third at 1. */
function drawGates(seed: number, layers: number, kvHeads: number): GateGrid {
  const random = makeRandom(seed, 'cut-test');
  return Array.from({ length: layers }, () =>
    Array.from({ length: kvHeads }, () => random.pick([0, 1, Math.fround(random.uniform())])),
  );
}

describe('rankGates', () => {
  test('lowest first over the whole model, equal gates in (layer, head) order', () => {
    const ranked = rankGates([
      [0.5, 0, 1],
      [0, 0.5, 0.2],
    ]);
    expect(ranked.map(({ layer, head }) => [layer, head])).toEqual([
      [0, 1],
      [1, 0],
      [1, 2],
      [0, 0],
      [1, 1],
      [0, 2],
    ]);
  });
});

describe('cutGates by fraction', () => {
  test.each([
    [0, 0],
    [0.1, 1],
    [0.25, 2],
    [0.5, 3],
    [0.58, 3],
    [0.59, 4],
    [0.75, 5],
    [1, 6],
  ])('%d of 6 heads: ⌊fraction·6 + 0.5⌋ = %i stream', (streamingFraction, streaming) => {
    const { streamingHeads, retrievalHeads, mask } = cutGates(
      [
        [0.1, 0.2, 0.3],
        [0.4, 0.5, 0.6],
      ],
      { streamingFraction },
    );
    expect([streamingHeads, retrievalHeads]).toEqual([streaming, 6 - streaming]);
    expect(mask.flat()).toEqual([0, 1, 2, 3, 4, 5].map((head) => (head < streaming ? 0 : 1)));
  });

  test('ties: the lower (layer, head) streams, and the tied heads are counted only where the border runs through them', () => {
    const gates = [
      [1, 1],
      [0.2, 1],
    ];
    expect(cutGates(gates, { streamingFraction: 0.25 })).toMatchObject({
      mask: [
        [1, 1],
        [0, 1],
      ],
      tieDecided: 0,
    });
    expect(cutGates(gates, { streamingFraction: 0.5 })).toMatchObject({
      mask: [
        [0, 1],
        [0, 1],
      ],
      tieDecided: 3,
    });
    expect(cutGates(gates, { streamingFraction: 1 })).toMatchObject({
      mask: [
        [0, 0],
        [0, 0],
      ],
      tieDecided: 0,
    });
    expect(cutGates(gates, { streamingFraction: 0 })).toMatchObject({
      mask: [
        [1, 1],
        [1, 1],
      ],
      tieDecided: 0,
    });
  });

  test.each([1, 2, 3, 4, 5])('raising the fraction never turns a head back (seed %i)', (seed) => {
    const gates = drawGates(seed, 1 + (seed % 4), 1 + ((seed * 3) % 7));
    let before = cutGates(gates, { streamingFraction: 0 }).mask.flat();
    for (let percent = 1; percent <= 100; percent++) {
      const now = cutGates(gates, { streamingFraction: percent / 100 }).mask.flat();
      now.forEach((label, head) => {
        expect(label).toBeLessThanOrEqual(before[head] as number);
      });
      before = now;
    }
    expect(before.every((label) => label === 0)).toBe(true);
  });

  test('is the same mask each time and leaves the gates alone', () => {
    const gates = drawGates(9, 4, 8);
    const copy = structuredClone(gates);
    const first = cutGates(gates, { streamingFraction: 0.5 });
    expect(cutGates(copy, { streamingFraction: 0.5 })).toEqual(first);
    expect(gates).toEqual(copy);
  });
});

describe('cutGates by threshold', () => {
  test('retrieval iff gate ≥ threshold', () => {
    expect(cutGates([[0.5, 0.4999, 0.51]], { threshold: 0.5 })).toMatchObject({ mask: [[1, 0, 1]], tieDecided: 0 });
    expect(cutGates([[0, 1]], { threshold: 0 }).mask).toEqual([[1, 1]]);
    expect(cutGates([[0.999, 1]], { threshold: 1 }).mask).toEqual([[0, 1]]);
  });

  test('raising it never turns a head back', () => {
    const gates = drawGates(4, 3, 5);
    const counts = [0, 0.2, 0.4, 0.6, 0.8, 1].map((threshold) => cutGates(gates, { threshold }).retrievalHeads);
    expect(counts).toEqual([...counts].sort((a, b) => b - a));
  });
});

describe('refusals', () => {
  test.each([
    [{ streamingFraction: 1.2 }, 'Expected `streamingFraction` to be a number from 0 to 1, got `1.2`.'],
    [{ streamingFraction: Number.NaN }, 'Expected `streamingFraction` to be a number from 0 to 1, got `NaN`.'],
    [{ threshold: -0.1 }, 'Expected `threshold` to be a number from 0 to 1, got `-0.1`.'],
  ])('%j', (cut, message) => {
    expect(() => cutGates([[1]], cut)).toThrow(new ConfigError(message));
  });

  test('ragged rows and gates that are no number, by their place', () => {
    expect(() => cutGates([[1, 0], [1]], { threshold: 0.5 })).toThrow(
      new FormatError('Expected `gates[1]` to have 2 values as the first row, got `1`.'),
    );
    expect(() => cutGates([[1, Number.NaN]], { threshold: 0.5 })).toThrow(
      new FormatError('Expected `gates[0][1]` to be a finite number, got `NaN`.'),
    );
  });
});

describe('chooseCut', () => {
  const grouped = { heads: 32, kvHeads: 8 };

  test('half under grouped-query attention, three quarters without', () => {
    expect(defaultStreamingFraction(grouped)).toBe(0.5);
    expect(chooseCut({ model: grouped })).toEqual({ streamingFraction: 0.5 });
    expect(chooseCut({ model: { heads: 32, kvHeads: 32 } })).toEqual({ streamingFraction: 0.75 });
  });

  test('takes what was asked, 0 included, and refuses both at once', () => {
    expect(chooseCut({ streamingFraction: 0, model: grouped })).toEqual({ streamingFraction: 0 });
    expect(chooseCut({ threshold: 0, model: grouped })).toEqual({ threshold: 0 });
    expect(() => chooseCut({ streamingFraction: 0.5, threshold: 0.5, model: grouped })).toThrow(ConfigError);
    expect(() => chooseCut({ streamingFraction: 1.2, model: grouped })).toThrow(ConfigError);
  });
});

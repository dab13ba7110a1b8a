import { describe, expect, test } from 'vitest';
import { buildMask } from '../../export/build-mask.ts';
import { compareMasks, correlateRanks } from '../../export/compare.ts';
import type { GateGrid } from '../../src/core/shapes.ts';
import { FormatError } from '../../src/errors/errors.ts';
import { makeWindowsMask } from '../src/formats/windows-mask-fixture.ts';
import { makeGatesFile } from './gates-fixture.ts';

const window = { sinkTokens: 4, recentTokens: 32 };
const maskOf = (gates: GateGrid, streamingFraction: number) =>
  buildMask({ gates: makeGatesFile(gates), cut: { streamingFraction }, window }).file;

describe('compareMasks', () => {
  test('a mask with itself', () => {
    const mask = maskOf(
      [
        [0.1, 0.9],
        [0.8, 0.3],
      ],
      0.5,
    );
    expect(compareMasks(mask, mask)).toEqual({
      retrievalHeads: [2, 2],
      sharedRetrieval: 2,
      overlap: 1,
      jaccard: 1,
      spearman: 1,
      differing: [],
      severalWindows: false,
      entries: { tokens: 32_768, kvShares: [0.50054931640625, 0.50054931640625], overlap: 1 },
    });
  });

  test('two masks: shared heads, those that differ, reversed ranks', () => {
    const a = maskOf(
      [
        [0.9, 0.8],
        [0.2, 0.1],
      ],
      0.5,
    );
    const b = maskOf(
      [
        [0.1, 0.2],
        [0.8, 0.9],
      ],
      0.25,
    );
    const { differing, entries, severalWindows, ...rest } = compareMasks(a, b);
    expect([severalWindows, entries.tokens]).toEqual([false, 32_768]);
    expect(rest).toEqual({ retrievalHeads: [2, 3], sharedRetrieval: 1, overlap: 1 / 3, jaccard: 1 / 4, spearman: -1 });
    expect(differing).toEqual([
      { layer: 0, head: 0, labels: [1, 0], windows: [null, 32] },
      { layer: 1, head: 0, labels: [0, 1], windows: [32, null] },
      { layer: 1, head: 1, labels: [0, 1], windows: [32, null] },
    ]);
  });

  test('windows of several sizes: what differs, KV shares at the length of the cut, entries in both', () => {
    const a = makeWindowsMask({ atTokens: 100 });
    const windows = [
      [32, 8, 8],
      [32, 16, null],
    ];
    const { differing, entries, retrievalHeads, severalWindows } = compareMasks(a, makeWindowsMask({ windows }));
    expect([severalWindows, retrievalHeads]).toEqual([true, [2, 1]]);
    expect(differing).toEqual([
      { layer: 0, head: 0, labels: [1, 0], windows: [null, 32] },
      { layer: 1, head: 1, labels: [0, 0], windows: [8, 16] },
    ]);
    // entries with 4 sinks: 100 + 12 + 12 + 36 + 12 + 100 against 36 + 12 + 12 + 36 + 20 + 100
    expect(entries).toEqual({ tokens: 100, kvShares: [272 / 600, 216 / 600], overlap: 208 / 272 });
  });

  test('against a mask of one window, streaming heads of another window differ', () => {
    const {
      windows: _,
      ladder: _l,
      kvShare: _k,
      atTokens: _a,
      predictedLoss: _p,
      lossBound: _b,
      ...rest
    } = makeWindowsMask();
    const mask = [
      [1, 0, 0],
      [0, 0, 1],
    ];
    const binary = { ...rest, version: 1 as const, recent: 8, streamingFraction: null, threshold: null, mask };
    expect(compareMasks(binary, makeWindowsMask()).differing.map(({ windows }) => windows)).toEqual([[8, 32]]);
  });

  test('masks without a retrieval head are alike', () => {
    const mask = maskOf([[0.5, 0.5]], 1);
    expect(compareMasks(mask, mask)).toMatchObject({ overlap: 1, jaccard: 1, spearman: null });
  });

  test('other shapes are refused, both named', () => {
    expect(() => compareMasks(maskOf([[1, 0]], 0.5), maskOf([[1], [0]], 0.5))).toThrow(
      new FormatError('Expected two masks of one shape, got `1 × 2` and `2 × 1`.'),
    );
  });
});

describe('correlateRanks', () => {
  test('shares ranks among equal values', () => {
    // Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / √(4.5 · 5).
    expect(correlateRanks([[0, 0.5, 0.5, 1]], [[0.1, 0.2, 0.3, 0.4]])).toBeCloseTo(Math.sqrt(0.9), 12);
  });

  test('does not depend on the scale, and is null where one side is constant', () => {
    expect(correlateRanks([[0.1, 0.2, 0.3]], [[0, 0.0001, 1]])).toBe(1);
    expect(correlateRanks([[1, 1]], [[0, 1]])).toBeNull();
  });
});

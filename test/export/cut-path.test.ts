import { describe, expect, it } from 'vitest';
import { buildMask } from '../../export/build-mask.ts';
import { findGatesAt, rankPath, requirePath } from '../../export/cut-path.ts';
import { ConfigError } from '../../src/errors/errors.ts';
import { checkMask, formatMask, scoresOfMask } from '../../src/formats/mask.ts';
import { makeGatesFile } from './gates-fixture.ts';

const window = { sinkTokens: 4, recentTokens: 8 };
const gates = makeGatesFile([[1, 0.5, 0, 0]]);
/** Heads close in the order 2, 3, 1, 0, though the gates at the run's own λ tie two of them. */
const path = {
  lambdas: [0.01, 0.1, 1, 10],
  gates: [[[1, 1, 0.5, 0.75]], [[1, 1, 0, 0.25]], [[1, 0.5, 0, 0]], [[0.25, 0, 0, 0]]],
};
const withPath = { ...gates, path };

describe('findGatesAt', () => {
  it('gives the points themselves, is linear between them and flat beyond the ends', () => {
    expect(findGatesAt(path, 0.1)).toEqual([[1, 1, 0, 0.25]]);
    expect(findGatesAt(path, 0.055)[0]).toEqual([1, 1, 0.25, 0.5]);
    expect(findGatesAt(path, 1e-9)).toEqual(path.gates[0]);
    expect(findGatesAt(path, 1e9)).toEqual(path.gates[3]);
  });

  it('does not hand out the path itself', () => {
    findGatesAt(path, 0.001)[0]![0] = 7;
    expect(path.gates[0]![0]![0]).toBe(1);
  });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('refuses λ %d', (lambda) => {
    expect(() => findGatesAt(path, lambda)).toThrow(`Expected \`lambda\` to be a number above 0, got \`${lambda}\`.`);
  });
});

describe('rankPath', () => {
  it('orders heads by how long they stay open', () => {
    const [row] = rankPath(path) as [number[]];
    const order = [0, 1, 2, 3].sort((a, b) => row[a]! - row[b]!);
    expect(order).toEqual([2, 3, 1, 0]);
    expect(Math.max(...row)).toBeLessThanOrEqual(1);
  });

  it('is 1 for a head that never closes, and the gates of a path of one point', () => {
    expect(rankPath({ lambdas: [0.1, 0.3], gates: [[[1, 0]], [[1, 0]]] })).toEqual([[1, 0]]);
    expect(rankPath({ lambdas: [0.1], gates: [[[0.5, 0]]] })).toEqual([[0.5, 0]]);
  });
});

describe('buildMask on a path', () => {
  it('cuts at a λ, and says so', () => {
    const { file } = buildMask({ gates: withPath, cut: { lambda: 0.1 }, window });
    expect(file.mask).toEqual([[1, 1, 0, 0]]);
    expect(file).toMatchObject({ streamingFraction: null, threshold: 0.5, provenance: { cutLambda: 0.1 } });
    expect(file.gates).toEqual([[1, 1, 0, 0.25]]);
  });

  it('cuts a fraction by the order of closing, which no tie decides', () => {
    const { file, cut } = buildMask({ gates: withPath, cut: { streamingFraction: 0.25 }, window });
    expect(file.mask).toEqual([[1, 1, 0, 1]]);
    expect(cut.tieDecided).toBe(0);
    expect(file.provenance.rankedBy).toBe('lambda-path');
    expect([file.gates, file.ranks]).toEqual([withPath.gates, rankPath(withPath.path)]);
  });

  it('cuts a fraction by the path’s own ranking where it has one, and a λ as before', () => {
    const ranked = { ...gates, path: { ...path, ranking: [[0, 0.75, 0.25, 0.5]] } };
    const { file } = buildMask({ gates: ranked, cut: { streamingFraction: 0.5 }, window });
    expect(file.mask).toEqual([[0, 1, 0, 1]]);
    expect(file.provenance.rankedBy).toBe('elimination');
    // ranks are not called gates
    expect([file.gates, file.ranks]).toEqual([ranked.gates, ranked.path.ranking]);
    expect(scoresOfMask(file)).toEqual(ranked.path.ranking);
    expect(checkMask(JSON.parse(formatMask(file)), 'mask.json')).toEqual(file);
    expect(buildMask({ gates: ranked, cut: { lambda: 0.1 }, window }).file).not.toHaveProperty('ranks');
    expect(buildMask({ gates: ranked, cut: { lambda: 0.1 }, window }).file.mask).toEqual([[1, 1, 0, 0]]);
    rankPath(ranked.path)[0]![0] = 7;
    expect(ranked.path.ranking[0]![0]).toBe(0);
  });

  it('never turns a head back as the fraction grows', () => {
    const masks = [0, 0.25, 0.5, 0.75, 1].map((streamingFraction) =>
      buildMask({ gates: withPath, cut: { streamingFraction }, window }).file.mask.flat(),
    );
    for (const [index, mask] of masks.entries()) {
      const before = masks[index - 1] ?? mask;
      expect(mask.every((label, head) => label <= before[head]!)).toBe(true);
    }
  });

  it('refuses by name a λ without a path, and a threshold of quadratic gates without one', () => {
    expect(() => requirePath(gates)).toThrow(ConfigError);
    expect(() => buildMask({ gates, cut: { lambda: 0.1 }, window })).toThrow(
      /^Expected gates with a λ path to cut at a λ, found none: method `.*` gives gates of one λ alone/,
    );
    const stripped = { ...gates, provenance: { ...gates.provenance, method: 'quadratic' } };
    expect(() => buildMask({ gates: stripped, cut: { threshold: 0.5 }, window })).toThrow(
      'Expected gates of method quadratic to have their λ path for a threshold, found none',
    );
  });
});

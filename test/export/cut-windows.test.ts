// The cut by memory: against every possible choice on tiny problems, its bound, its limits, its time on a large model, and nested paths.
import { describe, expect, it } from 'vitest';
import { describeCutWindows, makeMaskFile } from '../../export/build-windows-mask.ts';
import { cutPath, cutWindows } from '../../export/cut-windows.ts';
import { makeProblem, measureLoss, WindowChoice } from '../../export/window-choice.ts';
import { measureKvShare } from '../../src/core/kv-cost.ts';
import { makeRandom } from '../../src/core/random.ts';
import type { HeadMask } from '../../src/core/shapes.ts';
import { BudgetError, ConfigError } from '../../src/errors/errors.ts';
import type { LadderEffects } from '../../src/formats/gates.ts';
import { describeTies } from '../../src/report/mask-words.ts';
import { makeLadderGates, makeRandomLadder } from './ladder-fixture.ts';

/** Least loss of all (windows + 1)^heads choices within the budget. */
function findLeastLoss(ladder: LadderEffects, { kvShare, atTokens }: { kvShare: number; atTokens: number }): number {
  const problem = makeProblem(ladder, atTokens);
  const { heads, rungs: top } = problem;
  let least = Number.POSITIVE_INFINITY;
  for (let code = 0; code < (top + 1) ** heads; code++) {
    const rungs = Array.from({ length: heads }, (_, head) => Math.floor(code / (top + 1) ** head) % (top + 1));
    const entries = rungs.reduce((sum, rung) => sum + (problem.entries[rung] as number), 0);
    if (entries <= kvShare * heads * atTokens) least = Math.min(least, measureLoss(problem, rungs));
  }
  return least;
}

describe('cutWindows on tiny problems, beside every possible choice', () => {
  it.each([0, 0.3, 1])('finds the least loss nearly always, and its bound holds (common part %d)', (common) => {
    let [found, worst, count] = [0, 1, 0];
    for (let draw = 0; draw < 20; draw++) {
      const random = makeRandom(draw, 'tiny-ladder');
      const ladder = makeRandomLadder(random, { heads: 6, windows: [8, 24, 60], tokens: 200, rank: 40, common });
      for (const kvShare of [0.15, 0.35, 0.6]) {
        const cut = cutWindows(ladder, { kvHeads: 3, kvShare, atTokens: null });
        const least = findLeastLoss(ladder, { kvShare, atTokens: 200 });
        expect(cut.keptShare).toBeLessThanOrEqual(kvShare);
        expect(cut.predictedLoss).toBeGreaterThanOrEqual(least * (1 - 1e-9));
        expect(cut.lossBound).toBeLessThanOrEqual(least * (1 + 1e-9));
        const ratio = cut.predictedLoss / least;
        if (ratio < 1 + 1e-9) found++;
        worst = Math.max(worst, ratio);
        count++;
      }
    }
    expect(found / count).toBeGreaterThanOrEqual(0.9);
    expect(worst).toBeLessThan(1.1);
  });
});

describe('cutWindows', () => {
  const windows = [256, 512, 1024, 2048];
  const ladder = makeRandomLadder(makeRandom(3, 'ladder'), { heads: 24, windows, sink: 128, tokens: 8064, rank: 200 });
  const cut = (kvShare: number, atTokens: number | null = null) =>
    cutWindows(ladder, { kvHeads: 3, kvShare, atTokens });

  it('keeps within the share at the length, and tells the loss of the mask it gives', () => {
    for (const atTokens of [3000, 8064, 32_768]) {
      const { mask, keptShare, predictedLoss } = cut(0.3, atTokens);
      expect(measureKvShare(mask, atTokens)).toBe(keptShare);
      expect(keptShare).toBeLessThanOrEqual(0.3);
      expect(keptShare).toBeGreaterThan(0.27);
      const chosen = mask.windows
        .flat()
        .flatMap((window, head) => (window === null ? [] : [head * 4 + windows.indexOf(window)]));
      const loss = chosen.flatMap((i) => chosen.map((j) => ladder.effects[Math.max(i, j)]?.[Math.min(i, j)] as number));
      expect(predictedLoss).toBeCloseTo(
        loss.reduce((a, b) => a + b, 0),
        9,
      );
    }
  });

  it('counts at the longest sample by default', () => {
    expect(cut(0.3)).toEqual(cut(0.3, 8064));
    expect(cut(0.3).atTokens).toBe(8064);
  });

  it('gives the same for the same, a larger loss for a smaller share, and everything for all of the memory', () => {
    expect(cut(0.3)).toEqual(cut(0.3));
    const losses = [1, 0.8, 0.5, 0.3, 0.2, 0.1].map((share) => cut(share).predictedLoss);
    expect(losses).toEqual([...losses].sort((a, b) => a - b));
    expect(cut(1)).toMatchObject({ keptShare: 1, predictedLoss: 0, lossBound: 0 });
    expect(
      cut(1)
        .mask.windows.flat()
        .every((window) => window === null),
    ).toBe(true);
  });

  it('never takes a window that reaches past the length: it would save nothing', () => {
    expect(cut(0.6, 1000).mask.windows.flat()).not.toContain(1024);
    expect(cut(0.6, 1000).mask.windows.flat()).not.toContain(2048);
  });

  it('ties go to the lower head', () => {
    const effects = [[1], [0, 1], [0, 0, 1], [0, 0, 0, 1]];
    const even = { sink: 0, windows: [10], tokens: 100, effects };
    const found = cutWindows(even, { kvHeads: 2, kvShare: 0.55, atTokens: null });
    expect(found.mask.windows).toEqual([
      [10, 10],
      [null, null],
    ]);
    expect(found.tieDecided).toBe(4);
    expect(describeCutWindows(found)).toMatch(
      /; the windows of 4 heads with equal effects were decided by \(layer, head\) order\.$/,
    );
    const file = makeMaskFile(makeLadderGates(even, 2), found);
    expect(file.provenance.tieDecided).toBe(4);
    expect(describeTies(file)).toContain(
      'The windows of 4 heads with equal effects were decided by (layer, head) order',
    );
  });

  it('counts as ties no heads that the measurement tells apart', () => {
    expect(cut(0.3).tieDecided).toBe(0);
    // heads 0 and 3 are alike, 1 costs less and 2 more: the one that keeps the whole context beside 2 is decided by order
    const effects = [[2], [0, 1], [0, 0, 9], [0, 0, 0, 2]];
    const found = cutWindows(
      { sink: 0, windows: [10], tokens: 100, effects },
      { kvHeads: 4, kvShare: 0.55, atTokens: null },
    );
    expect([found.mask.windows, found.tieDecided]).toEqual([[[10, 10, null, null]], 2]);
  });

  it('uses interactions: two heads that err against each other are narrowed together', () => {
    // alone head 2 costs least; heads 0 and 1 cancel
    const effects = [[10], [-9.9, 10], [0, 0, 1]];
    const opposed = { sink: 0, windows: [10], tokens: 100, effects };
    expect(cutWindows(opposed, { kvHeads: 3, kvShare: 0.4, atTokens: null }).mask.windows).toEqual([[10, 10, null]]);
  });

  it('refuses a share below that of the narrowest windows, naming the least that fits', () => {
    const least = 0.0477;
    expect(() => cut(0.047)).toThrow(
      new BudgetError(
        `Expected a KV share of at least ${least} at 8064 tokens, which the narrowest windows of the ladder keep, got \`0.047\`; ask for more, for a greater length, or measure narrower windows.`,
      ),
    );
    expect(cut(least).mask.windows.flat()).toEqual(new Array(24).fill(256));
  });

  it.each([
    [1.1, null, 'Expected `kvShare` to be a number from 0 to 1, got `1.1`.'],
    [Number.NaN, null, 'Expected `kvShare` to be a number from 0 to 1, got `NaN`.'],
    [0.5, 0, 'Expected `atTokens` to be an integer of at least 1, got `0`.'],
    [0.5, 1.5, 'Expected `atTokens` to be an integer of at least 1, got `1.5`.'],
  ])('refuses share %d at %s', (kvShare, atTokens, message) => {
    expect(() => cut(kvShare, atTokens)).toThrow(new ConfigError(message));
  });

  it('bounds a matrix that rounding left with negative eigenvalues', () => {
    const noisy = ladder.effects.map((row, i) => row.map((value, j) => value + 0.02 * Math.sin(31 * i + 17 * j)));
    const found = cutWindows({ ...ladder, effects: noisy }, { kvHeads: 3, kvShare: 0.3, atTokens: null });
    expect(found.lossBound).toBeLessThanOrEqual(found.predictedLoss);
    expect(Number.isFinite(found.lossBound)).toBe(true);
  });
});

describe('256 heads on a ladder of five', () => {
  const windows = [256, 512, 1024, 2048, 4096];
  const ladder = makeRandomLadder(makeRandom(5, 'large-ladder'), {
    heads: 256,
    windows,
    sink: 128,
    tokens: 16_384,
    rank: 300,
  });

  it('is cut in seconds of processor time, near to its bound', () => {
    const before = process.cpuUsage();
    const { predictedLoss, lossBound, keptShare } = cutWindows(ladder, { kvHeads: 8, kvShare: 0.25, atTokens: null });
    const seconds = process.cpuUsage(before).user / 1e6;
    expect(keptShare).toBeLessThanOrEqual(0.25);
    expect((predictedLoss - (lossBound as number)) / predictedLoss).toBeLessThan(0.05);
    // about 0.7 on an idle core; other work may share it
    expect(seconds).toBeLessThan(5);
  });
});

describe('cutPath', () => {
  const ladder = makeRandomLadder(makeRandom(9, 'path'), {
    heads: 30,
    windows: [256, 512, 1024, 2048],
    sink: 128,
    tokens: 8064,
    rank: 120,
  });
  const shares = [0.1, 0.5, 0.33, 0.24, 0.14, 0.5];
  const path = cutPath(ladder, { kvHeads: 3, shares, atTokens: null });

  it('goes from the largest share down, each once, each within its share', () => {
    expect(path.map(({ kvShare }) => kvShare)).toEqual([0.5, 0.33, 0.24, 0.14, 0.1]);
    for (const { kvShare, keptShare } of path) expect(keptShare).toBeLessThanOrEqual(kvShare);
  });

  it('never widens a head, where cuts that are free to would', () => {
    const small = makeRandomLadder(makeRandom(0, 'path'), {
      ...{ heads: 12, windows: [256, 512, 1024, 2048], sink: 128, tokens: 8064, rank: 20 },
    });
    const countWidened = (masks: readonly HeadMask[]): number => {
      const widths = masks.map(({ windows }) => windows.flat().map((window) => window ?? Number.POSITIVE_INFINITY));
      return widths.filter((own, index) => own.some((width, head) => width > (widths[index - 1]?.[head] ?? width)))
        .length;
    };
    const falling = [0.7, 0.6, 0.5, 0.4, 0.33, 0.24, 0.14, 0.1];
    const free = falling.map((kvShare) => cutWindows(small, { kvHeads: 3, kvShare, atTokens: null, isBounded: false }));
    expect(countWidened(free.map(({ mask }) => mask))).toBeGreaterThan(0);
    const nested = cutPath(small, { kvHeads: 3, shares: falling, atTokens: null });
    expect(countWidened(nested.map(({ mask }) => mask))).toBe(0);
  });

  it('begins with the free cut and loses little to it after', () => {
    for (const [index, { kvShare, predictedLoss }] of path.entries()) {
      const free = cutWindows(ladder, { kvHeads: 3, kvShare, atTokens: null, isBounded: false }).predictedLoss;
      if (index === 0) expect(predictedLoss).toBe(free);
      expect(predictedLoss).toBeLessThan(1.15 * free);
    }
  });
});

describe('WindowChoice', () => {
  it('prices each move as the loss summed anew does, also after many moves', () => {
    const random = makeRandom(11, 'moves');
    const ladder = makeRandomLadder(random, { heads: 8, windows: [8, 24, 60], tokens: 200, rank: 30 });
    const problem = makeProblem(ladder, 200);
    const choice = new WindowChoice(problem);
    for (let step = 0; step < 200; step++) {
      const [head, rung] = [random.integer(8), random.integer(4)];
      const before = measureLoss(problem, choice.rungs);
      const price = choice.priceMove(head, rung);
      choice.move(head, rung);
      expect(measureLoss(problem, choice.rungs) - before).toBeCloseTo(price, 6);
      expect(choice.loss).toBeCloseTo(measureLoss(problem, choice.rungs), 6);
      expect(choice.entries).toBe(choice.rungs.reduce((sum, own) => sum + (problem.entries[own] as number), 0));
    }
  });
});

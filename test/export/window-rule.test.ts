// Cutting a ladder in proportion to the length: budgets count the windows of the length, and mask.json holds those and says where they come from.
import { describe, expect, it } from 'vitest';
import { listBudgetPath } from '../../export/budget-path.ts';
import { buildWindowsMask } from '../../export/build-windows-mask.ts';
import { cutPath, cutWindows } from '../../export/cut-windows.ts';
import { resolveLadder } from '../../export/resolve-ladder.ts';
import { listWindows } from '../../src/core/head-mask.ts';
import { measureKvShare } from '../../src/core/kv-cost.ts';
import { makeRandom } from '../../src/core/random.ts';
import { BudgetError, ConfigError } from '../../src/errors/errors.ts';
import type { LadderEffects } from '../../src/formats/gates.ts';
import { checkMask, toHeadMask, windowOfMask } from '../../src/formats/mask.ts';
import { describeWindowRule } from '../../src/report/mask-words.ts';
import { makeLadderGates, makeRandomLadder } from './ladder-fixture.ts';

const fixed = makeRandomLadder(makeRandom(5, 'rule'), {
  ...{ heads: 12, sink: 4, tokens: 512, rank: 60 },
  windows: [16, 64, 128],
});
const ladder: LadderEffects = { ...fixed, rule: { name: 'proportional', namedAt: 512 } };
const gates = makeLadderGates(ladder, 3);

describe('a proportional ladder', () => {
  it('is cut where it was named as a fixed one', () => {
    const options = { kvHeads: 3, kvShare: 0.3, atTokens: null };
    expect(cutWindows(ladder, options)).toEqual(cutWindows(fixed, options));
  });

  it.each([
    [256, [8, 32, 64]],
    [2048, [64, 256, 512]],
  ])('has at %i tokens the windows of that length, and counts those', (atTokens, windows) => {
    const { file, cut } = buildWindowsMask({ gates, cut: { kvShare: 0.3, atTokens } });
    const known = checkMask(JSON.parse(JSON.stringify(file)), 'mask.json');
    if (known.version !== 2) throw new Error('expected version 2');
    expect(known).toMatchObject({ ladder: windows, atTokens, kvShare: 0.3 });
    expect(listWindows(toHeadMask(known)).every((window) => windows.includes(window))).toBe(true);
    expect(windowOfMask(known).recentTokens).toBe(windows[0]);
    expect(measureKvShare(toHeadMask(known), atTokens)).toBe(cut.keptShare);
    // another choice than the fixed windows leave within the same budget
    expect(cut.keptShare).toBeGreaterThan(0.25);
    expect(cut).toEqual(cutWindows({ ...fixed, windows }, { kvHeads: 3, kvShare: 0.3, atTokens }));
    expect(known.provenance.windowRule).toEqual({
      name: 'proportional',
      namedAt: 512,
      windows: [16, 64, 128],
      atTokens,
    });
    expect(describeWindowRule(known)).toBe(
      `The windows were scaled to ${atTokens} tokens in proportion to the length from those of 16, 64, 128 tokens at 512; cut the gates again for another length.`,
    );
  });

  it('says nothing of a rule where there is none', () => {
    const { file } = buildWindowsMask({ gates: makeLadderGates(fixed, 3), cut: { kvShare: 0.3, atTokens: 2048 } });
    expect(file.provenance).not.toHaveProperty('windowRule');
    expect(describeWindowRule(file)).toBeNull();
  });

  it('says it in version 1 too, where one window suffices', () => {
    const rung = (option: number): boolean => option % 3 === 1;
    const effects = fixed.effects.filter((_, option) => rung(option)).map((row) => row.filter((_, at) => rung(at)));
    const { file } = buildWindowsMask({
      gates: makeLadderGates({ ...ladder, windows: [64], effects }, 3),
      cut: { kvShare: 0.4, atTokens: 1024 },
    });
    expect(file).toMatchObject({ version: 1, recent: 128 });
    expect(file.provenance.windowRule).toMatchObject({ namedAt: 512, windows: [64], atTokens: 1024 });
  });

  it('has paths of the windows of the length', () => {
    const options = { kvHeads: 3, shares: [0.2, 0.4], atTokens: 2048 };
    expect(cutPath(ladder, options)).toEqual(cutPath({ ...fixed, windows: [64, 256, 512] }, options));
    const steps = listBudgetPath(gates, { window: { sinkTokens: 4, recentTokens: 16 }, atTokens: 2048 });
    // the first mask has every head at the narrowest window there
    expect(steps[0]?.kvShare).toBeCloseTo(68 / 2048, 12);
    for (const { kvShare, mask, build } of steps) {
      expect(measureKvShare(mask, 2048)).toBe(kvShare);
      expect(toHeadMask(build(gates.provenance).file)).toEqual(mask);
    }
  });

  it('names the least share by the windows of the length', () => {
    const cut = () => cutWindows(ladder, { kvHeads: 3, kvShare: 0.01, atTokens: 2048 });
    expect(cut).toThrow(BudgetError);
    expect(cut).toThrow('Expected a KV share of at least 0.0333 at 2048 tokens');
  });

  it('is refused at a length where two windows are the same', () => {
    const near: LadderEffects = { ...ladder, windows: [16, 17, 128] };
    expect(() => cutWindows(near, { kvHeads: 3, kvShare: 0.5, atTokens: 128 })).toThrow(ConfigError);
    expect(() => cutWindows(near, { kvHeads: 3, kvShare: 0.5, atTokens: 128 })).toThrow(
      'Expected windows of 16 and 17 tokens, named at 512, to differ at 128 tokens too, got 4 for both',
    );
  });
});

it('leaves a ladder without a rule as it is', () => {
  expect(resolveLadder(fixed, 4096)).toBe(fixed);
});

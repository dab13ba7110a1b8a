// Which budget the closing lines name: the smallest mask whose interval lies above 0.99, by what was measured.
import { describe, expect, it } from 'vitest';
import { listLeastBudgets } from '../../identify/least-budget.ts';
import type { HeadMask } from '../../src/core/shapes.ts';
import type { ScoredSample } from '../../src/eval/evaluate-samples.ts';
import type { WalkedMask } from '../../src/eval/keep-promise.ts';
import type { EvalRow } from '../../src/formats/results.ts';

const given: HeadMask = { sinkTokens: 2, windows: [[null, 8]] };
const scores = (accuracy: number, count = 8): ScoredSample[] =>
  Array.from({ length: count }, () => ({ accuracy, logProb: -1, answerTokens: 10, tokens: 100 }));
const common = { given, atTokens: 100, promise: null, scored: null, keptGain: null };

const walk = (window: number, low: number): WalkedMask => ({
  index: window,
  kvShare: window / 100,
  mask: { sinkTokens: 0, windows: [[window, window]] },
  kept: low + 0.001,
  interval: [low, 1],
  holds: true,
});

describe('listLeastBudgets', () => {
  it('is the mask itself where it keeps recall and streaming does not', () => {
    const scored = new Map([
      ['full', scores(1)],
      ['given', scores(1)],
      ['streaming', scores(0.3)],
      ['random-0', scores(1)],
    ]);
    const [recall, ...none] = listLeastBudgets({ ...common, scored });
    expect(none).toEqual([]);
    expect(recall).toMatchObject({ keepOf: 'recall', atTokens: 100, found: { mask: given, kept: 1, kvShare: 0.55 } });
  });

  it('is all heads streaming where that keeps it, none where nothing does', () => {
    const all = new Map([
      ['full', scores(1)],
      ['given', scores(1)],
      ['streaming', scores(1)],
    ]);
    expect(listLeastBudgets({ ...common, scored: all })[0]?.found?.kvShare).toBe(0.1);
    const lost = new Map([...all, ['given', scores(0.9)], ['streaming', scores(0.9)]]);
    expect(listLeastBudgets({ ...common, scored: lost })).toEqual([{ keepOf: 'recall', atTokens: 100, found: null }]);
  });

  it('says nothing of too few samples or of a table without full attention', () => {
    const few = new Map([
      ['full', scores(1, 3)],
      ['given', scores(1, 3)],
    ]);
    expect(listLeastBudgets({ ...common, scored: few })).toEqual([]);
    expect(listLeastBudgets({ ...common, scored: new Map([['given', scores(1)]]) })).toEqual([]);
  });

  it('takes the smallest of a promise whose interval holds, counted at the asked length', () => {
    const promise = { keepOf: 'gain', walked: [walk(40, 0.995), walk(20, 0.992), walk(10, 0.98)] };
    const [gain] = listLeastBudgets({ ...common, promise });
    expect(gain).toMatchObject({ keepOf: 'gain', found: { kvShare: 0.2, interval: [0.992, 1] } });
  });

  it('reads kept gain from its rows', () => {
    const row = (mask: string, keptGain: number | null): EvalRow =>
      ({ mask, keptGain, keptGainInterval: keptGain === null ? null : [keptGain - 0.001, 1] }) as unknown as EvalRow;
    const found = listLeastBudgets({ ...common, keptGain: [row('given', 0.995), row('streaming', 0)] });
    expect(found).toMatchObject([{ keepOf: 'gain', found: { kept: 0.995, kvShare: 0.55 } }]);
    expect(listLeastBudgets({ ...common, keptGain: [row('given', null), row('streaming', null)] })).toEqual([]);
  });
});

// Windows by head, from the measurement to the mask: the cut by memory is never worse than the best single window of equal entries, a promise
// is kept by the smallest budget found, and what no mask meets leaves the gates.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cutPath, cutWindows } from '../../export/cut-windows.ts';
import { measureKvShare } from '../../src/core/kv-cost.ts';
import { BudgetError, ConfigError } from '../../src/errors/errors.ts';
import type { KeptPromise } from '../../src/eval/keep-promise.ts';
import type { LadderEffects } from '../../src/formats/gates.ts';
import {
  type IdentifyMessage,
  type IdentifyOptions,
  identify,
  readGates,
  readMask,
  toHeadMask,
} from '../../src/index.ts';
import { describeNative } from '../reference/native-library.ts';
import { makeFolder } from '../src/cli/run-duo.ts';

const demo = (
  config: NonNullable<IdentifyOptions['config']>,
  more: Partial<IdentifyOptions> = {},
): IdentifyOptions => ({
  model: 'demo',
  config: { method: 'quadratic', ...config },
  ...more,
});

/** The ladder with one of its windows alone. */
function takeRung(ladder: LadderEffects, rung: number): LadderEffects {
  const { windows, effects } = ladder;
  const count = windows.length;
  const rows = effects.filter((_, option) => option % count === rung);
  return {
    ...ladder,
    windows: [windows[rung] as number],
    effects: rows.map((row) => row.filter((_, option) => option % count === rung)),
  };
}

describeNative('a cut by KV share', { timeout: 120_000 }, () => {
  it('measures a ladder, keeps what was asked and predicts no more loss than the best single window', async () => {
    const messages: IdentifyMessage[] = [];
    const options = demo(
      { kvShare: 0.35, windows: [16, 32, 64, 96], heldOutSamples: 0 },
      { onMessage: (message) => messages.push(message) },
    );
    const { gates, mask, windows, cut, config } = await identify(options);
    const ladder = gates.ladder as LadderEffects;
    expect(ladder).toMatchObject({ sink: 8, windows: [16, 32, 64, 96], tokens: 256 });
    expect(config.windows).toEqual([16, 32, 64, 96]);
    expect(mask.version).toBe(2);
    expect(measureKvShare(toHeadMask(mask), 256)).toBeLessThanOrEqual(0.35);
    expect(windows).toMatchObject({ kvShare: 0.35, atTokens: 256 });
    expect(cut.streamingHeads + cut.retrievalHeads).toBe(32);
    expect(cut.retrievalHeads).toBe(
      toHeadMask(mask)
        .windows.flat()
        .filter((window) => window === null).length,
    );
    for (const kvShare of [0.2, 0.25, 0.3, 0.35, 0.5, 0.7]) {
      const own = cutWindows(ladder, { kvShare, atTokens: 256, kvHeads: 8, isBounded: false });
      for (let rung = 0; rung < 4; rung++) {
        // the narrowest window that all heads take sets the least share
        if ((8 + (ladder.windows[rung] as number)) / 256 > kvShare) continue;
        const one = cutWindows(takeRung(ladder, rung), { kvShare, atTokens: 256, kvHeads: 8, isBounded: false });
        expect(own.predictedLoss).toBeLessThanOrEqual(one.predictedLoss * (1 + 1e-9));
      }
    }
    expect(messages.filter(({ kind }) => kind === 'note')).toEqual([]);
  });

  it('chooses the windows where none are named, says which, and keeps recall', async () => {
    const messages: IdentifyMessage[] = [];
    const { gates, mask, heldOut } = await identify(
      demo({ kvShare: 0.35, heldOutSamples: 8 }, { onMessage: (message) => messages.push(message) }),
    );
    expect(gates.ladder?.windows).toEqual([32, 64]);
    expect(messages.find(({ kind }) => kind === 'note')?.text).toBe(
      'each head is measured with windows of 32, 64 tokens, up to a quarter of the longest sample, 256.',
    );
    expect(heldOut?.find((row) => row.mask === 'given')?.accuracy).toBeGreaterThan(0.98);
    expect(heldOut?.find((row) => row.mask === 'streaming')?.accuracy).toBeLessThan(0.3);
    expect(mask.provenance).toMatchObject({ method: 'quadratic', quadratic: { windows: [32, 64] } });
  });

  it('leaves gates and their path as they are without a ladder, byte for byte', async () => {
    const plain = await identify(demo({ heldOutSamples: 0 }));
    const climbed = await identify(demo({ heldOutSamples: 0, windows: 'auto' }));
    expect(plain.gates.ladder).toBeUndefined();
    expect(climbed.gates.ladder).toBeDefined();
    expect(JSON.stringify([climbed.gates.gates, climbed.gates.path])).toBe(
      JSON.stringify([plain.gates.gates, plain.gates.path]),
    );
    // without a cut by memory the labels are the preset's
    expect(toHeadMask(climbed.mask)).toEqual(toHeadMask(plain.mask));
    expect(climbed.windows).toBeNull();
  });

  it('is refused below the least share, naming it, after the gates are written', async () => {
    const out = join(makeFolder(), 'run');
    const refused = identify(demo({ kvShare: 0.1, heldOutSamples: 0 }, { out }));
    await expect(refused).rejects.toThrow(BudgetError);
    await expect(refused).rejects.toThrow('Expected a KV share of at least 0.1563 at 256 tokens');
    expect(readGates(join(out, 'gates.json')).ladder).toBeDefined();
    expect(existsSync(join(out, 'mask.json'))).toBe(false);
    expect(JSON.parse(readFileSync(join(out, 'run.json'), 'utf8'))).toMatchObject({ status: 'failed' });
  });

  it('is refused with a method that measures no windows, and beside another cut', async () => {
    await expect(identify(demo({ method: 'gates', kvShare: 0.3 }))).rejects.toThrow(ConfigError);
    await expect(identify(demo({ threshold: 0.5, kvShare: 0.3 }))).rejects.toThrow('got both');
  });
});

describeNative('a cut by promise', { timeout: 120_000 }, () => {
  it('finds the smallest budget that keeps it, writes the mask and tells the curve', async () => {
    const out = join(makeFolder(), 'run');
    const curves: KeptPromise[] = [];
    const { mask, promise, gates } = await identify(
      demo({ keep: 0.95, heldOutSamples: 8 }, { out, onWalked: (curve) => curves.push(curve) }),
    );
    expect(curves).toEqual([promise]);
    const found = promise?.found;
    expect(found?.interval[0]).toBeGreaterThanOrEqual(0.95);
    expect(found?.kvShare).toBeLessThan(0.5);
    expect(toHeadMask(mask)).toEqual(found?.mask);
    expect(readMask(join(out, 'mask.json'))).toEqual(mask);
    expect(mask.provenance.promise).toEqual({
      keep: 0.95,
      keepOf: 'recall',
      kept: found?.kept,
      interval: found?.interval,
      samples: 8,
    });
    // all that was tried below it failed, and it lies on the path of nested masks
    for (const look of promise?.walked ?? []) expect(look.holds).toBe(look.index >= (found?.index as number));
    const path = cutPath(gates.ladder as LadderEffects, {
      kvHeads: 8,
      shares: [found?.kvShare as number],
      atTokens: 256,
    });
    expect(path[0]?.keptShare).toBeLessThanOrEqual(found?.kvShare as number);
    const { results } = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8'));
    expect(results.keptCurve).toMatchObject({ keepOf: 'recall', atTokens: 256, samples: 8 });
    expect(results.keptCurve.walked).toEqual(
      promise?.walked.map(({ index, kvShare, kept, interval }) => ({ index, kvShare, kept, interval })),
    );
  });

  it('is kept with one window by any method, along the ranking of its gates', async () => {
    for (const config of [{ recentTokens: 32 }, { method: 'gates', steps: 40 }]) {
      const { mask, promise, gates, windows } = await identify(demo({ keep: 0.95, heldOutSamples: 8, ...config }));
      expect(gates.ladder).toBeUndefined();
      expect(windows).toBeNull();
      expect(mask).toMatchObject({ version: 1, recent: 32 });
      expect(promise?.found?.interval[0]).toBeGreaterThanOrEqual(0.95);
      expect(toHeadMask(mask)).toEqual(promise?.found?.mask);
    }
  });

  it('fails where nothing can be told, with the reason, after the gates are written', async () => {
    const out = join(makeFolder(), 'run');
    const refused = identify(demo({ keep: 0.9, heldOutSamples: 3 }, { out }));
    await expect(refused).rejects.toThrow(BudgetError);
    await expect(refused).rejects.toThrow(
      "Expected a mask that keeps 0.9 of full attention's recall on 3 held-out samples, found none: too little to measure: 3 samples, of at least 8;",
    );
    expect(existsSync(join(out, 'gates.json'))).toBe(true);
    expect(existsSync(join(out, 'mask.json'))).toBe(false);
  });

  it('of kept gain says where the documents have too few long-range tokens', async () => {
    await expect(identify(demo({ keep: 0.9, keepOf: 'gain', heldOutSamples: 0 }))).rejects.toThrow(
      /keeps 0\.9 of full attention's gain on 16 held-out texts, found none: too little to measure: 16 texts with \d+ long-range tokens/,
    );
  });
});

describe('the settings', () => {
  it('take no length without a share or a promise', async () => {
    await expect(identify(demo({ kvShareTokens: 512 }))).rejects.toThrow(
      'Expected `kvShare` or `keep` together with `kvShareTokens`',
    );
  });
});

// The ladder's settings: how its flag reads, what it asks of the method, and the rungs it has where none were named.
import { describe, expect, it } from 'vitest';
import type { Config } from '../../../src/config/config.ts';
import { resolveConfig } from '../../../src/config/flags.ts';
import { fitLadder, resolveWindowRule, resolveWindows } from '../../../src/config/ladder.ts';
import { ConfigError } from '../../../src/errors/errors.ts';

const read = (overrides: Record<string, unknown>): Config => resolveConfig({ preset: 'base', overrides });

describe('--windows', () => {
  it.each([
    ['256,512,1k, 2k', [256, 512, 1024, 2048]],
    ['64', [64]],
    ['auto', 'auto'],
    ['null', null],
  ])('reads %s', (text, windows) => {
    expect(read({ windows: text }).windows).toEqual(windows);
  });

  it('is absent by default', () => {
    expect(read({}).windows).toBeNull();
  });

  it.each(['512,256', '256,256', '0,4', '1.5', 'big', '256,', Array.from({ length: 33 }, (_, i) => i + 1).join(',')])(
    'refuses %s',
    (text) => {
      expect(() => read({ windows: text })).toThrow(ConfigError);
      expect(() => read({ windows: text })).toThrow(
        'Expected `--windows` to be a list of 1 to 32 ascending integers of at least 1, or "auto", or null, got `',
      );
    },
  );
});

describe('--kv-share', () => {
  it('replaces the cut of the preset, as any cut does', () => {
    expect(resolveConfig({ preset: 'demo', overrides: { kvShare: '0.25', at: '8k' } })).toMatchObject({
      streamingFraction: null,
      kvShare: 0.25,
      kvShareTokens: 8192,
    });
    expect(read({ streamingFraction: '0.5' }).kvShare).toBeNull();
  });

  it('refuses a second cut, a share above 1, and a length without a share', () => {
    expect(() => read({ kvShare: '0.3', threshold: '0.5' })).toThrow(
      'Expected either `--threshold` or `--kv-share`, got both.',
    );
    expect(() => read({ kvShare: '1.1' })).toThrow('Expected `--kv-share` to be a number from 0 to 1');
    expect(() => read({ at: '8k' })).toThrow('Expected `kvShare` or `keep` together with `--at`');
  });
});

describe('fitLadder', () => {
  const nameKey = (key: string): string => `--${key}`;
  const fitted = (overrides: Record<string, unknown>, given = Object.keys(overrides)): Config =>
    fitLadder(read(overrides), { given: new Set(given), nameKey });

  it('leaves settings without a ladder as they are', () => {
    expect(fitted({ method: 'gates' })).toEqual(read({ method: 'gates' }));
  });

  it('takes the method that measures windows where none was asked for, and refuses another that was', () => {
    expect(fitted({ windows: '256,512' })).toMatchObject({ method: 'quadratic', windows: [256, 512] });
    expect(() => fitted({ windows: '256,512', method: 'gates' })).toThrow(
      'Expected `--method` to be quadratic together with `--windows`, because no other measures windows, got `gates`.',
    );
    expect(() => fitted({ kvShare: '0.3', method: 'gates' })).toThrow('together with `--kvShare`');
  });

  it('gives a cut by KV share a ladder, of one window where the person named its size', () => {
    expect(fitted({ kvShare: '0.3' }).windows).toBe('auto');
    expect(fitted({ kvShare: '0.3', recent: '300' }).windows).toEqual([300]);
    expect(fitted({ keep: '0.9' }).windows).toBe('auto');
    expect(fitted({ kvShare: '0.3', recent: '300', windows: '64,128' }).windows).toEqual([64, 128]);
  });

  it('takes samples of the greatest length alone, unless the person set the least', () => {
    expect(fitted({ kvShare: '0.3', maxTokens: '8k' })).toMatchObject({ minTokens: 8192, maxTokens: 8192 });
    expect(fitted({ windows: '256,512', minTokens: '4k', maxTokens: '8k' }).minTokens).toBe(4096);
    expect(fitted({ method: 'quadratic', maxTokens: '8k' }).minTokens).toBe(2048);
  });

  it('takes samples of every length where windows go by it', () => {
    const ruled = { windowRule: 'proportional', maxTokens: '8k' };
    expect(fitted({ ...ruled, kvShare: '0.3' })).toMatchObject({ windows: 'auto', minTokens: 2048, maxTokens: 8192 });
    expect(fitted({ ...ruled, windows: '256,512', windowRule: 'fixed' }).minTokens).toBe(8192);
  });

  it('refuses keys that would do nothing', () => {
    expect(() => fitted({ windowRule: 'proportional' })).toThrow('Expected `--windows` together with `--windowRule`');
    expect(() => fitted({ windowRule: 'fixed', keep: '0.9', recent: '300' })).toThrow('together with `--windowRule`');
    expect(() => fitted({ ladderVectors: '8' })).toThrow(
      'Expected `--windows` together with `--ladderVectors`, which does nothing without it, got none.',
    );
    expect(() => fitted({ keepOf: 'recall' })).toThrow('Expected `--keep` together with `--keepOf`');
    expect(fitted({ ladderVectors: '8', kvShare: '0.3' })).toMatchObject({ windows: 'auto', ladderVectors: 8 });
    expect(fitted({ keepOf: 'gain', keep: '0.9' })).toMatchObject({ keepOf: 'gain' });
    // what the preset says of them is no request
    expect(fitted({}, [])).toMatchObject({ ladderVectors: 0, windows: null });
  });

  it('leaves a promise to one window where the person named its size or another method', () => {
    expect(fitted({ keep: '0.9', recent: '300' })).toMatchObject({ windows: null, recentTokens: 300 });
    expect(fitted({ keep: '0.9', method: 'gates' })).toMatchObject({ windows: null, method: 'gates' });
    expect(() => fitted({ keep: '0.9', method: 'gates', windows: '32' })).toThrow('together with `--windows`');
  });
});

it('names windows at the longest sample where they go by the length', () => {
  expect(resolveWindowRule(read({ windows: '64' }), 512)).toBeNull();
  expect(resolveWindowRule(read({ windowRule: 'proportional' }), 512)).toBeNull();
  const rule = resolveWindowRule(read({ windows: '64', windowRule: 'proportional' }), 512);
  expect(rule).toEqual({ name: 'proportional', namedAt: 512 });
});

describe('resolveWindows', () => {
  const rungs = (longestTokens: number, heads = 90): number[] =>
    resolveWindows({ windows: 'auto', recentTokens: 256 }, { longestTokens, heads });

  it('doubles from the recent tokens to a quarter of the longest sample', () => {
    expect(rungs(8192)).toEqual([256, 512, 1024, 2048]);
    expect(rungs(8191)).toEqual([256, 512, 1024]);
    expect(rungs(32768)).toEqual([256, 512, 1024, 2048, 4096, 8192]);
    expect(rungs(300)).toEqual([256]);
  });

  it('takes larger steps where the model has many heads', () => {
    expect(rungs(32768, 1024)).toEqual([256, 1024, 4096]);
    expect(rungs(32768, 2048)).toEqual([256, 2048]);
    expect(rungs(2 ** 26, 1)).toHaveLength(17);
  });

  it('gives the named ones, and none where there is no ladder', () => {
    expect(resolveWindows({ windows: [64, 100], recentTokens: 256 }, { longestTokens: 10, heads: 1 })).toEqual([
      64, 100,
    ]);
    expect(resolveWindows({ windows: null, recentTokens: 256 }, { longestTokens: 10, heads: 1 })).toEqual([]);
  });
});

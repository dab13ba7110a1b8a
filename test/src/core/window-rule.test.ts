// Windows in proportion to the length: what they are at another length, and which lengths have none.
import { describe, expect, it } from 'vitest';
import { scaleToSample, scaleWindows, type WindowRule } from '../../../src/core/window-rule.ts';
import { ConfigError } from '../../../src/errors/errors.ts';

const rule: WindowRule = { name: 'proportional', namedAt: 4096 };

describe('scaleWindows', () => {
  it.each([
    [4096, [128, 512, 1000]],
    [8192, [256, 1024, 2000]],
    [2048, [64, 256, 500]],
    // 128 · 3001 / 4096 = 93.78, 512 · … = 375.1, 1000 · … = 732.67
    [3001, [94, 375, 733]],
    [2 ** 26, [2 ** 21, 2 ** 23, 16_384_000]],
  ])('at %i tokens', (tokens, scaled) => {
    expect(scaleWindows([128, 512, 1000], { rule, tokens })).toEqual(scaled);
  });

  it('gives the same at every length without a rule', () => {
    for (const none of [null, undefined])
      expect(scaleWindows([128, 512], { rule: none, tokens: 7 })).toEqual([128, 512]);
  });

  it('is at least 1, and refuses a length at which two are the same', () => {
    expect(scaleWindows([1, 512], { rule, tokens: 16 })).toEqual([1, 2]);
    expect(() => scaleWindows([128, 130, 512], { rule, tokens: 64 })).toThrow(ConfigError);
    expect(() => scaleWindows([128, 130, 512], { rule, tokens: 64 })).toThrow(
      'Expected windows of 128 and 130 tokens, named at 4096, to differ at 64 tokens too, got 2 for both;',
    );
  });
});

describe('scaleToSample', () => {
  it('takes a sample of which every window leaves something out', () => {
    expect(scaleToSample([128, 1024], { rule, tokens: 172, sinkTokens: 128 })).toEqual([5, 43]);
  });

  it('refuses one that the widest window and the sinks hold whole, by one token too', () => {
    const at = (tokens: number) => () => scaleToSample([128, 1024], { rule, tokens, sinkTokens: 128 });
    expect(at(171)).toThrow(ConfigError);
    expect(at(171)).toThrow(
      'got one of 171 tokens, which 128 sink tokens and the window of 1024 at 4096, 43 there, hold whole',
    );
    expect(at(172)).not.toThrow();
  });
});

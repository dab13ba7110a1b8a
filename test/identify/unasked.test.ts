// Method and objective where nobody named them.
import { describe, expect, it } from 'vitest';
import { settleForEngine, settleMethod } from '../../identify/unasked.ts';
import { resolveSettings } from '../../src/config/settings.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { SMOLLM2 } from '../train/shapes.ts';

const resolve = (overrides: Record<string, unknown>, preset = 'llama') =>
  resolveSettings({ preset, overrides, shape: SMOLLM2.shape });
const methodOf = (overrides: Record<string, unknown>, preset?: string) => {
  const { config, asked } = settleMethod(resolve(overrides, preset));
  return [config.method, asked.method];
};
/** What is asked of an engine. */
const makeEngine = (names: readonly string[]): Engine =>
  Object.fromEntries(names.map((name) => [name, () => Promise.resolve([])])) as unknown as Engine;
const ALL = makeEngine(['probe', 'computeHidden', 'scoreTokens']);

describe('settleMethod', () => {
  it.each<[Record<string, unknown>, string]>([
    [{}, 'quadratic'],
    [{ lambda: 0.1 }, 'quadratic'],
    [{ quadraticSamples: 2 }, 'quadratic'],
    [{ steps: 3 }, 'gates'],
    [{ lr: 0.1 }, 'gates'],
    [{ earlyStopSteps: 4 }, 'gates'],
    [{ steps: 3, method: 'quadratic' }, 'quadratic'],
    [{ steps: 3, kvShare: 0.3 }, 'quadratic'],
    [{ steps: 3, method: 'attention-mass' }, 'attention-mass'],
  ])('%j is of method %s', (overrides, method) => {
    expect(methodOf(overrides)).toEqual([method, method]);
  });

  it('keeps the method of a preset that says another', () => {
    expect(methodOf({}, 'demo')).toEqual(['gates', 'gates']);
  });
});

describe('settleForEngine', () => {
  const settle = (overrides: Record<string, unknown>, engine: Engine) => {
    const { config, given } = settleMethod(resolve(overrides));
    const { method, objective } = settleForEngine(config, { given, engine });
    return { method, objective };
  };

  it('measures heads by passkeys and long-range tokens where the engine can', () => {
    expect(settle({}, ALL)).toEqual({ method: 'quadratic', objective: 'both' });
    expect(settle({ steps: 2 }, ALL)).toEqual({ method: 'gates', objective: 'both' });
  });

  it('takes what the engine can do, and passkeys where there is one sample', () => {
    expect(settle({}, makeEngine(['scoreTokens']))).toEqual({ method: 'gates', objective: 'both' });
    expect(settle({}, makeEngine([]))).toEqual({ method: 'gates', objective: 'passkey' });
    expect(settle({}, makeEngine(['probe', 'computeHidden']))).toEqual({ method: 'quadratic', objective: 'passkey' });
    expect(settle({ quadraticSamples: 1 }, ALL)).toEqual({ method: 'quadratic', objective: 'passkey' });
    expect(settle({ steps: 1 }, ALL)).toEqual({ method: 'gates', objective: 'passkey' });
  });

  it('counts the samples of attention methods by their steps', () => {
    const method = 'attention-mass';
    expect(settle({ method, steps: 1 }, ALL)).toEqual({ method, objective: 'passkey' });
    expect(settle({ method, steps: 2, quadraticSamples: 1 }, ALL)).toEqual({ method, objective: 'both' });
  });

  it('leaves what a person named', () => {
    const asked = { method: 'quadratic', objective: 'both', quadraticSamples: 1 };
    expect(settle(asked, makeEngine([]))).toEqual({ method: 'quadratic', objective: 'both' });
  });
});

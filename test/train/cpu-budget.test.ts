import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { loadPreset } from '../../src/config/presets.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import { fitToCpu } from '../../train/cpu-budget.ts';
import { SMOLLM2 } from './shapes.ts';

const base: Config = { ...loadPreset('llama').config, method: 'gates', objective: 'passkey', maxTokens: 8192 };
const fitBase = (given: string[] = [], model: ModelConfig = SMOLLM2, canProbe = true) =>
  fitToCpu(base, { model, given: new Set(given), canProbe });

describe('fitToCpu', () => {
  it('measures a 135M model on few short samples', () => {
    const { method, quadraticSamples, minTokens, maxTokens, heldOutSamples, heldOutLengthFactor } = fitBase();
    expect({ method, quadraticSamples, minTokens, maxTokens, heldOutSamples, heldOutLengthFactor }).toEqual({
      method: 'quadratic',
      quadraticSamples: 1,
      minTokens: 1664,
      maxTokens: 1664,
      heldOutSamples: 3,
      heldOutLengthFactor: 1,
    });
  });

  it('takes passkeys alone where both objectives would be cut, unless a person asks for both', () => {
    const preset = { ...loadPreset('llama').config, maxTokens: 8192 };
    const fitPreset = (given: string[]) => fitToCpu(preset, { model: SMOLLM2, given: new Set(given), canProbe: true });
    const { method, objective, quadraticSamples, maxTokens } = fitPreset([]);
    expect({ method, objective, quadraticSamples, maxTokens }).toEqual({
      method: 'quadratic',
      objective: 'passkey',
      quadraticSamples: 1,
      maxTokens: 1664,
    });
    expect(fitPreset(['objective'])).toMatchObject({ objective: 'both', quadraticSamples: 2, maxTokens: 1024 });
  });

  it('takes one short sample of a large model', () => {
    const large = {
      ...SMOLLM2,
      shape: { ...SMOLLM2.shape, hidden: 4096, intermediate: 14336, heads: 32, headDim: 128 },
    };
    expect(fitBase([], large)).toMatchObject({ quadraticSamples: 1, maxTokens: 1024, heldOutSamples: 2 });
  });

  it('counts a pass over the heads for each window of a ladder', () => {
    const climbing = { ...base, method: 'quadratic', windows: [256, 512, 1024] };
    const fitted = fitToCpu(climbing, { model: SMOLLM2, given: new Set(), canProbe: true });
    expect(fitted.maxTokens).toBeLessThan(fitBase().maxTokens);
    expect(
      fitToCpu({ ...climbing, windows: [256] }, { model: SMOLLM2, given: new Set(), canProbe: true }).maxTokens,
    ).toBe(fitBase().maxTokens);
  });

  it('leaves what the person set, and an engine that cannot probe', () => {
    for (const key of ['method', 'steps', 'lr']) expect(fitBase([key])).toEqual(base);
    expect(fitBase([], SMOLLM2, false)).toEqual(base);
    expect(fitBase(['maxTokens'])).toMatchObject({ method: 'quadratic', minTokens: 2048, maxTokens: 8192 });
    expect(fitBase(['quadraticSamples', 'heldOutSamples'])).toMatchObject({ quadraticSamples: 16, heldOutSamples: 10 });
  });

  it('leaves a run within the budget as it is', () => {
    const demo = loadPreset('demo').config;
    const small = { ...SMOLLM2, shape: { ...SMOLLM2.shape, hidden: 64, intermediate: 128, layers: 4 } };
    expect(fitToCpu(demo, { model: small, given: new Set(), canProbe: true })).toEqual(demo);
  });
});

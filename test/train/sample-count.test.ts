// How many samples the quadratic method takes where nobody said.
import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { loadPreset } from '../../src/config/presets.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import { countQuadratic } from '../../train/budget.ts';
import { fitToGpu, fitToSamples } from '../../train/sample-count.ts';
import { LLAMA_3_8B, SMOLLM2 } from './shapes.ts';

const base: Config = loadPreset('llama').config;
const countOf = (model: ModelConfig, overrides: Partial<Config> = {}, given: string[] = []) =>
  fitToGpu({ ...base, ...overrides }, { model, given: new Set(given) }).quadraticSamples;

describe('fitToGpu', () => {
  it('leaves the samples of a small model', () => {
    expect(base.quadraticSamples).toBe(16);
    expect(countOf(SMOLLM2, { minTokens: 8192, maxTokens: 8192, windows: [256, 512, 1024, 2048] })).toBe(16);
  });

  it('halves those of a large one while they are above the budget, down to two', () => {
    expect(countOf(LLAMA_3_8B, { minTokens: 2048, maxTokens: 2048 })).toBe(16);
    expect(countOf(LLAMA_3_8B, { minTokens: 8192, maxTokens: 8192 })).toBe(4);
    expect(countOf(LLAMA_3_8B, { minTokens: 32768, maxTokens: 32768 })).toBe(2);
    expect(countOf(LLAMA_3_8B, { minTokens: 32768, maxTokens: 32768, quadraticSamples: 1 })).toBe(1);
  });

  it('leaves what the person set, and other methods', () => {
    expect(countOf(LLAMA_3_8B, {}, ['quadraticSamples'])).toBe(16);
    expect(countOf(LLAMA_3_8B, { method: 'gates' })).toBe(16);
  });

  it('counts two samples of 8192 tokens of an 8B model as 2.6 minutes of an H200', () => {
    const rate = countQuadratic({ ...base, windows: null }, LLAMA_3_8B).operationsOf(2, 8192) / (2.6 * 60);
    expect(rate).toBeGreaterThan(4.5e14);
    expect(rate).toBeLessThan(5e14);
  });
});

describe('fitToSamples', () => {
  const countOwn = (model: ModelConfig, samples: { count: number; longest: number }, options = {}) =>
    fitToSamples(base, { model, given: new Set(), samples, isGpu: true, ...options }).quadraticSamples;

  it('takes each sample once, as many as the device allows', () => {
    expect(countOwn(SMOLLM2, { count: 3, longest: 8192 })).toBe(3);
    expect(countOwn(SMOLLM2, { count: 100, longest: 8192 })).toBe(16);
    expect(countOwn(LLAMA_3_8B, { count: 100, longest: 32768 })).toBe(2);
    expect(countOwn(LLAMA_3_8B, { count: 1, longest: 32768 })).toBe(1);
    expect(countOwn(SMOLLM2, { count: 100, longest: 8192 }, { isGpu: false })).toBe(2);
  });

  it('leaves what the person set', () => {
    expect(countOwn(SMOLLM2, { count: 3, longest: 8192 }, { given: new Set(['quadraticSamples']) })).toBe(16);
  });
});

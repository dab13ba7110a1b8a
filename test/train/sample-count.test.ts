// How many samples the quadratic method takes where nobody said.
import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { loadPreset } from '../../src/config/presets.ts';
import { type ModelConfig, parseModelConfig } from '../../src/model/config.ts';
import { countQuadratic } from '../../train/budget.ts';
import { fitToGpu, fitToSamples } from '../../train/sample-count.ts';

const shape = (sizes: Record<string, number>): ModelConfig =>
  parseModelConfig({ model_type: 'llama', rope_theta: 500000, ...sizes }, 'config.json');

/** config.json of SmolLM2-135M-Instruct and of Llama-3-8B, as far as they are read. */
const smol = shape({
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  max_position_embeddings: 8192,
  vocab_size: 49152,
});
const large = shape({
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  max_position_embeddings: 32768,
  vocab_size: 128256,
});
const base: Config = { ...loadPreset('llama').config, method: 'quadratic' };
const countOf = (model: ModelConfig, overrides: Partial<Config> = {}, given: string[] = []) =>
  fitToGpu({ ...base, ...overrides }, { model, given: new Set(given) }).quadraticSamples;

describe('fitToGpu', () => {
  it('leaves the samples of a small model', () => {
    expect(base.quadraticSamples).toBe(8);
    expect(countOf(smol, { minTokens: 8192, maxTokens: 8192, windows: [256, 512, 1024, 2048] })).toBe(8);
  });

  it('halves those of a large one while they are above the budget, down to two', () => {
    expect(countOf(large, { minTokens: 2048, maxTokens: 2048 })).toBe(8);
    expect(countOf(large, { minTokens: 8192, maxTokens: 8192 })).toBe(4);
    expect(countOf(large, { minTokens: 32768, maxTokens: 32768 })).toBe(2);
    expect(countOf(large, { minTokens: 32768, maxTokens: 32768, quadraticSamples: 1 })).toBe(1);
  });

  it('leaves what the person set, and other methods', () => {
    expect(countOf(large, {}, ['quadraticSamples'])).toBe(8);
    expect(countOf(large, { method: 'gates' })).toBe(8);
  });

  it('counts two samples of 8192 tokens of an 8B model as 2.6 minutes of an H200', () => {
    const rate = countQuadratic({ ...base, windows: null }, large).operationsOf(2, 8192) / (2.6 * 60);
    expect(rate).toBeGreaterThan(4.5e14);
    expect(rate).toBeLessThan(5e14);
  });
});

describe('fitToSamples', () => {
  const countOwn = (model: ModelConfig, samples: { count: number; longest: number }, options = {}) =>
    fitToSamples(base, { model, given: new Set(), samples, isGpu: true, ...options }).quadraticSamples;

  it('takes each sample once, as many as the device allows', () => {
    expect(countOwn(smol, { count: 3, longest: 8192 })).toBe(3);
    expect(countOwn(smol, { count: 100, longest: 8192 })).toBe(8);
    expect(countOwn(large, { count: 100, longest: 32768 })).toBe(2);
    expect(countOwn(large, { count: 1, longest: 32768 })).toBe(1);
    expect(countOwn(smol, { count: 100, longest: 8192 }, { isGpu: false })).toBe(2);
  });

  it('leaves what the person set', () => {
    expect(countOwn(smol, { count: 3, longest: 8192 }, { given: new Set(['quadraticSamples']) })).toBe(8);
  });
});

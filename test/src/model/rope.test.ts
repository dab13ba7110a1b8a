import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../../src/model/config.ts';
import { computeRope, computeRotaryTables } from '../../../src/model/rope.ts';
import { makeConfigJson } from './model-fixture.ts';

interface GoldenCase {
  name: string;
  config: Record<string, unknown>;
  maxTokens: number;
  attentionScale: number;
  inverseFrequencies: number[];
  positions: number[];
  pairs: number[];
  cos: number[][];
  sin: number[][];
}
const cases: GoldenCase[] = JSON.parse(readFileSync(new URL('../../golden/rope/rope.json', import.meta.url), 'utf8'));
/** Two roundings of float32: NumPy's power and reciprocal may each differ by one unit in the last place. */
const FREQUENCY_TOLERANCE = 2.5e-7;
/** The angle at position 131,071 carries that relative error: 131071 · 2.5e-7. */
const ANGLE_TOLERANCE = 0.035;

describe('computeRope', () => {
  it('has a case of every rope type', () => {
    expect(cases.map(({ name }) => name)).toEqual([
      'llama-2',
      'odd-theta',
      'linear-8',
      'dynamic-short',
      'dynamic-long',
      'llama-3.1',
      'llama-3.2',
      'qwen2.5-yarn',
      'yarn-given',
      'yarn-mscale',
    ]);
  });

  it.each(cases)('$name equals the golden values', (golden) => {
    const config = parseModelConfig(golden.config, 'config.json');
    const { inverseFrequencies, attentionScale } = computeRope(config, golden.maxTokens);
    expect(inverseFrequencies).toBeInstanceOf(Float32Array);
    expect(inverseFrequencies.length).toBe(config.shape.headDim / 2);
    const worst = golden.inverseFrequencies.map((value, pair) => Math.abs(inverseFrequencies[pair]! / value - 1));
    expect(Math.max(...worst)).toBeLessThan(FREQUENCY_TOLERANCE);
    expect(attentionScale).toBeCloseTo(golden.attentionScale, 12);
  });

  it.each(cases)('$name: tables equal the golden cos and sin', (golden) => {
    const config = parseModelConfig(golden.config, 'config.json');
    const width = config.shape.headDim / 2;
    golden.positions.forEach((position, row) => {
      const tables = computeRotaryTables(config, { start: position, count: 1, maxTokens: golden.maxTokens });
      expect(tables.cos.length).toBe(width);
      const tolerance = position > 100_000 ? ANGLE_TOLERANCE : position > 1000 ? 2e-3 : 2e-5;
      golden.pairs.forEach((pair, column) => {
        expect(Math.abs(tables.cos[pair]! - golden.cos[row]![column]!)).toBeLessThan(tolerance);
        expect(Math.abs(tables.sin[pair]! - golden.sin[row]![column]!)).toBeLessThan(tolerance);
      });
    });
  });

  it('matches Llama 3.1 by hand: kept, mixed and slowed waves', () => {
    const golden = cases.find(({ name }) => name === 'llama-3.1')!;
    const { inverseFrequencies } = computeRope(parseModelConfig(golden.config, 'c'), 1);
    expect(inverseFrequencies[0]).toBe(1);
    expect(inverseFrequencies[63]! / (500000 ** (-126 / 128) / 8)).toBeCloseTo(1, 6);
    // Pair 31: wavelength 2π·500000^(62/128) = 3,620 lies between 2,048 and 8,192, so 1/8 and 1 are mixed.
    const plain = 500000 ** (-62 / 128);
    const smooth = (8192 / ((2 * Math.PI) / plain) - 1) / 3;
    expect(inverseFrequencies[31]! / (((1 - smooth) * plain) / 8 + smooth * plain)).toBeCloseTo(1, 6);
  });

  it('dynamic: the base is the declared one up to the original length and grows after it', () => {
    const json = makeConfigJson({ max_position_embeddings: 512, rope_scaling: { type: 'dynamic', factor: 2 } });
    const config = parseModelConfig(json, 'c');
    const plain = computeRope(parseModelConfig(makeConfigJson(), 'c'), 1).inverseFrequencies;
    expect(computeRope(config, 1).inverseFrequencies).toEqual(plain);
    expect(computeRope(config, 512).inverseFrequencies).toEqual(plain);
    expect(computeRope(config, 513).inverseFrequencies[1]).toBeLessThan(plain[1]!);
  });

  it('tables from any start are rows of the whole table', () => {
    const config = parseModelConfig(makeConfigJson(), 'c');
    const whole = computeRotaryTables(config, { start: 0, count: 23, maxTokens: 23 });
    const part = computeRotaryTables(config, { start: 17, count: 6, maxTokens: 23 });
    const width = config.shape.headDim / 2;
    expect(part.cos).toEqual(whole.cos.slice(17 * width));
    expect(part.sin).toEqual(whole.sin.slice(17 * width));
    expect(computeRotaryTables(config, { start: 3, count: 0, maxTokens: 23 }).cos.length).toBe(0);
  });

  it.each([0, -1, 1.5, Number.NaN])('refuses maxTokens %s', (maxTokens) => {
    expect(() => computeRope(parseModelConfig(makeConfigJson(), 'c'), maxTokens)).toThrow(
      `Expected \`maxTokens\` to be an integer of at least 1, got \`${maxTokens}\`.`,
    );
  });
});

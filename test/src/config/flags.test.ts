import { describe, expect, it } from 'vitest';
import { fitConfig } from '../../../src/config/fit.ts';
import { listConfigKeys, parseCount, resolveConfig } from '../../../src/config/flags.ts';
import { editDistance, findNearest } from '../../../src/config/nearest.ts';
import { loadPreset } from '../../../src/config/presets.ts';
import { makeRandom } from '../../../src/core/random.ts';
import type { ModelShape } from '../../../src/core/shapes.ts';
import { ConfigError } from '../../../src/errors/errors.ts';

describe('listConfigKeys', () => {
  const keys = listConfigKeys();

  it('gives every leaf of a preset a kebab-case flag of its own and a description', () => {
    const { templates, ...plain } = loadPreset('base').config;
    expect(keys).toHaveLength(Object.keys(plain).length + Object.keys(templates).length);
    expect(new Set(keys.map(({ flag }) => flag)).size).toBe(keys.length);
    for (const { flag, description } of keys) {
      expect(flag).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(description).toMatch(/^[a-z].*[^.]$/);
    }
  });

  it('has the flags that the command line promises', () => {
    const flags = keys.map(({ flag }) => flag);
    for (const flag of [
      'method',
      'steps',
      'lr',
      'lambda',
      'sink',
      'recent',
      'seed',
      'streaming-fraction',
      'threshold',
      'windows',
      'kv-share',
      'at',
      'held-out-samples',
    ]) {
      expect(flags).toContain(flag);
    }
    expect(keys.find(({ key }) => key === 'templatesNeedle')).toMatchObject({
      flag: 'templates-needle',
      kind: 'string',
    });
    expect(keys.find(({ key }) => key === 'questionOrder')?.choices).toEqual(['random', 'depth']);
  });
});

describe('parseCount', () => {
  it('reads numbers with k = 1024 and m = 1048576', () => {
    const read: [string, number | null][] = [
      ['0', 0],
      ['-1', -1],
      ['2k', 2048],
      ['32K', 32768],
      ['1m', 1048576],
      ['1.5k', 1536],
      ['0.05', 0.05],
      ['1e-3', 0.001],
      ['.5', 0.5],
      ['', null],
      ['k', null],
      ['2kk', null],
      ['2 k', null],
      ['0x10', null],
      ['Infinity', null],
      ['1,000', null],
      ['two', null],
    ];
    for (const [text, value] of read) expect(parseCount(text), text).toBe(value);
  });
});

describe('resolveConfig', () => {
  it('lays flags over a preset and skips those not given', () => {
    const config = resolveConfig({
      preset: 'demo',
      overrides: {
        sink: '4',
        maxTokens: '1k',
        lr: 0.1,
        steps: undefined,
        alphabet: 'a, b,c',
        templatesClose: ' End.',
        questionOrder: 'depth',
      },
    });
    const demo = loadPreset('demo').config;
    expect(config).toEqual({
      ...demo,
      sinkTokens: 4,
      maxTokens: 1024,
      lr: 0.1,
      alphabet: ['a', 'b', 'c'],
      questionOrder: 'depth',
      templates: { ...demo.templates, close: ' End.' },
    });
  });

  it('replaces the preset’s cut by the flag’s', () => {
    const preset = loadPreset('demo');
    const cut = { ...preset, config: { ...preset.config, streamingFraction: 0.8 } };
    expect(resolveConfig({ preset: cut, overrides: { threshold: '0.5' } })).toMatchObject({
      streamingFraction: null,
      threshold: 0.5,
    });
    expect(resolveConfig({ preset: cut, overrides: { streamingFraction: '0' } })).toMatchObject({
      streamingFraction: 0,
      threshold: null,
    });
    expect(resolveConfig({ preset: cut }).streamingFraction).toBe(0.8);
    expect(resolveConfig({ preset: cut, overrides: { streamingFraction: 'null' } }).streamingFraction).toBe(null);
  });

  const wrong: [overrides: Record<string, unknown>, message: string][] = [
    [{ sink: '-1' }, 'Expected `--sink` to be an integer of at least 0, got `-1`.'],
    [{ sinkTokens: -1 }, 'Expected `--sink` to be an integer of at least 0, got `-1`.'],
    [{ recent: '0' }, 'Expected `--recent` to be an integer of at least 1, got `0`.'],
    [{ steps: 'many' }, 'Expected `--steps` to be an integer of at least 1, got `many`.'],
    [{ steps: '1.5' }, 'Expected `--steps` to be an integer of at least 1, got `1.5`.'],
    [{ lr: Number.NaN }, 'Expected `--lr` to be a number above 0 and at most 1000, got `NaN`.'],
    [{ streamingFraction: '1.2' }, 'Expected `--streaming-fraction` to be a number from 0 to 1, or null, got `1.2`.'],
    [
      { streamingFraction: '0.5', threshold: '0.5' },
      'Expected either `--streaming-fraction` or `--threshold`, got both.',
    ],
    [{ minTokens: '64k' }, 'Expected `--min-tokens` to be at most `maxTokens`, got `65536` and `32768`.'],
    [{ passkeys: '30' }, 'Expected `--passkeys` to be at most the number of `ordinals`, got `30` and `20`.'],
    [{ supervise: 'x' }, 'Expected `--supervise` to be one of "predict", "answer", got `x`.'],
    [{ templatesNeedle: 'x' }, 'Expected `--templates-needle` to be a text that holds {passkey} once'],
    [{ speed: 3 }, 'Unknown configuration key `speed`'],
  ];
  for (const [overrides, message] of wrong) {
    it(`refuses ${JSON.stringify(overrides)}, by the name of the flag`, () => {
      expect(() => resolveConfig({ preset: 'base', overrides })).toThrow(ConfigError);
      expect(() => resolveConfig({ preset: 'base', overrides })).toThrow(message);
    });
  }
});

describe('fitConfig', () => {
  const shape: ModelShape = {
    architecture: 'llama',
    layers: 2,
    heads: 8,
    kvHeads: 8,
    headDim: 4,
    hidden: 32,
    intermediate: 64,
    vocab: 300,
    maxPositions: 4096,
  };
  const base = loadPreset('base').config;

  it('caps the preset’s lengths at the model and refuses a given one that is longer', () => {
    expect(fitConfig(base, shape)).toMatchObject({ minTokens: 2048, maxTokens: 4096 });
    expect(fitConfig(base, { ...shape, maxPositions: 1000 })).toMatchObject({ minTokens: 1000, maxTokens: 1000 });
    expect(() => fitConfig(base, shape, { given: new Set(['maxTokens']) })).toThrow(
      'Expected `--max-tokens` to be at most the 4096 tokens that the model allows, got `32768`.',
    );
    expect(base.maxTokens).toBe(32768);
  });

  it('lets half of the heads stream with grouped queries, else three quarters, unless a cut is set', () => {
    expect(fitConfig(base, shape).streamingFraction).toBe(0.75);
    expect(fitConfig(base, { ...shape, kvHeads: 2 }).streamingFraction).toBe(0.5);
    expect(fitConfig({ ...base, streamingFraction: 0 }, shape).streamingFraction).toBe(0);
    expect(fitConfig({ ...base, threshold: 0.3 }, shape)).toMatchObject({ streamingFraction: null, threshold: 0.3 });
  });
});

describe('findNearest', () => {
  it('takes the name with the fewest edits, a swap counting once, the earlier of equals', () => {
    expect(editDistance('steps', 'setps')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
    expect(editDistance('kitten', 'sitting')).toBe(3);
    expect(findNearest('lmabda', ['lr', 'lambda', 'seed'])).toBe('lambda');
    expect(findNearest('x', ['a', 'b'])).toBe('a');
    expect(findNearest('x'.repeat(1e6), ['a', 'b'])).toBe('a');
  });

  it('is zero for equals, the same both ways, and at least the difference in length', () => {
    const random = makeRandom(1);
    const word = (): string => Array.from({ length: random.integer(6) }, () => random.pick(['a', 'b'])).join('');
    for (let round = 0; round < 200; round++) {
      const [a, b] = [word(), word()];
      expect(editDistance(a, a)).toBe(0);
      expect(editDistance(a, b)).toBe(editDistance(b, a));
      expect(editDistance(a, b)).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
    }
  });
});

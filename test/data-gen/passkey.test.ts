import { describe, expect, it } from 'vitest';
import { openProseHaystack } from '../../data-gen/haystack.ts';
import {
  generateSample,
  generateSamples,
  neededTokens,
  type PasskeySample,
  type PasskeySettings,
  pickPasskeySettings,
  type SampleOrigin,
} from '../../data-gen/passkey.ts';
import { encodePasskey, encodePiece, listTemplateWords } from '../../data-gen/template.ts';
import { resolveConfig } from '../../src/config/flags.ts';
import { makeRandom } from '../../src/core/random.ts';
import { checkSample } from '../../src/formats/samples.ts';
import { makeWordTokenizer } from './word-tokenizer.ts';

const tokenizer = makeWordTokenizer();
const demo = resolveConfig({ preset: 'demo' });
const origin: SampleOrigin = {
  tokenizer,
  haystack: openProseHaystack(tokenizer),
  settings: demo,
  seed: 42,
  split: 'train',
};
const withSettings = (settings: Partial<PasskeySettings>): SampleOrigin => ({
  ...origin,
  settings: { ...demo, ...settings },
});
const textOf = (sample: PasskeySample, [start, end]: readonly [number, number]): string =>
  tokenizer.decode(sample.tokens.slice(start, end));
const countIn = (text: string, part: string): number => text.split(part).length - 1;

/** The laws every sample of ours obeys. */
function expectLawful(sample: PasskeySample, settings: PasskeySettings, length: number): void {
  checkSample(sample, { place: 'here', vocab: tokenizer.vocabSize, maxTokens: length });
  expect(sample.tokens).toHaveLength(length);
  expect(sample.length).toBe(length);
  expect(sample.passkeys).toHaveLength(settings.passkeys);
  expect([...sample.asked].sort((a, b) => a - b)).toEqual(sample.passkeys.map((_, index) => index));
  const questionsStart = sample.answers[0]![0] - 1;
  const haystack = tokenizer.decode(sample.tokens.slice(0, questionsStart));
  const questions = tokenizer.decode(sample.tokens.slice(questionsStart));
  for (const [question, ordinal] of sample.asked.entries()) {
    const passkey = sample.passkeys[ordinal] as string;
    expect(passkey.split(' ')).toHaveLength(settings.wordsPerPasskey);
    expect(textOf(sample, sample.answers[question]!)).toBe(` ${passkey}`);
    expect(textOf(sample, sample.needles[ordinal]!)).toBe(` ${passkey}`);
    expect([countIn(haystack, ` ${passkey}`), countIn(questions, ` ${passkey}`)]).toEqual([1, 1]);
  }
  const starts = sample.needles.map(([start]) => start);
  expect(starts).toEqual([...starts].sort((a, b) => a - b));
  expect(sample.depths).toEqual([...sample.depths].sort((a, b) => a - b));
  expect(new Set(sample.depths).size).toBe(settings.passkeys);
}

describe('generateSample', () => {
  const samples = Array.from({ length: 40 }, (_, index) => generateSample({ ...origin, index }));

  it('gives lawful samples with the demo preset', () => {
    for (const sample of samples) expectLawful(sample, demo, 256);
  });

  it('lays out BOS, needles in the haystack, then a question for each', () => {
    const [sample] = samples as [PasskeySample];
    const text = tokenizer.decode(sample.tokens);
    expect(text.startsWith('<bos> ')).toBe(true);
    for (const [ordinal, passkey] of sample.passkeys.entries()) {
      const word = demo.ordinals[ordinal] as string;
      expect(countIn(text, ` The ${word} passkey is: ${passkey}.`)).toBe(1);
      expect(countIn(text, ` What is the ${word} passkey? Answer: ${passkey}.`)).toBe(1);
    }
  });

  it('puts most needles after the end of a sentence', () => {
    const needleLead = encodePiece(tokenizer, ' The first passkey is:').length;
    const before = samples.flatMap((sample) =>
      sample.needles.map(([start]) => textOf(sample, [start - needleLead - 1, start - needleLead])),
    );
    const joints = before.filter((text) => /[.?\n]$/.test(text));
    expect(joints.length / before.length).toBeGreaterThan(0.9);
  });

  it('keeps the needles near their depths', () => {
    const [sample] = [generateSample({ ...origin, index: 0, lengthTokens: 20_000 })];
    for (const [ordinal, [start]] of sample.needles.entries()) {
      expect(Math.abs(start / 20_000 - sample.depths[ordinal]!)).toBeLessThan(0.02);
    }
  });

  it('asks in random order by default and in order of depth by option', () => {
    const orders = new Set(samples.map((sample) => sample.asked.join()));
    expect(orders.size).toBeGreaterThan(20);
    expect(generateSample({ ...withSettings({ questionOrder: 'depth' }), index: 3 }).asked).toEqual([0, 1, 2, 3, 4]);
  });

  it('gives the same sample for the same seed, whatever came before it', () => {
    expect(generateSample({ ...origin, index: 7 })).toEqual(samples[7]);
    expect([...generateSamples({ ...origin, start: 5, count: 5 })]).toEqual(samples.slice(5, 10));
    expect(generateSample({ ...origin, index: 7, seed: 43 }).tokens).not.toEqual(samples[7]!.tokens);
    expect(generateSample({ ...origin, index: 7, split: 'held-out', lengthTokens: 256 }).tokens).not.toEqual(
      samples[7]!.tokens,
    );
  });

  it('stays lawful for random settings, with and without BOS', () => {
    const random = makeRandom(1, 'property');
    for (let round = 0; round < 60; round++) {
      const settings: PasskeySettings = {
        ...demo,
        passkeys: 1 + random.integer(20),
        wordsPerPasskey: 3 + random.integer(30),
        questionOrder: random.pick(['random', 'depth']),
        depthCount: 20 + random.integer(1000),
        depthMin: random.pick([0, 0.05, 0.5]),
        depthMax: random.pick([0.5, 0.95, 1]),
        templates: random.pick([demo.templates, resolveConfig({ preset: 'base' }).templates]),
      };
      const plain = random.pick([true, false]) ? tokenizer : makeWordTokenizer({ bos: false });
      const length = neededTokens({ tokenizer: plain, settings }) + random.pick([0, 1, 7, 500, 3000]);
      const haystack = openProseHaystack(plain);
      const sample = generateSample({
        ...origin,
        tokenizer: plain,
        haystack,
        settings,
        index: round,
        lengthTokens: length,
      });
      if (settings.depthMin < settings.depthMax) expectLawful(sample, settings, length);
      else expect(sample.tokens).toHaveLength(length);
    }
  });

  it('makes the least length and refuses one token less', () => {
    const least = neededTokens({ tokenizer, settings: demo });
    expectLawful(generateSample({ ...origin, index: 0, lengthTokens: least }), demo, least);
    expect(() => generateSample({ ...origin, index: 0, lengthTokens: least - 1 })).toThrow(
      `Expected samples of at least ${least} tokens for 5 passkeys of 5 words, got \`${least - 1}\`; raise --min-tokens, or lower --passkeys or --words-per-passkey.`,
    );
  });

  it('refuses a length past what the model allows', () => {
    expect(() => generateSample({ ...origin, index: 0, maxPositions: 255 })).toThrow(
      'Expected samples of at most the 255 tokens that the model allows, got `256`; lower --max-tokens.',
    );
  });

  it('refuses passkeys that the haystack repeats by itself', () => {
    const settings = withSettings({ alphabet: ['the'], passkeys: 1, wordsPerPasskey: 1 });
    expect(() => generateSample({ ...settings, index: 0 })).toThrow(
      'Expected passkeys that occur nowhere else in the text',
    );
  });

  it('draws again where only some passkeys stand in the haystack', () => {
    const settings = { ...demo, alphabet: ['the', 'alpha', 'bravo'], passkeys: 1, wordsPerPasskey: 1 };
    for (let index = 0; index < 10; index++)
      expectLawful(generateSample({ ...origin, settings, index }), settings, 256);
  });
});

describe('pickPasskeySettings', () => {
  it('holds all that a sample depends on, and nothing else', () => {
    const settings = pickPasskeySettings(demo);
    expect(generateSample({ ...origin, settings, index: 2 })).toEqual(generateSample({ ...origin, index: 2 }));
    for (const key of ['lr', 'steps', 'lambda', 'sinkTokens', 'seed']) expect(settings).not.toHaveProperty(key);
  });
});

describe('generateSamples', () => {
  it('draws each grid length once per epoch', () => {
    const settings = withSettings({ minTokens: 250, maxTokens: 290, lengthCount: 5 });
    const lengths = [...generateSamples({ ...settings, count: 10 })].map((sample) => sample.length);
    const sorted = (part: number[]): number[] => [...part].sort((a, b) => a - b);
    expect(sorted(lengths.slice(0, 5))).toEqual([250, 260, 270, 280, 290]);
    expect(sorted(lengths.slice(5))).toEqual([250, 260, 270, 280, 290]);
  });

  it('spreads held-out lengths to twice the longest, within the model', () => {
    const heldOut = { ...withSettings({ heldOutSamples: 3, heldOutLengthFactor: 2 }), split: 'held-out' as const };
    const lengths = (maxPositions?: number): number[] =>
      [...generateSamples({ ...heldOut, ...(maxPositions && { maxPositions }), count: 3 })]
        .map((sample) => sample.length)
        .sort((a, b) => a - b);
    expect(lengths()).toEqual([256, 384, 512]);
    expect(lengths(300)).toEqual([256, 278, 300]);
  });
});

describe('encodePiece', () => {
  it('leaves out the space that a SentencePiece tokenizer puts before a text', () => {
    const prefixed = makeWordTokenizer({ dummyPrefix: true });
    expect(encodePiece(prefixed, '.')).toEqual(tokenizer.encode('.'));
    expect(encodePasskey(prefixed, ['alpha', 'bravo'])).toEqual(tokenizer.encode(' alpha bravo'));
    expect(encodePiece(prefixed, '')).toEqual([]);
  });
});

describe('listTemplateWords', () => {
  it('names the words of templates, ordinals and alphabet', () => {
    const words = listTemplateWords(demo);
    for (const word of ['The', 'the', 'What', 'is', 'passkey', 'Answer', 'first', 'twentieth', 'alpha', 'zulu'])
      expect(words).toContain(word);
    expect(words).not.toContain('ordinal');
    expect(words).toHaveLength(20 + 26 + 6);
  });
});

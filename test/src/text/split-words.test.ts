import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import { describe, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import { splitWords } from '../../../src/text/split-words.ts';
import { makeByteLevelBpe, makeSentencePieceBpe } from './tokenizer-fixture.ts';

type Parts = Parameters<typeof splitWords>[0];

/** More tokens and merges, spaces among them, than the plain fixture has. */
function makeTokenizer(extra: string[] = [], merges: string[] = []): Parts {
  const json = makeSentencePieceBpe() as Parts & { model: { vocab: Record<string, number>; merges: string[] } };
  const tokens = ['▁▁', '▁▁▁▁', '▁b', 'ab', 'ba', '▁ba', ...extra];
  const vocab = { ...json.model.vocab };
  for (const token of tokens) vocab[token] = Object.keys(vocab).length;
  const more = ['▁ ▁', '▁▁ ▁▁', '▁ b', 'a b', 'b a', '▁b a', ...merges];
  return { ...json, model: { ...json.model, vocab, merges: [...json.model.merges, ...more] } };
}
const encode = (json: object, text: string): number[] => new LibraryTokenizer(json, {}).encode(text).ids;

describe('splitWords', () => {
  it('gives the same ids as the uncut text', () => {
    const json = makeTokenizer();
    for (const given of [null, { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false }]) {
      const uncut = { ...json, pre_tokenizer: given, ...(given === null ? {} : { normalizer: null }) };
      const pre = splitWords(uncut);
      expect(pre).not.toEqual(given);
      const random = makeRandom(2, 'words');
      for (let round = 0; round < 150; round++) {
        const letters = Array.from({ length: random.integer(40) }, () =>
          random.pick(['a', 'b', ' ', ' ', '\n', 'é', '▁', '<eos>']),
        );
        const text = letters.join('');
        expect(encode({ ...uncut, pre_tokenizer: pre }, text)).toEqual(encode(uncut, text));
      }
    }
  });

  it('leaves a vocabulary alone in which a token crosses into a space', () => {
    const json = makeTokenizer(['a▁'], ['a ▁']);
    expect(splitWords(json)).toBeNull();
  });

  it('leaves other tokenizers alone', () => {
    const byteLevel = makeByteLevelBpe(['the']) as Parts;
    expect(splitWords(byteLevel)).toBe(byteLevel.pre_tokenizer);
    const json = makeTokenizer();
    for (const change of [{ ignore_merges: true }, { end_of_word_suffix: '</w>' }, { type: 'Unigram' }]) {
      expect(splitWords({ ...json, model: { ...json.model, ...change } })).toBeNull();
    }
  });
});

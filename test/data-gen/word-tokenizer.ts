// A small exact tokenizer for the generator's tests: " word" of a closed list is one token, everything else one token per byte.
import { listLexicon } from '../../data-gen/prose.ts';
import { listTemplateWords } from '../../data-gen/template.ts';
import { loadPreset } from '../../src/config/presets.ts';
import type { Tokenizer } from '../../src/text/tokenizer.ts';

const BOS = 256;
const FIRST_WORD = 257;

/** @param options.bos give the model a BOS token.  @param options.dummyPrefix put a space before each text, as SentencePiece does. */
export function makeWordTokenizer(options: { bos?: boolean; dummyPrefix?: boolean } = {}): Tokenizer {
  const { bos = true, dummyPrefix = false } = options;
  const words = [...listLexicon(), ...listTemplateWords(loadPreset('demo').config)].map((word) => ` ${word}`);
  const ids = new Map(words.map((word, index) => [word, FIRST_WORD + index]));
  const texts = new Map([...ids].map(([word, id]) => [id, word]));
  return {
    vocabSize: FIRST_WORD + words.length,
    bosTokenId: bos ? BOS : null,
    eosTokenIds: [],
    tokenId: (text: string) => ids.get(text) ?? null,
    encode(text: string) {
      const pieces = `${dummyPrefix && text !== '' ? ' ' : ''}${text}`.match(/ ?\p{L}+|./gsu) ?? [];
      return pieces.flatMap((piece) => ids.get(piece) ?? [...Buffer.from(piece)]);
    },
    decode(tokens: ArrayLike<number>) {
      const parts = Array.from(tokens, (id) => (id < BOS ? Buffer.from([id]) : Buffer.from(texts.get(id) ?? '<bos>')));
      const text = Buffer.concat(parts).toString('utf8');
      return dummyPrefix ? text.replace(/^ /, '') : text;
    },
  } as Tokenizer;
}

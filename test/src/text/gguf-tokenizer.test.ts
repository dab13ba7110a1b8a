import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FormatError } from '../../../src/errors/errors.ts';
import { renderChat } from '../../../src/text/chat-template.ts';
import { readGgufTokenizer } from '../../../src/text/gguf-tokenizer.ts';
import { buildPreTokenizer } from '../../../src/text/pre-tokenizers.ts';
import { hashTokenizer, openTokenizer } from '../../../src/text/tokenizer.ts';
import { encodeGguf, type Field } from '../../reference/gguf-writer.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-gguf-text-'));
afterAll(() => rmSync(scratch, { recursive: true }));
let count = 0;

function write(fields: Record<string, Field | undefined>): string {
  const path = join(scratch, `${count++}.gguf`);
  const given = Object.entries(fields).filter((entry): entry is [string, Field] => entry[1] !== undefined);
  writeFileSync(path, encodeGguf(Object.fromEntries(given), []));
  return path;
}

/** All 256 bytes as byte-level BPE writes them, then a few merges and special tokens. */
const BYTES = Array.from({ length: 256 }, (_, byte) => {
  const isShown = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  if (isShown) return String.fromCharCode(byte);
  const hidden = [...Array(256).keys()].filter((b) => !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174));
  return String.fromCharCode(256 + hidden.indexOf(byte));
});
const BYTE_LEVEL: Record<string, Field> = {
  'tokenizer.ggml.model': ['string', 'gpt2'],
  'tokenizer.ggml.pre': ['string', 'qwen2'],
  'tokenizer.ggml.tokens': ['strings', [...BYTES, '12', 'ab', 'Ġa', 'Ġab', '<|im_start|>', '<|im_end|>', '<think>']],
  'tokenizer.ggml.token_type': ['i32s', [...BYTES.map(() => 1), 1, 1, 1, 1, 3, 3, 4]],
  'tokenizer.ggml.merges': ['strings', ['1 2', 'a b', 'Ġ a', 'Ġ ab']],
  'tokenizer.ggml.bos_token_id': ['u32', 260],
  'tokenizer.ggml.eos_token_id': ['u32', 261],
};

/** Pieces with scores; bytes as SentencePiece writes them. */
const PIECES: readonly (readonly [string, number, number])[] = [
  ['<unk>', 0, 2],
  ['<s>', 0, 3],
  ['</s>', 0, 3],
  ...Array.from(
    { length: 256 },
    (_, byte) => [`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, 0, 6] as const,
  ),
  ['ab', -1, 1],
  ['▁a', -2, 1],
  ['▁ab', -3, 1],
  ['bc', 0, 1],
  ['▁', -10, 1],
  ['a', -11, 1],
  ['b', -12, 1],
  ['c', -13, 1],
];
const SENTENCE_PIECE: Record<string, Field> = {
  'tokenizer.ggml.model': ['string', 'llama'],
  'tokenizer.ggml.tokens': ['strings', PIECES.map(([piece]) => piece)],
  'tokenizer.ggml.scores': ['f32s', PIECES.map(([, score]) => score)],
  'tokenizer.ggml.token_type': ['i32s', PIECES.map(([, , type]) => type)],
  'tokenizer.ggml.bos_token_id': ['u32', 1],
  'tokenizer.ggml.eos_token_id': ['u32', 2],
};
const idOf = (piece: string): number => PIECES.findIndex(([text]) => text === piece);

describe('byte-level BPE from GGUF', () => {
  it('cuts digits one by one or not, by the name of the pre-tokenizer', () => {
    const one = openTokenizer(write(BYTE_LEVEL));
    const three = openTokenizer(write({ ...BYTE_LEVEL, 'tokenizer.ggml.pre': ['string', 'dbrx'] }));
    expect(one.encode('12')).toEqual([49, 50]);
    expect(three.encode('12')).toEqual([256]);
    expect(one.encode('ab ab')).toEqual([257, 259]);
  });

  it('takes special tokens whole, and gives every text back', () => {
    const tokenizer = openTokenizer(write(BYTE_LEVEL));
    expect(tokenizer.encode('<|im_start|>ab<|im_end|><think>')).toEqual([260, 257, 261, 262]);
    const text = 'ab  12\n\té 今天 👩‍👧 x';
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect(tokenizer.decode([260, 257, 262], { skipSpecialTokens: true })).toBe('ab<think>');
    expect([tokenizer.vocabSize, tokenizer.eosTokenIds]).toEqual([263, [261]]);
  });

  it('adds BOS where the file says so, and by llama.cpp’s rule where it is silent', () => {
    const encode = (fields: Record<string, Field>): number[] =>
      openTokenizer(write({ ...BYTE_LEVEL, ...fields })).encode('ab', { addSpecialTokens: true });
    expect(encode({})).toEqual([257]);
    expect(encode({ 'tokenizer.ggml.add_bos_token': ['bool', 1] })).toEqual([260, 257]);
    expect(encode({ 'tokenizer.ggml.pre': ['string', 'llama-bpe'] })).toEqual([260, 257]);
    expect(
      encode({ 'tokenizer.ggml.pre': ['string', 'llama-bpe'], 'tokenizer.ggml.add_bos_token': ['bool', 0] }),
    ).toEqual([257]);
  });

  it('renders the chat template of the file, with its special tokens', () => {
    const template = '{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}';
    const path = write({ ...BYTE_LEVEL, 'tokenizer.chat_template': ['string', template] });
    expect(renderChat(path, [{ role: 'user', content: 'hi' }])).toBe('<|im_start|>user: hi<|im_end|>');
    expect(() => renderChat(write(BYTE_LEVEL), [{ role: 'user', content: 'hi' }])).toThrow(FormatError);
  });

  it('hashes what makes the tokenizer, and not the path', () => {
    expect(hashTokenizer(write(BYTE_LEVEL))).toBe(hashTokenizer(write(BYTE_LEVEL)));
    const other = write({ ...BYTE_LEVEL, 'tokenizer.ggml.pre': ['string', 'dbrx'] });
    expect(hashTokenizer(other)).not.toBe(hashTokenizer(write(BYTE_LEVEL)));
  });
});

describe('SentencePiece from GGUF', () => {
  it('merges by score, spells spaces, falls back to bytes', () => {
    const tokenizer = openTokenizer(write(SENTENCE_PIECE));
    // The greatest score first: "bc" before "ab", "ab" before "▁a".
    expect(tokenizer.encode('abc')).toEqual([idOf('▁a'), idOf('bc')]);
    expect(tokenizer.encode('ab')).toEqual([idOf('▁ab')]);
    expect(tokenizer.encode('b é')).toEqual([idOf('▁'), idOf('b'), idOf('▁'), idOf('<0xC3>'), idOf('<0xA9>')]);
    expect(tokenizer.encode('ab', { addSpecialTokens: true })).toEqual([1, idOf('▁ab')]);
    expect(tokenizer.decode(tokenizer.encode('b é ab'))).toBe('b é ab');
  });

  it('obeys add_space_prefix and add_bos_token', () => {
    const path = write({
      ...SENTENCE_PIECE,
      'tokenizer.ggml.add_space_prefix': ['bool', 0],
      'tokenizer.ggml.add_bos_token': ['bool', 0],
    });
    const tokenizer = openTokenizer(path);
    expect(tokenizer.encode('ab', { addSpecialTokens: true })).toEqual([idOf('ab')]);
    expect(tokenizer.decode([idOf('▁ab')])).toBe(' ab');
  });
});

describe('readGgufTokenizer refuses', () => {
  it.each<[string, Record<string, Field | undefined>, RegExp]>([
    [
      'another kind',
      { 'tokenizer.ggml.model': ['string', 'bert'] },
      /`tokenizer\.ggml\.model`.*gpt2 or llama, got `bert`/,
    ],
    ['no kind', { 'tokenizer.ggml.model': undefined }, /gpt2 or llama, got `undefined`/],
    [
      'an unknown pre-tokenizer',
      { 'tokenizer.ggml.pre': ['string', 'bailingmoe'] },
      /`tokenizer\.ggml\.pre`.*got `bailingmoe`.*Hugging Face folder/,
    ],
    ['no tokens', { 'tokenizer.ggml.tokens': undefined }, /`tokenizer\.ggml\.tokens` in .*found none/],
    ['tokens that are numbers', { 'tokenizer.ggml.tokens': ['i32s', [1]] }, /an array of one kind/],
    ['types of another length', { 'tokenizer.ggml.token_type': ['i32s', [1]] }, /to have 263 values .*got 1/],
    ['no merges', { 'tokenizer.ggml.merges': undefined }, /`tokenizer\.ggml\.merges`.*got none/],
    [
      'a token id beyond the vocabulary',
      { 'tokenizer.ggml.bos_token_id': ['u32', 999] },
      /bos_token_id` of .* below 263, got `999`/,
    ],
    ['a flag that is none', { 'tokenizer.ggml.add_bos_token': ['u32', 1] }, /to be true or false, got `1`/],
  ])('%s', (_, changes, words) => {
    const path = write({ ...BYTE_LEVEL, ...changes });
    expect(() => readGgufTokenizer(path)).toThrow(FormatError);
    expect(() => readGgufTokenizer(path)).toThrow(words);
  });

  it('scores of another length', () => {
    const path = write({ ...SENTENCE_PIECE, 'tokenizer.ggml.scores': ['f32s', [1]] });
    expect(() => readGgufTokenizer(path)).toThrow(/`tokenizer\.ggml\.scores` of .* to be 267 numbers/);
  });
});

describe('buildPreTokenizer', () => {
  it('has llama.cpp’s default for files without a name', () => {
    expect(buildPreTokenizer(undefined, 'f')).toBe(buildPreTokenizer('default', 'f'));
  });
});

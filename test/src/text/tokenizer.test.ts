import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import { FormatError } from '../../../src/errors/errors.ts';
import { openTokenizer, type Tokenizer } from '../../../src/text/tokenizer.ts';
import { makeScratchFolder, writeFolder } from '../model/model-fixture.ts';
import { makeByteLevelBpe, makeSentencePieceBpe, makeWordLevel, TOKENIZER_CONFIG } from './tokenizer-fixture.ts';

const scratch = makeScratchFolder();
let folders = 0;
const write = (files: Record<string, unknown>): string => writeFolder(join(scratch, `t${folders++}`), files);
const open = (json: object, config: object | null = TOKENIZER_CONFIG): Tokenizer =>
  openTokenizer(write({ 'tokenizer.json': json, ...(config === null ? {} : { 'tokenizer_config.json': config }) }));

describe('byte-level BPE', () => {
  const tokenizer = open(makeByteLevelBpe(['the', 'Ġthe', 'Ġpasskey']));

  it('finds whole words with ignore_merges and no merges, bytes otherwise', () => {
    expect(tokenizer.encode('the the passkey')).toEqual([258, 259, 260]);
    expect(tokenizer.encode('pass')).toEqual([...'pass'].map((letter) => 2 + letter.charCodeAt(0)));
    expect(tokenizer.encode('é')).toEqual([2 + 0xc3, 2 + 0xa9]);
    expect(tokenizer.encode('')).toEqual([]);
  });

  it('applies merges without ignore_merges, in both spellings', () => {
    const words = ['th', 'the'];
    for (const merges of [
      ['t h', 'th e'],
      [
        ['t', 'h'],
        ['th', 'e'],
      ],
    ]) {
      const merging = open(makeByteLevelBpe(words, { merges, ignoreMerges: false }));
      expect(merging.encode('the')).toEqual([259]);
      expect(merging.encode('thth')).toEqual([258, 258]);
    }
    expect(open(makeByteLevelBpe(words, { ignoreMerges: false })).encode('the').length).toBe(3);
  });

  it('adds special tokens only when asked, and reads those in the text', () => {
    expect(tokenizer.encode('the')).toEqual([258]);
    expect(tokenizer.encode('the', { addSpecialTokens: true })).toEqual([0, 258]);
    expect(tokenizer.encode('<bos>the<eos>')).toEqual([0, 258, 1]);
  });

  it('decodes special tokens or leaves them out, and gives nothing for ids outside the vocabulary', () => {
    expect(tokenizer.decode([0, 258, 259, 1])).toBe('<bos>the the<eos>');
    expect(tokenizer.decode(Int32Array.of(0, 258, 259, 1), { skipSpecialTokens: true })).toBe('the the');
    expect(tokenizer.decode([258, 9999, -1, 1.5])).toBe('the');
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.decode([9999])).toBe('');
    expect(tokenizer.decode([2 + 0xc3])).toBe('\ufffd');
  });

  it('keeps the space before punctuation', () => {
    expect(tokenizer.decode(tokenizer.encode("it 's the passkey ."))).toBe("it 's the passkey .");
  });

  it('knows its size and its special tokens', () => {
    expect(tokenizer.vocabSize).toBe(261);
    expect(tokenizer.bosTokenId).toBe(0);
    expect(tokenizer.eosTokenIds).toEqual([1]);
    const bare = open(makeByteLevelBpe([]), null);
    expect([bare.bosTokenId, bare.eosTokenIds]).toEqual([0, []]);
    expect(open(makeByteLevelBpe([]), { bos_token: 'absent' }).bosTokenId).toBe(0);
  });

  it('puts BOS before a text by add_bos_token, else by the post-processor, and never twice', () => {
    const plain = { ...makeByteLevelBpe(['the']), post_processor: null };
    expect(open(plain).bosTokenId).toBeNull();
    expect(open(plain).encode('the', { addSpecialTokens: true })).toEqual([258]);
    const asked = open(plain, { ...TOKENIZER_CONFIG, add_bos_token: true });
    expect(asked.encode('the', { addSpecialTokens: true })).toEqual([0, 258]);
    expect(asked.encode('<bos>the', { addSpecialTokens: true })).toEqual([0, 258]);
    const declined = open(makeByteLevelBpe(['the']), { ...TOKENIZER_CONFIG, add_bos_token: false });
    expect(declined.encode('the', { addSpecialTokens: true })).toEqual([258]);
    expect(tokenizer.encode('<bos>the', { addSpecialTokens: true })).toEqual([0, 258]);
  });

  it('refuses a vocabulary that lacks what its merges take or make, and two tokens with one id', () => {
    const merges = [
      ['t', 'h'],
      ['th', 'e'],
    ];
    expect(() => open(makeByteLevelBpe(['th'], { merges, ignoreMerges: false }))).toThrow(
      /to hold the token `the`, which the merge of `th` and `e` needs, found none/,
    );
    expect(() => open(makeByteLevelBpe(['the'], { merges, ignoreMerges: false }))).toThrow(/the token `th`/);
    const json = makeByteLevelBpe(['the']) as { model: { vocab: Record<string, number> } };
    json.model.vocab.other = 258;
    expect(() => open(json)).toThrow(/an id of its own, got `258` for `the` and `other`/);
  });

  it('names the one token of a text', () => {
    expect(tokenizer.tokenId(' the')).toBe(259);
    expect(tokenizer.tokenId('the')).toBe(258);
    expect(tokenizer.tokenId('Ġthe')).toBeNull();
    expect(tokenizer.tokenId('<eos>')).toBe(1);
    expect(tokenizer.tokenId('the the')).toBeNull();
    expect(tokenizer.tokenId('é')).toBeNull();
    expect(tokenizer.tokenId('')).toBeNull();
  });

  it('any text comes back whole', () => {
    const random = makeRandom(5, 'texts');
    for (let round = 0; round < 200; round++) {
      const characters = Array.from({ length: random.integer(30) }, () => {
        const kind = random.integer(4);
        if (kind === 0) return random.pick(['the', ' the', ' passkey', '\n', '  ', '\t']);
        if (kind === 1) return String.fromCodePoint(32 + random.integer(95));
        return String.fromCodePoint(kind === 2 ? 0xa0 + random.integer(0x3000) : 0x1f300 + random.integer(0x300));
      });
      const text = characters.join('');
      const ids = tokenizer.encode(text);
      expect(tokenizer.decode(ids)).toBe(text);
      expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < tokenizer.vocabSize)).toBe(true);
    }
  });
});

describe('BPE with byte fallback', () => {
  it('goes there and back', () => {
    const tokenizer = open(makeSentencePieceBpe());
    expect(tokenizer.encode('ab a')).toEqual([262, 261]);
    expect(tokenizer.decode(tokenizer.encode('ab a é'))).toBe('ab a é');
  });
});

describe('WordLevel', () => {
  it('looks words up and gives the unknown token for others', () => {
    const tokenizer = open(makeWordLevel(['<unk>', 'the', 'passkey', '.'], '<unk>'));
    expect(tokenizer.encode('the zebra passkey.', { addSpecialTokens: true })).toEqual([0, 3, 2, 4, 5]);
    expect(tokenizer.decode([3, 4, 5])).toBe('the passkey .');
    expect(tokenizer.tokenId('passkey')).toBe(4);
    expect(tokenizer.tokenId('zebra')).toBeNull();
  });

  it.each([undefined, 'absent'])('stops at an unknown word where the unknown token is %s', (unknown) => {
    const folder = write({ 'tokenizer.json': makeWordLevel(['the'], unknown) });
    expect(() => openTokenizer(folder).encode('the zebra')).toThrow(
      new FormatError(
        `Expected every piece of the text in the vocabulary of ${folder}/tokenizer.json, got \`zebra\`, and the tokenizer has no unknown token.`,
      ),
    );
  });

  it('reads the tokenizer of a golden model', () => {
    const tokenizer = openTokenizer(new URL('../../golden/mha-2l', import.meta.url).pathname);
    expect(tokenizer.vocabSize).toBe(256);
    const ids = tokenizer.encode('the passkey is :');
    expect(tokenizer.decode(ids)).toBe('the passkey is :');
  });
});

describe('openTokenizer', () => {
  it('fills in what older files leave out', () => {
    const { model } = makeByteLevelBpe(['the']) as { model: { vocab: object } };
    const tokenizer = open({ model: { vocab: model.vocab, merges: [] } }, null);
    expect(tokenizer.encode('ab')).toEqual([2 + 97, 2 + 98]);
  });

  it('gives the same ids under a pattern that is not published, which runs with a limit of time', () => {
    const folder = new URL('../../../models/demo', import.meta.url).pathname;
    const published = readFileSync(join(folder, 'tokenizer.json'), 'utf8');
    const pattern = /"Regex":\s*("(?:[^"\\]|\\.)*")/;
    const [, source] = pattern.exec(published) as unknown as [string, string];
    const wrapped = published.replace(source, () => JSON.stringify(`(?:${JSON.parse(source) as string})`));
    expect(wrapped).not.toBe(published);
    const text = "The lamp's 12345 keys:\n\n  are IN the garden, äöü 😀\t!";
    const [expected, timed] = [openTokenizer(folder), openTokenizer(write({ 'tokenizer.json': wrapped }))];
    expect(timed.encode(text)).toEqual(expected.encode(text));
    expect(timed.decode(timed.encode(text))).toBe(expected.decode(expected.encode(text)));
  });

  it('names the folder that lacks tokenizer.json', () => {
    const folder = write({});
    expect(() => openTokenizer(folder)).toThrow(
      new FormatError(
        `Expected tokenizer.json in ${folder}, found none; download it as well, or convert the model's tokenizer with transformers' \`save_pretrained\`.`,
      ),
    );
  });

  const vocab = { a: 0 };
  it.each<[string, unknown, string]>([
    ['no model', {}, 'Expected F to hold a `model` with a `vocab`, got none; download it again.'],
    ['null', null, 'Expected F to hold a `model` with a `vocab`, got none; download it again.'],
    [
      'no vocab',
      { model: { type: 'BPE' } },
      'Expected F to hold a `model` with a `vocab`, got none; download it again.',
    ],
    [
      'another kind',
      { model: { type: 'Tiktoken', vocab } },
      'Expected `model.type` of F to be one of BPE, Unigram, WordPiece, WordLevel, got `"Tiktoken"`; duo reads no other tokenizer.',
    ],
    [
      'no kind',
      { model: { vocab } },
      'Expected `model.type` of F to be one of BPE, Unigram, WordPiece, WordLevel, got `null`; duo reads no other tokenizer.',
    ],
    [
      'an added token without an id',
      { added_tokens: [{ content: 'x' }], model: { type: 'BPE', vocab } },
      'Expected `added_tokens` of F to be a list of tokens with `id` and `content`.',
    ],
    [
      'an added token of a huge id',
      { added_tokens: [{ content: 'x', id: 2 ** 31 }], model: { type: 'BPE', vocab } },
      'Expected `added_tokens` of F to be a list of tokens with `id` and `content`.',
    ],
    [
      'an id that is no integer',
      { model: { type: 'BPE', vocab: { a: 0.5 } } },
      'Expected the id of token `a` in F to be an integer from 0 to 16777215, got `0.5`.',
    ],
    [
      'an unknown pre-tokenizer',
      { pre_tokenizer: { type: 'Magic' }, model: { type: 'BPE', vocab } },
      'Expected F to describe a tokenizer that duo reads, but: Unknown PreTokenizer type: Magic.',
    ],
  ])('refuses %s', (_, json, message) => {
    const folder = write({ 'tokenizer.json': JSON.stringify(json) });
    expect(() => openTokenizer(folder)).toThrow(new FormatError(message.replace('F', `${folder}/tokenizer.json`)));
  });

  it('refuses files that are not JSON', () => {
    expect(() => openTokenizer(write({ 'tokenizer.json': '{"model":' }))).toThrow(FormatError);
    const folder = write({ 'tokenizer.json': makeByteLevelBpe([]), 'tokenizer_config.json': '[1]' });
    expect(() => openTokenizer(folder)).toThrow(
      new FormatError(`Expected ${folder}/tokenizer_config.json to hold a JSON object, got \`[1]\`.`),
    );
  });
});

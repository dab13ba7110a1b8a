import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openProseHaystack } from '../../data-gen/haystack.ts';
import { generateSample } from '../../data-gen/passkey.ts';
import { listLexicon } from '../../data-gen/prose.ts';
import { encodePasskey, encodePiece, encodeTemplates, listTemplateWords } from '../../data-gen/template.ts';
import { resolveConfig } from '../../src/config/flags.ts';
import { openTokenizer, type Tokenizer } from '../../src/text/tokenizer.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-template-'));
afterAll(() => rmSync(folder, { recursive: true }));

const demo = resolveConfig({ preset: 'demo' });
const WORDS = [...new Set([...listLexicon(), ...listTemplateWords(demo)])].slice(0, 1000);

/** Write tokenizer.json and open it as a model folder's. */
function open(description: object): Tokenizer {
  const tokens = ['<unk>', '<s>', '</s>'].map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  writeFileSync(
    join(folder, 'tokenizer.json'),
    JSON.stringify({ version: '1.0', added_tokens: tokens, ...description }),
  );
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' }),
  );
  return openTokenizer(folder);
}

/** Vocabulary and merges that make every word, with `space` before it, one token. */
function growWords(space: string, singles: readonly string[]): { vocab: Record<string, number>; merges: string[] } {
  const merges = new Set<string>();
  const entries = new Set(['<unk>', '<s>', '</s>', ...singles]);
  for (const word of WORDS) {
    let grown = space;
    for (const letter of word) {
      merges.add(`${grown} ${letter}`);
      grown += letter;
      entries.add(grown);
    }
  }
  return { vocab: Object.fromEntries([...entries].map((entry, id) => [entry, id])), merges: [...merges] };
}

/** GPT-2's printable stand-ins of the 256 bytes. */
function listByteLetters(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++));
}

const kinds: [name: string, make: () => Tokenizer][] = [
  [
    'byte-level BPE, as Llama 3 and Qwen',
    () =>
      open({
        normalizer: null,
        pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
        post_processor: null,
        decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
        model: {
          type: 'BPE',
          unk_token: null,
          fuse_unk: false,
          byte_fallback: false,
          ...growWords('Ġ', listByteLetters()),
        },
      }),
  ],
  [
    'SentencePiece BPE with a space before each text, as Llama 2 and Mistral',
    () => {
      const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
      const letters = [...'▁.,?:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'];
      return open({
        normalizer: {
          type: 'Sequence',
          normalizers: [
            { type: 'Prepend', prepend: '▁' },
            { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
          ],
        },
        pre_tokenizer: null,
        post_processor: null,
        decoder: {
          type: 'Sequence',
          decoders: [
            { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
            { type: 'ByteFallback' },
            { type: 'Fuse' },
            { type: 'Strip', content: ' ', start: 1, stop: 0 },
          ],
        },
        model: {
          type: 'BPE',
          unk_token: '<unk>',
          fuse_unk: true,
          byte_fallback: true,
          ...growWords('▁', [...bytes, ...letters]),
        },
      });
    },
  ],
];

for (const [name, make] of kinds) {
  describe(name, () => {
    const tokenizer = make();

    it('gives every word of prose and templates one token', () => {
      for (const word of WORDS) expect(encodePiece(tokenizer, ` ${word}`), word).toHaveLength(1);
    });

    it('joins pieces as the tokenizer itself would', () => {
      const pieces = encodeTemplates(tokenizer, { templates: demo.templates, ordinals: ['first'] });
      const joined = [
        ...pieces.needles[0]!.before,
        ...encodePasskey(tokenizer, ['alpha', 'bravo']),
        ...pieces.needles[0]!.after,
      ];
      const whole = tokenizer.encode('a The first passkey is: alpha bravo.');
      expect(joined).toEqual(whole.slice(tokenizer.encode('a').length));
      expect(joined).toHaveLength(8);
      // The tokenizer names a BOS and puts none before a text.
      expect(pieces.head).toEqual([]);
    });

    it('makes samples of exact length whose text holds each passkey twice', () => {
      const haystack = openProseHaystack(tokenizer);
      const sample = generateSample({ tokenizer, haystack, settings: demo, seed: 1, split: 'train', index: 0 });
      expect(sample.tokens).toHaveLength(256);
      const text = tokenizer.decode(sample.tokens, { skipSpecialTokens: true });
      for (const [question, ordinal] of sample.asked.entries()) {
        const [start, end] = sample.answers[question]!;
        expect(end - start).toBe(5);
        expect(text.split(`: ${sample.passkeys[ordinal]}.`)).toHaveLength(3);
      }
    });
  });
}

describe('word-level vocabulary that does not hold every word', () => {
  const words = ['the', 'first', 'passkey', 'is', ':', '.', 'alpha', 'bravo'];
  const vocab = Object.fromEntries(['<unk>', '<s>', '</s>', ...words].map((word, id) => [word, id]));
  const tokenizer = open({
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', unk_token: '<unk>', vocab },
  });

  it('loses no piece to the joint', () => {
    expect(encodePiece(tokenizer, '. the')).toEqual([vocab['.'], vocab.the]);
    expect(encodePiece(tokenizer, '.')).toEqual([vocab['.']]);
    expect(encodePasskey(tokenizer, ['alpha', 'bravo'])).toEqual([vocab.alpha, vocab.bravo]);
  });
});

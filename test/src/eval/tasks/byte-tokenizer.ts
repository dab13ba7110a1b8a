// A byte-level BPE tokenizer with a few merges, written as tokenizer.json and opened by the real reader.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openTokenizer, type Tokenizer } from '../../../../src/text/tokenizer.ts';

/** GPT-2's table: printable bytes stand for themselves, the others for code points from 256 on. */
function byteAlphabet(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

const MERGES = ['t h', 'Ġ th', 'Ġth e', 'i n', 'e r', 'Ġ a', 'Ġa n', 'Ġan d', 'o n', 'Ġ s'];

export function makeByteTokenizer(): Tokenizer {
  const folder = mkdtempSync(join(tmpdir(), 'duo-tokenizer-'));
  const pieces = ['<s>', '</s>', ...byteAlphabet(), ...MERGES.map((merge) => merge.replace(' ', ''))];
  const special = (content: string, id: number) => ({
    id,
    content,
    special: true,
    normalized: false,
    lstrip: false,
    rstrip: false,
    single_word: false,
  });
  const description = {
    version: '1.0',
    added_tokens: [special('<s>', 0), special('</s>', 1)],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: MERGES,
      unk_token: null,
    },
  };
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(description));
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>', eos_token: '</s>' }));
  const tokenizer = openTokenizer(folder);
  rmSync(folder, { recursive: true });
  return tokenizer;
}

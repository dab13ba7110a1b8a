// Makes tokenizer.json files for tests: byte-level BPE, SentencePiece-like BPE with byte fallback, and WordLevel.

/** The printable character that byte-level BPE writes for each byte (GPT-2's table). */
export function listByteCharacters(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

const SPECIAL = ['<bos>', '<eos>'];
const ADD_BOS = {
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: '<bos>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [],
  special_tokens: { '<bos>': { id: '<bos>', ids: [0], tokens: ['<bos>'] } },
};

function describeTokenizer(parts: { model: object; preTokenizer: object | null; decoder: object | null }): object {
  return {
    version: '1.0',
    added_tokens: SPECIAL.map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: parts.preTokenizer,
    post_processor: ADD_BOS,
    decoder: parts.decoder,
    model: parts.model,
  };
}

function numberTokens(tokens: readonly string[]): Record<string, number> {
  return Object.fromEntries([...SPECIAL, ...tokens].map((token, id) => [token, id]));
}

/** Ids: 0 and 1 special, 2 + byte for single bytes, then `words` (with Ġ for a space). `words` are found whole, by `ignore_merges`. */
export function makeByteLevelBpe(
  words: readonly string[],
  options: { merges?: unknown; ignoreMerges?: boolean } = {},
): object {
  return describeTokenizer({
    preTokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      vocab: numberTokens([...listByteCharacters(), ...words]),
      ...('merges' in options ? { merges: options.merges } : { merges: [] }),
      ignore_merges: options.ignoreMerges ?? true,
    },
  });
}

/** Llama-2-like: ▁ for a space, bytes as <0xNN>, and a decoder that strips the first space. */
export function makeSentencePieceBpe(): object {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const base = describeTokenizer({
    preTokenizer: null,
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
      vocab: numberTokens([...bytes, '▁', 'a', 'b', '▁a', '▁ab']),
      merges: ['▁ a', '▁a b'],
      byte_fallback: true,
    },
  });
  return {
    ...base,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
  };
}

/** Whole words split at spaces and punctuation. */
export function makeWordLevel(words: readonly string[], unknown: string | undefined): object {
  return describeTokenizer({
    preTokenizer: { type: 'Whitespace' },
    decoder: null,
    model: { type: 'WordLevel', vocab: numberTokens(words), ...(unknown === undefined ? {} : { unk_token: unknown }) },
  });
}

export const TOKENIZER_CONFIG = { bos_token: '<bos>', eos_token: { content: '<eos>', lstrip: false } };

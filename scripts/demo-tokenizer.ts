// The tokenizer.json of the small models: byte-level BPE without merges, in which every task word with its leading space is one token
// (`ignore_merges`, as Llama 3 has it) and any other text falls back to its bytes.
import { listLexicon } from '../data-gen/prose.ts';

export const SPECIAL_TOKENS = ['<|begin_of_text|>', '<|end_of_text|>', '<|pad|>'] as const;
export const BOS_ID = 0;
export const EOS_ID = 1;
export const PAD_ID = 2;

const words = (text: string): string[] => text.trim().split(/\s+/);

/** The passkey alphabet of the presets. */
export const NATO_WORDS = words(`alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike
  november oscar papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu`);

/** The ordinals of the presets, in order. */
export const ORDINALS = words(`first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth
  thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth`);

/** Words of passkey sentences and questions, and of recall tasks in other wordings. */
const TASK_WORDS =
  words(`The the What what is are was passkey passkeys Answer answer Question question Remember remember
  secret Secret code Code codes magic Magic number numbers Number word words Word key keys Key value values Value special Special
  important vault password of for to in a an and this This that it its has have belongs opens Find find Which which Say say Tell tell
  me you your my text Text above below Below here Here following hidden several Several sequence list List needle note Note fact facts
  mentioned all All one two three four five six seven eight nine ten given with by from on at As as according According ends again
  Who who Whose whose Where where color colors colour city country name names Name holds uses use called means goes repeat Repeat
  phrase letters label variable assigned equal equals common most frequent appears`);

/** Every word that is one token (with a leading space), sorted, each once. */
export function listVocabularyWords(): string[] {
  return [...new Set([...listLexicon(), ...NATO_WORDS, ...ORDINALS, ...TASK_WORDS])].sort();
}

/** The printable character that stands for each byte in a byte-level vocabulary, as GPT-2 fixed it: `[256]`. */
export function listByteSymbols(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

/** Word pattern of Llama 3: letters take one leading mark or space with them, digits go in threes. */
const SPLIT_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Token id by content: specials, the 256 bytes, then the words. */
export function buildVocabulary(): Map<string, number> {
  const spaceSymbol = listByteSymbols()[0x20] as string;
  const tokens = [...SPECIAL_TOKENS, ...listByteSymbols(), ...listVocabularyWords().map((word) => spaceSymbol + word)];
  return new Map(tokens.map((token, id) => [token, id]));
}

/** The tokenizer.json document, in the form of the Hugging Face tokenizers library. */
export function buildTokenizerJson(): Record<string, unknown> {
  const vocabulary = buildVocabulary();
  const bos = { SpecialToken: { id: SPECIAL_TOKENS[BOS_ID], type_id: 0 } };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: SPLIT_PATTERN }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [bos, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [bos, { Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: {
        [SPECIAL_TOKENS[BOS_ID]]: { id: SPECIAL_TOKENS[BOS_ID], ids: [BOS_ID], tokens: [SPECIAL_TOKENS[BOS_ID]] },
      },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: true,
      vocab: Object.fromEntries(vocabulary),
      merges: [],
    },
  };
}

export const TOKENIZER_CONFIG = {
  tokenizer_class: 'PreTrainedTokenizerFast',
  bos_token: SPECIAL_TOKENS[BOS_ID],
  eos_token: SPECIAL_TOKENS[EOS_ID],
  pad_token: SPECIAL_TOKENS[PAD_ID],
  clean_up_tokenization_spaces: false,
  model_max_length: 8192,
} as const;

/** Encode text whose words are all in the vocabulary; words stand after a space, marks and newlines are bytes.
 * Equal to the tokenizer itself on such text, and quick enough for millions of tokens.
 * @throws {RangeError} a word without a token of its own, or a character outside ASCII. */
export function encodeTaskText(text: string, vocabulary: ReadonlyMap<string, number>): number[] {
  const bytes = listByteSymbols();
  return (text.match(/ [A-Za-z]+|[\s\S]/g) ?? []).map((piece) => {
    const symbol = piece.length > 1 ? `${bytes[0x20]}${piece.slice(1)}` : bytes[piece.charCodeAt(0)];
    const id = symbol === undefined ? undefined : vocabulary.get(symbol);
    if (id === undefined || (piece.length === 1 && /[A-Za-z]/.test(piece)))
      throw new RangeError(`encodeTaskText: expected words of the vocabulary, got "${piece}"`);
    return id;
  });
}

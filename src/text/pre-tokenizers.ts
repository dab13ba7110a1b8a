// How byte-level BPE cuts text into words, by the name that GGUF files carry in `tokenizer.ggml.pre`. The patterns are those of the models' own
// tokenizer.json files, which llama.cpp's llama-vocab.cpp restates; names that share one are listed together.
import { FormatError } from '../errors/errors.ts';

export interface PreTokenizerRule {
  /** pre-tokenizers before the byte level, in tokenizer.json's words */
  readonly splits: readonly object[];
  readonly normalizer: object | null;
  /** a word that is a token is taken whole */
  readonly ignoresMerges: boolean;
  /** where `add_bos_token` is absent */
  readonly addsBos: boolean;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const words = (digits: string): string =>
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
/** Words of mixed case are cut before a capital (o200k and Tekken). */
const cased = (ending: string, digits: string): string =>
  `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${ending}|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${ending}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const split = (pattern: string): object => ({
  type: 'Split',
  pattern: { Regex: pattern },
  behavior: 'Isolated',
  invert: false,
});

const PLAIN = { normalizer: null, ignoresMerges: false, addsBos: false };
const RULES: readonly (PreTokenizerRule & { readonly names: readonly string[] })[] = [
  {
    ...PLAIN,
    names: [
      'gpt-2',
      'gpt2',
      'phi-2',
      'jina-v2-code',
      'roberta-bpe',
      'mpt',
      'olmo',
      'jais',
      'trillion',
      'granite-docling',
    ],
    splits: [split(GPT2)],
  },
  {
    ...PLAIN,
    names: ['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b'],
    splits: [split('\\p{N}'), split(GPT2)],
  },
  {
    ...PLAIN,
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2'],
    splits: [split(words('\\p{N}{1,3}'))],
    ignoresMerges: true,
    addsBos: true,
  },
  { ...PLAIN, names: ['dbrx', 'smaug-bpe'], splits: [split(words('\\p{N}{1,3}'))] },
  {
    ...PLAIN,
    names: ['qwen2', 'deepseek-r1-qwen', 'kormo', 'megrez'],
    splits: [split(words('\\p{N}'))],
    normalizer: { type: 'NFC' },
  },
  { ...PLAIN, names: ['tekken'], splits: [split(cased('', '\\p{N}'))], ignoresMerges: true, addsBos: true },
  { ...PLAIN, names: ['gpt-4o', 'llama4', 'kanana2'], splits: [split(cased(`${CONTRACTIONS}?`, '\\p{N}{1,3}'))] },
  {
    ...PLAIN,
    names: ['deepseek-coder'],
    splits: ['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', '[一-龥ࠀ-一가-퟿]+', '\\p{N}'].map(split),
  },
  // Files made before names existed: llama.cpp cuts them so, with a warning.
  {
    ...PLAIN,
    names: ['default'],
    splits: ['[\\p{P}\\$\\+<=>\\^~\\|]+', GPT2, '\\p{N}+', '[0-9][0-9][0-9]'].map(split),
  },
];

/** The rule of a name; a file without one has llama.cpp's `default`.
 * @param path of the file, for errors.  @throws {FormatError} a name whose rule is not known here. */
export function buildPreTokenizer(name: unknown, path: string): PreTokenizerRule {
  const found = RULES.find(({ names }) => names.includes((name ?? 'default') as string));
  if (found !== undefined) return found;
  throw new FormatError(
    `Expected \`tokenizer.ggml.pre\` of ${path} to be one of ${RULES.flatMap(({ names }) => names).join(', ')}, got \`${String(name).slice(0, 60)}\`; use the model's Hugging Face folder, whose tokenizer.json says how it cuts words.`,
  );
}

const PUBLISHED_PATTERNS = new Set(
  RULES.flatMap(({ splits }) => splits.map((rule) => (rule as { pattern: { Regex: string } }).pattern.Regex)),
);

/** True for the patterns above: they end on every text, and soon. */
export function isPublishedPattern(pattern: string): boolean {
  return PUBLISHED_PATTERNS.has(pattern);
}

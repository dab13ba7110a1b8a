// SentencePiece-like BPE (Llama 2, Mistral) has no pre-tokenizer: a whole book is one word, merged pair by pair without any use of the
// library's word cache. Where no token of the vocabulary crosses into a following space, cutting before each run of spaces
// changes no result, because no merge could have joined the two sides.

const SPACE = '▁';
/** A token in which a space follows something else. */
const CROSSING = /[^▁]▁/;
const SPLIT = {
  type: 'Split',
  pattern: { Regex: `${SPACE}*[^${SPACE}]+|${SPACE}+` },
  behavior: 'Isolated',
  invert: false,
};

/** The part of tokenizer.json that decides. */
interface TokenizerParts {
  readonly pre_tokenizer?: unknown;
  readonly model: Readonly<Record<string, unknown>> & { readonly type: string; readonly vocab: object };
}

/** The pre-tokenizer to use: the given one followed by a split into words where that is exact, else the given one.
 * @returns a value for `pre_tokenizer` of tokenizer.json; the input is not changed. */
export function splitWords(json: TokenizerParts): unknown {
  const { pre_tokenizer: given, model } = json;
  const isWhole = given === null || isUnsplitMetaspace(given);
  const hasAffixes = Boolean(model.end_of_word_suffix) || Boolean(model.continuing_subword_prefix);
  // ignore_merges looks the whole text up in the vocabulary, which a cut text would not be.
  if (!isWhole || model.type !== 'BPE' || hasAffixes || model.ignore_merges === true) return given;
  const tokens = Object.keys(model.vocab);
  if (!tokens.includes(SPACE) || tokens.some((token) => CROSSING.test(token))) return given;
  return given === null ? SPLIT : { type: 'Sequence', pretokenizers: [given, SPLIT] };
}

function isUnsplitMetaspace(value: unknown): boolean {
  const { type, split, replacement } = value as { type?: unknown; split?: unknown; replacement?: unknown };
  return type === 'Metaspace' && split === false && (replacement ?? SPACE) === SPACE;
}

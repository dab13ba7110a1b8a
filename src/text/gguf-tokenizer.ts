// The tokenizer of a GGUF file as the tokenizer.json and tokenizer_config.json of a model folder: byte-level BPE (`gpt2`) with the pre-tokenizer
// that `tokenizer.ggml.pre` names, and SentencePiece BPE (`llama`) with merges made from its scores. Keys: docs/gguf.md of ggml; behaviour: llama.cpp's
// llama-vocab.cpp, and transformers' SentencePiece conversion for the order of merges.
import { FormatError } from '../errors/errors.ts';
import { type GgufHead, type GgufScalar, readGgufHead } from '../formats/gguf.ts';
import { buildPreTokenizer, type PreTokenizerRule } from './pre-tokenizers.ts';

/** `tokenizer.ggml.token_type` */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const SPACE = '▁';

interface Vocabulary {
  readonly path: string;
  readonly tokens: readonly string[];
  readonly types: readonly number[];
  readonly get: (key: string) => unknown;
}

/** What openTokenizer takes from a model folder's two files. */
export interface TokenizerFiles {
  /** as tokenizer.json */
  readonly json: Record<string, unknown>;
  /** as tokenizer_config.json */
  readonly config: Record<string, unknown>;
}

/** Read the tokenizer and the chat template of a GGUF file (of a split model: its first part).
 * @throws {FormatError} no tokenizer, one of another kind, an unknown pre-tokenizer, fields that contradict each other; {FileError}. */
export function readGgufTokenizer(path: string): TokenizerFiles {
  const head = readGgufHead(path);
  const vocabulary = readVocabulary(head);
  const model = vocabulary.get('tokenizer.ggml.model');
  if (model === 'gpt2') return describeByteLevel(vocabulary);
  if (model === 'llama') return describeSentencePiece(vocabulary);
  throw new FormatError(
    `Expected \`tokenizer.ggml.model\` of ${path} to be gpt2 or llama, got \`${String(model).slice(0, 60)}\`; duo reads no other tokenizer from GGUF.`,
  );
}

function readVocabulary(head: GgufHead): Vocabulary {
  const get = (key: string): unknown => head.metadata.get(key);
  const tokens = readList(head, 'tokenizer.ggml.tokens', isText);
  if (tokens === null || tokens.length === 0) {
    throw new FormatError(
      `Expected \`tokenizer.ggml.tokens\` in ${head.path}, found none; use a file with its tokenizer.`,
    );
  }
  const types = readList(head, 'tokenizer.ggml.token_type', isNumber) ?? tokens.map(() => NORMAL);
  if (types.length !== tokens.length) {
    throw new FormatError(
      `Expected \`tokenizer.ggml.token_type\` of ${head.path} to have ${tokens.length} values as \`tokenizer.ggml.tokens\` has, got ${types.length}.`,
    );
  }
  return { path: head.path, tokens, types, get };
}

const isText = (value: GgufScalar): value is string => typeof value === 'string';
const isNumber = (value: GgufScalar): value is number => typeof value === 'number';

function readList<T extends GgufScalar>(
  head: GgufHead,
  key: string,
  isKind: (value: GgufScalar) => value is T,
): T[] | null {
  const value = head.metadata.get(key);
  if (value === undefined) return null;
  if (Array.isArray(value) && value.every(isKind)) return value as T[];
  throw new FormatError(`Expected \`${key}\` of ${head.path} to be an array of one kind of values, got others.`);
}

function describeByteLevel(vocabulary: Vocabulary): TokenizerFiles {
  const { path, tokens, get } = vocabulary;
  const merges = get('tokenizer.ggml.merges');
  if (!Array.isArray(merges) || !merges.every(isText)) {
    throw new FormatError(`Expected \`tokenizer.ggml.merges\` of ${path} to be an array of texts, got none.`);
  }
  const rule: PreTokenizerRule = buildPreTokenizer(get('tokenizer.ggml.pre'), path);
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  return describe(vocabulary, {
    addsBos: rule.addsBos,
    normalizer: rule.normalizer,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [...rule.splits, byteLevel] },
    decoder: { ...byteLevel, use_regex: true },
    model: { type: 'BPE', vocab: indexTokens(tokens), merges, ignore_merges: rule.ignoresMerges, fuse_unk: false },
  });
}

function describeSentencePiece(vocabulary: Vocabulary): TokenizerFiles {
  const { path, tokens, types, get } = vocabulary;
  const scores = get('tokenizer.ggml.scores');
  if (!Array.isArray(scores) || scores.length !== tokens.length || !scores.every(isNumber)) {
    throw new FormatError(`Expected \`tokenizer.ggml.scores\` of ${path} to be ${tokens.length} numbers, got others.`);
  }
  const hasPrefix = get('tokenizer.ggml.add_space_prefix') !== false;
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const decoders = [
    { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    ...(hasPrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
  ];
  const unknown = types.indexOf(UNKNOWN);
  return describe(vocabulary, {
    addsBos: true,
    normalizer: hasPrefix ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: SPACE }, replace] } : replace,
    pre_tokenizer: null,
    decoder: { type: 'Sequence', decoders },
    model: {
      type: 'BPE',
      vocab: indexTokens(tokens),
      merges: listMerges(vocabulary, scores),
      unk_token: unknown < 0 ? null : tokens[unknown],
      fuse_unk: true,
      byte_fallback: true,
    },
  });
}

/** Every way to make a piece of two others, the piece with the greatest score first, ways of one piece by the ids of their parts:
 * the order of the tokenizer.json files that Llama 2 and Mistral were published with. */
function listMerges(vocabulary: Vocabulary, scores: readonly number[]): [string, string][] {
  const { tokens, types } = vocabulary;
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: { pair: [string, string]; score: number }[] = [];
  for (const [id, token] of tokens.entries()) {
    if (types[id] !== NORMAL) continue;
    const characters = [...token];
    const own: [string, string][] = [];
    for (let cut = 1; cut < characters.length; cut++) {
      const left = characters.slice(0, cut).join('');
      const right = characters.slice(cut).join('');
      if (ids.has(left) && ids.has(right)) own.push([left, right]);
    }
    own.sort((a, b) => ids.get(a[0])! - ids.get(b[0])! || ids.get(a[1])! - ids.get(b[1])!);
    for (const pair of own) merges.push({ pair, score: scores[id]! });
  }
  merges.sort((a, b) => b.score - a.score);
  return merges.map(({ pair }) => pair);
}

function indexTokens(tokens: readonly string[]): Record<string, number> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

function describe(
  vocabulary: Vocabulary,
  parts: { addsBos: boolean; normalizer: unknown; pre_tokenizer: unknown; decoder: unknown; model: object },
): TokenizerFiles {
  const { tokens, types, get, path } = vocabulary;
  const { addsBos, ...rest } = parts;
  const tokenOf = (name: string): { id: number; content: string } | null => {
    const id = get(`tokenizer.ggml.${name}`);
    // −1 and 2^32 − 1 mean none.
    if (typeof id !== 'number' || id < 0 || id === 2 ** 32 - 1) return null;
    const content = tokens[id];
    if (content !== undefined) return { id, content };
    throw new FormatError(`Expected \`tokenizer.ggml.${name}\` of ${path} below ${tokens.length}, got \`${id}\`.`);
  };
  const bos = tokenOf('bos_token_id');
  const eos = tokenOf('eos_token_id');
  const flag = (name: string, fallback: boolean): boolean => {
    const value = get(`tokenizer.ggml.${name}`) ?? fallback;
    if (typeof value === 'boolean') return value;
    throw new FormatError(
      `Expected \`tokenizer.ggml.${name}\` of ${path} to be true or false, got \`${String(value)}\`.`,
    );
  };
  const before = flag('add_bos_token', addsBos) ? bos : null;
  const after = flag('add_eos_token', false) ? eos : null;
  const added = tokens.flatMap((content, id) => {
    const type = types[id];
    if ((type !== CONTROL && type !== USER_DEFINED && type !== UNKNOWN) || content === '') return [];
    return [
      {
        id,
        content,
        special: type !== USER_DEFINED,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
      },
    ];
  });
  const specials = {
    bos_token: bos,
    eos_token: eos,
    unk_token: tokenOf('unknown_token_id'),
    pad_token: tokenOf('padding_token_id'),
  };
  const template = get('tokenizer.chat_template');
  return {
    json: { version: '1.0', added_tokens: added, post_processor: buildPostProcessor(before, after), ...rest },
    config: {
      ...Object.fromEntries(
        Object.entries(specials).flatMap(([role, token]) => (token === null ? [] : [[role, token.content]])),
      ),
      add_bos_token: before !== null,
      add_eos_token: after !== null,
      ...(typeof template === 'string' && { chat_template: template }),
    },
  };
}

function buildPostProcessor(
  before: { id: number; content: string } | null,
  after: { id: number; content: string } | null,
): unknown {
  if (before === null && after === null) return null;
  const special = (token: { content: string } | null): object[] =>
    token === null ? [] : [{ SpecialToken: { id: token.content, type_id: 0 } }];
  const single = [...special(before), { Sequence: { id: 'A', type_id: 0 } }, ...special(after)];
  const tokens = [before, after].filter((token) => token !== null);
  return {
    type: 'TemplateProcessing',
    single,
    pair: [...single, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: Object.fromEntries(
      tokens.map(({ id, content }) => [content, { id: content, ids: [id], tokens: [content] }]),
    ),
  };
}

// Valid JSON inputs that the fuzzer damages: configs, tokenizers, gates, masks, samples, run files. Small, each with what others lack.
import { readFileSync } from 'node:fs';
import { makeByteLevelBpe, makeSentencePieceBpe, makeWordLevel } from '../src/text/tokenizer-fixture.ts';

export const encode = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
export const readRepository = (path: string): Buffer => readFileSync(new URL(`../../${path}`, import.meta.url));

const CONFIG = JSON.parse(readRepository('test/golden/mha-2l/config.json').toString()) as object;
const LLAMA3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};
const YARN = { type: 'yarn', factor: 4, original_max_position_embeddings: 32, beta_fast: 32, attn_factor: 1 };

export const CONFIGS = [
  encode(CONFIG),
  readRepository('test/models/tiny/config.json'),
  readRepository('test/golden/gqa-4l-d192/config.json'),
  encode({ ...CONFIG, rope_scaling: LLAMA3, eos_token_id: [1, 2] }),
  encode({ ...CONFIG, rope_scaling: YARN, sliding_window: 16, use_sliding_window: true, max_window_layers: 1 }),
  encode({
    ...CONFIG,
    rope_parameters: { rope_type: 'dynamic', factor: 2, rope_theta: 1e4 },
    layer_types: ['full_attention', 'full_attention'],
  }),
  encode({ model_type: 'llava', text_config: CONFIG, quantization_config: null }),
];

const split = (pattern: object): object => ({ type: 'Split', pattern, behavior: 'Isolated', invert: false });
const RULES = {
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'NFKC' },
      { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' },
      { type: 'Strip', strip_left: true, strip_right: false },
      { type: 'Lowercase' },
    ],
  },
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      split({ Regex: "(?i:'s|'t)|\\s?\\p{L}+|\\d{1,3}|[^\\s\\p{L}\\d]+|\\s+(?!\\S)|\\s+" }),
      { type: 'Digits', individual_digits: true },
      { type: 'Punctuation' },
      { type: 'FixedLength', length: 5 },
      { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: true },
    ],
  },
  decoder: {
    type: 'Sequence',
    decoders: [{ type: 'Replace', pattern: { Regex: '▁+' }, content: ' ' }, { type: 'Fuse' }],
  },
};
const UNIGRAM = {
  ...RULES,
  added_tokens: [{ id: 0, content: '<unk>', special: true, lstrip: true, rstrip: true }],
  post_processor: null,
  model: {
    type: 'Unigram',
    unk_id: 0,
    vocab: [
      ['<unk>', 0],
      ['▁', -2],
      ['a', -3],
      ['b', -3],
      ['ab', -1],
      ['▁the', -1.5],
    ],
  },
};
const WORD_PIECE = {
  added_tokens: [{ id: 0, content: '[UNK]', special: true }],
  normalizer: { type: 'BertNormalizer', clean_text: true, lowercase: true, strip_accents: null },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: { type: 'BertProcessing', sep: ['[UNK]', 0], cls: ['[UNK]', 0] },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: { '[UNK]': 0, the: 1, '##s': 2, lamp: 3, a: 4, '##b': 5 },
  },
};
const SMALL_BPE = {
  ...(makeByteLevelBpe([]) as object),
  normalizer: RULES.normalizer,
  pre_tokenizer: RULES.pre_tokenizer,
  decoder: { type: 'ByteLevel' },
  model: {
    type: 'BPE',
    unk_token: 'a',
    end_of_word_suffix: '</w>',
    vocab: { '<bos>': 0, '<eos>': 1, a: 2, b: 3, ab: 4, 'b</w>': 5, '▁': 6 },
    merges: [['a', 'b']],
  },
};

export const TOKENIZERS = [
  encode(makeByteLevelBpe(['the', 'Ġthe'])),
  encode(makeSentencePieceBpe()),
  encode(makeWordLevel(['the', 'lamp'], 'the')),
  encode(UNIGRAM),
  encode(WORD_PIECE),
  encode(SMALL_BPE),
];
export const TOKENIZER_CONFIGS = [
  encode({
    bos_token: '<bos>',
    eos_token: { content: '<eos>' },
    add_bos_token: true,
    chat_template: '{{ messages[0].content }}',
  }),
  encode({
    chat_template: [{ name: 'default', template: 'a' }],
    unk_token: 'the',
    additional_special_tokens: ['<eos>'],
    model_max_length: 512,
  }),
];

const MODEL = { architecture: 'llama', layers: 2, heads: 4, kvHeads: 2, headDim: 16, fingerprint: 'sha256:aa' };
const GRID = [
  [0.93, 0.01],
  [0, 1],
];
const PROVENANCE = { tool: 'duo', seed: 42, method: 'gates', sink: 4, recent: 16, config: { lr: 0.02 } };
export const GATES = [
  encode({ schema: 'duo.gates', version: 1, model: MODEL, gates: GRID, provenance: PROVENANCE }),
  encode({
    schema: 'duo.gates',
    version: 1,
    model: { ...MODEL, fingerprint: null },
    gates: GRID,
    path: {
      lambdas: [0.1, 0.2],
      gates: [GRID, GRID],
      ranking: [
        [0, 0],
        [1, 1],
      ],
    },
    provenance: PROVENANCE,
  }),
];
const BOTH = { schema: 'duo.head-mask', model: MODEL, sink: 4, provenance: PROVENANCE };
export const MASKS = [
  encode({
    ...BOTH,
    version: 1,
    recent: 16,
    streamingFraction: 0.5,
    threshold: null,
    mask: [
      [1, 0],
      [0, 1],
    ],
    gates: GRID,
  }),
  encode({
    ...BOTH,
    version: 2,
    windows: [
      [null, 16],
      [64, null],
    ],
    ladder: [16, 64],
    kvShare: 0.5,
    atTokens: 128,
    predictedLoss: 0.25,
    lossBound: null,
    gates: GRID,
  }),
];
export const SAMPLES = [
  Buffer.from('{"tokens":[1,2,3,4,5],"answers":[[1,3],[4,5]],"note":"kept"}\n{"tokens":[7,8,9],"answers":[[2,3]]}\n'),
  Buffer.from(
    '\ufeff{"tokens":[1,2,3,4],"answers":[[1,3]],"objective":"long-range","gains":[0.5,1e-3]}\r\n\n{"answers":[[1,2]],"tokens":[1,2]}',
  ),
];
export const DOCUMENTS = [
  Buffer.from('{"text":"The lamp is in the garden. äöü 😀"}\n\n{"text":"b","meta":{"a":[1,null]}}\n'),
  Buffer.from('\ufeff{"id":1,"text":"one\\u2028two \\ud83d\\ude00"}\r\n{"text":""}'),
];

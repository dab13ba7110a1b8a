// Valid binary inputs that the fuzzer damages: GGUF and safetensors files of a model of one layer, parquet, compressed documents, a pattern's TSV.
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { encodeSafetensors } from '../../scripts/safetensors-writer.ts';
import { parseModelConfig } from '../../src/model/config.ts';
import { listExpectedTensors } from '../../src/model/tensor-names.ts';
import { encodeGguf, type Field, nameInGguf } from '../reference/gguf-writer.ts';
import { DOCUMENTS, readRepository } from './json-seeds.ts';

/** A Llama of one layer, 4 hidden units and 3 tokens. */
export const SMALL_CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 3,
  hidden_size: 4,
  intermediate_size: 4,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 2,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  max_position_embeddings: 64,
  tie_word_embeddings: false,
};
const TENSORS = listExpectedTensors(parseModelConfig(SMALL_CONFIG, 'config.json'));
const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

export const SAFETENSORS = [
  encodeSafetensors(
    TENSORS.map(({ name, shape }) => ({ name, shape, dtype: 'F32', values: new Float32Array(count(shape)) })),
  ),
  encodeSafetensors(
    [
      { name: 'a', shape: [2, 3], dtype: 'BF16', values: new Float32Array(6) },
      { name: 'b', shape: [], dtype: 'F32', values: new Float32Array(1) },
      { name: 'c', shape: [0, 4], dtype: 'F32', values: new Float32Array(0) },
    ],
    { format: 'pt' },
  ),
];

const FIELDS: Record<string, Field> = {
  'general.architecture': ['string', 'llama'],
  'llama.block_count': ['u32', 1],
  'llama.context_length': ['u32', 64],
  'llama.embedding_length': ['u32', 4],
  'llama.feed_forward_length': ['u32', 4],
  'llama.attention.head_count': ['u32', 2],
  'llama.attention.head_count_kv': ['u32', 1],
  'llama.attention.key_length': ['u32', 2],
  'llama.attention.layer_norm_rms_epsilon': ['f32', 1e-5],
  'llama.rope.freq_base': ['f32', 10000],
};
const SENTENCE_PIECE: Record<string, Field> = {
  'tokenizer.ggml.model': ['string', 'llama'],
  'tokenizer.ggml.tokens': ['strings', ['<unk>', '<s>', '▁', 'a', 'b', '▁a', 'ab', '<0x41>']],
  'tokenizer.ggml.scores': ['f32s', [0, 0, -4, -5, -6, -1, -2, 0]],
  'tokenizer.ggml.token_type': ['i32s', [2, 3, 1, 1, 1, 1, 1, 6]],
  'tokenizer.ggml.bos_token_id': ['u32', 1],
  'tokenizer.chat_template': ['string', '{{ messages[0].content }}'],
};
const BYTE_LEVEL: Record<string, Field> = {
  'tokenizer.ggml.model': ['string', 'gpt2'],
  'tokenizer.ggml.pre': ['string', 'llama-bpe'],
  'tokenizer.ggml.tokens': ['strings', ['a', 'b', 'ab', 'Ġ', 'Ġa', '<|end|>']],
  'tokenizer.ggml.token_type': ['i32s', [1, 1, 1, 1, 1, 3]],
  'tokenizer.ggml.merges': ['strings', ['a b', 'Ġ a']],
  'tokenizer.ggml.eos_token_id': ['u32', 5],
  'tokenizer.ggml.add_eos_token': ['bool', 1],
};
const DATA = TENSORS.map(({ name, shape }) => ({
  name: nameInGguf(name),
  shape,
  type: 0,
  data: new Uint8Array(4 * count(shape)),
}));
export const GGUF = [
  encodeGguf({ ...FIELDS, ...SENTENCE_PIECE }, DATA),
  encodeGguf(
    {
      ...FIELDS,
      ...BYTE_LEVEL,
      'llama.rope.scaling.type': ['string', 'yarn'],
      'llama.rope.scaling.factor': ['f32', 4],
    },
    DATA,
  ),
  encodeGguf({ ...BYTE_LEVEL, x: ['u64', 3], y: ['f64', 1], z: ['i8', -1], 'general.alignment': ['u32', 64] }, []),
];

const texts = (name: string, value: string, rows: number) => ({
  name,
  data: new Array(rows).fill(value),
  type: 'STRING' as const,
});
const rows = (numRows: number, codec: 'SNAPPY' | 'UNCOMPRESSED'): Buffer =>
  Buffer.from(
    parquetWriteBuffer({
      codec,
      columnData: [
        texts('context', 'The lamp is in the garden. The lamp is in the garden.', numRows),
        texts('question', 'Which?', numRows),
        texts('answer_prefix', ' It is', numRows),
        { name: 'answer', data: new Array(numRows).fill(['42', 'b']), type: 'JSON' as const },
        texts('task', 'qa_1', numRows),
        { name: 'max_new_tokens', data: new Array(numRows).fill(7n), type: 'INT64' as const },
      ],
    }),
  );
export const PARQUET = [rows(1, 'UNCOMPRESSED'), rows(5, 'SNAPPY'), rows(100, 'SNAPPY')];

export const GZIP = DOCUMENTS.map((document) => gzipSync(document));
/** Of the zstd program: twelve lines in one compressed block with a checksum; then raw and repeated blocks, a skippable frame. */
export const ZSTD = [
  Buffer.from(
    'KLUv/WTGBzUDANQDeyJ0ZXh0IjogIkRvY3VtZW50IDAuIFRoZSBsYW1wIGlzIGluIHRoZSBnYXJkZW4ifQoxMjM0NTY3ODkxMQ0ogCMT6xD+h4T//z6kHyUntbuxW7ndjd2S292wm9wOro/jBiexDJOIpS8=',
    'base64',
  ),
  Buffer.concat([
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 56, 14 << 3, 0, 0]),
    Buffer.from('{"text":"raw"}'),
    Buffer.from([((20 << 3) & 255) | 3, 0, 0, 0x20]),
    Buffer.from([0x53, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]),
  ]),
];
export const TSV = [
  readRepository('test/golden/pattern-fixture/full_attention_heads.tsv'),
  Buffer.from('1.0e+00\t0.0e+00\n5.0e-01\t-1.0e-03\n'),
];

// Writes a GGUF file of a llama shape with random bf16 weights, so that llama.cpp can be timed on the same shape. Version 3 of the format:
// magic, counts, key-value pairs, tensor descriptions, then the tensors, each at a multiple of 32 bytes.
import { closeSync, openSync, writeSync } from 'node:fs';
import { makeRandom } from '../src/core/random.ts';
import type { ModelConfig } from '../src/model/config.ts';

const ALIGNMENT = 32;
const TYPE = { u32: 4, i32: 5, f32: 6, string: 8, array: 9 } as const;
const TENSOR_F32 = 0;
const TENSOR_BF16 = 30;
/** Random bf16 values that every tensor repeats; an odd count, so that rows differ. */
const PATTERN_VALUES = 1_048_573;

type Value =
  | { type: 'u32' | 'f32'; value: number }
  | { type: 'string'; value: string }
  | { type: 'strings'; value: string[] }
  | { type: 'f32s' | 'i32s'; value: number[] };

interface TensorPlan {
  readonly name: string;
  /** fastest dimension first, as GGUF has it */
  readonly dims: readonly number[];
  readonly isNorm: boolean;
}

/** @param path the file to write; several GB for a 1B shape. */
export function writeGguf(path: string, config: ModelConfig): void {
  const tensors = listTensors(config);
  const file = openSync(path, 'w');
  try {
    const header = makeHeader(tensors, config);
    const gap = (ALIGNMENT - (header.length % ALIGNMENT)) % ALIGNMENT;
    let written = writeSync(file, Buffer.concat([header, Buffer.alloc(gap)]));
    const pattern = makePattern();
    const ones = Buffer.from(new Float32Array(config.shape.hidden).fill(1).buffer);
    for (const tensor of tensors) {
      const bytes = countBytes(tensor);
      const source = tensor.isNorm ? ones : pattern;
      for (let done = 0; done < bytes; done += source.length) {
        written += writeSync(file, source, 0, Math.min(source.length, bytes - done));
      }
      const padding = (ALIGNMENT - (written % ALIGNMENT)) % ALIGNMENT;
      written += writeSync(file, Buffer.alloc(padding));
    }
  } finally {
    closeSync(file);
  }
}

function listTensors({ shape, tiedEmbeddings }: ModelConfig): TensorPlan[] {
  const { layers, heads, kvHeads, headDim, hidden, intermediate, vocab } = shape;
  const matrix = (name: string, columns: number, rows: number): TensorPlan => ({
    name,
    dims: [columns, rows],
    isNorm: false,
  });
  const norm = (name: string): TensorPlan => ({ name, dims: [hidden], isNorm: true });
  const tensors = [matrix('token_embd.weight', hidden, vocab), norm('output_norm.weight')];
  if (!tiedEmbeddings) tensors.push(matrix('output.weight', hidden, vocab));
  for (let layer = 0; layer < layers; layer++) {
    const at = `blk.${layer}.`;
    tensors.push(
      norm(`${at}attn_norm.weight`),
      matrix(`${at}attn_q.weight`, hidden, heads * headDim),
      matrix(`${at}attn_k.weight`, hidden, kvHeads * headDim),
      matrix(`${at}attn_v.weight`, hidden, kvHeads * headDim),
      matrix(`${at}attn_output.weight`, heads * headDim, hidden),
      norm(`${at}ffn_norm.weight`),
      matrix(`${at}ffn_gate.weight`, hidden, intermediate),
      matrix(`${at}ffn_up.weight`, hidden, intermediate),
      matrix(`${at}ffn_down.weight`, intermediate, hidden),
    );
  }
  return tensors;
}

function makeHeader(tensors: readonly TensorPlan[], config: ModelConfig): Buffer {
  const { shape } = config;
  const names = Array.from({ length: shape.vocab }, (_, id) => nameToken(id));
  const pairs: [string, Value][] = [
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['general.name', { type: 'string', value: 'bench' }],
    ['general.alignment', { type: 'u32', value: ALIGNMENT }],
    ['llama.context_length', { type: 'u32', value: shape.maxPositions }],
    ['llama.embedding_length', { type: 'u32', value: shape.hidden }],
    ['llama.block_count', { type: 'u32', value: shape.layers }],
    ['llama.feed_forward_length', { type: 'u32', value: shape.intermediate }],
    ['llama.attention.head_count', { type: 'u32', value: shape.heads }],
    ['llama.attention.head_count_kv', { type: 'u32', value: shape.kvHeads }],
    ['llama.attention.key_length', { type: 'u32', value: shape.headDim }],
    ['llama.attention.value_length', { type: 'u32', value: shape.headDim }],
    ['llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: config.rmsNormEps }],
    ['llama.rope.dimension_count', { type: 'u32', value: shape.headDim }],
    ['llama.rope.freq_base', { type: 'f32', value: config.ropeTheta }],
    ['llama.vocab_size', { type: 'u32', value: shape.vocab }],
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.tokens', { type: 'strings', value: names }],
    ['tokenizer.ggml.scores', { type: 'f32s', value: names.map((_, id) => -id) }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: names.map((_, id) => typeOfToken(id)) }],
    ['tokenizer.ggml.bos_token_id', { type: 'u32', value: 1 }],
    ['tokenizer.ggml.eos_token_id', { type: 'u32', value: 2 }],
    ['tokenizer.ggml.unknown_token_id', { type: 'u32', value: 0 }],
  ];
  const parts = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(pairs.length)];
  for (const [key, value] of pairs) parts.push(text(key), encodeValue(value));
  let offset = 0;
  for (const tensor of tensors) {
    parts.push(text(tensor.name), u32(tensor.dims.length), ...tensor.dims.map(u64));
    parts.push(u32(tensor.isNorm ? TENSOR_F32 : TENSOR_BF16), u64(offset));
    offset += Math.ceil(countBytes(tensor) / ALIGNMENT) * ALIGNMENT;
  }
  return Buffer.concat(parts);
}

/** llama.cpp asks for <unk>, <s>, </s> and a token for each byte. */
const SPECIAL_NAMES = ['<unk>', '<s>', '</s>'];
const NUM_BYTES = 256;

function nameToken(id: number): string {
  const byte = id - SPECIAL_NAMES.length;
  if (byte < 0) return SPECIAL_NAMES[id] as string;
  return byte < NUM_BYTES ? `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>` : `▁t${id}`;
}

/** llama.cpp's codes: 1 normal, 2 unknown, 3 control, 6 byte. */
function typeOfToken(id: number): number {
  if (id === 0) return 2;
  if (id < SPECIAL_NAMES.length) return 3;
  return id < SPECIAL_NAMES.length + NUM_BYTES ? 6 : 1;
}

function countBytes({ dims, isNorm }: TensorPlan): number {
  return dims.reduce((product, size) => product * size, 1) * (isNorm ? 4 : 2);
}

/** bf16 values, uniform with the spread of a normal initialisation. */
function makePattern(): Buffer {
  const random = makeRandom(1, 'gguf');
  const values = Float32Array.from({ length: PATTERN_VALUES }, () => 0.07 * (random.uniform() - 0.5));
  const bits = new Uint32Array(values.buffer);
  return Buffer.from(Uint16Array.from(bits, (word) => word >>> 16).buffer);
}

function encodeValue(value: Value): Buffer {
  switch (value.type) {
    case 'u32':
      return Buffer.concat([u32(TYPE.u32), u32(value.value)]);
    case 'f32':
      return Buffer.concat([u32(TYPE.f32), f32(value.value)]);
    case 'string':
      return Buffer.concat([u32(TYPE.string), text(value.value)]);
    case 'strings':
      return Buffer.concat([u32(TYPE.array), u32(TYPE.string), u64(value.value.length), ...value.value.map(text)]);
    case 'f32s':
      return Buffer.concat([
        u32(TYPE.array),
        u32(TYPE.f32),
        u64(value.value.length),
        Buffer.from(Float32Array.from(value.value).buffer),
      ]);
    case 'i32s':
      return Buffer.concat([
        u32(TYPE.array),
        u32(5),
        u64(value.value.length),
        Buffer.from(Int32Array.from(value.value).buffer),
      ]);
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

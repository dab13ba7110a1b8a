// Writes GGUF files for tests: metadata, tensors of any type as raw bytes, and a whole model as llama.cpp's converter would write it.
// Written from the format's description alone, so that it does not share a mistake with the reader.

export type Field =
  | readonly ['u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'bool' | 'u64' | 'i64' | 'f64', number]
  | readonly ['string', string]
  | readonly ['strings', readonly string[]]
  | readonly ['i32s' | 'f32s', readonly number[]];

export interface RawTensor {
  readonly name: string;
  /** rows first */
  readonly shape: readonly number[];
  /** ggml's number */
  readonly type: number;
  readonly data: Uint8Array;
}

const TYPES = { u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, u64: 10, i64: 11, f64: 12 } as const;

export const u32 = (value: number): Buffer => {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
};
export const u64 = (value: number | bigint): Buffer => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out;
};
export const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);

function scalar(kind: keyof typeof TYPES, value: number): Buffer {
  const view = new DataView(new ArrayBuffer(8));
  const sizes = { u8: 1, i8: 1, bool: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, u64: 8, i64: 8, f64: 8 } as const;
  const size = sizes[kind];
  if (kind === 'f32') view.setFloat32(0, value, true);
  else if (kind === 'f64') view.setFloat64(0, value, true);
  else view.setBigInt64(0, BigInt(value), true);
  return Buffer.from(view.buffer).subarray(0, size);
}

function encodeField([kind, value]: Field): Buffer {
  if (kind === 'string') return Buffer.concat([u32(8), text(value)]);
  if (kind === 'strings') return Buffer.concat([u32(9), u32(8), u64(value.length), ...value.map(text)]);
  if (kind === 'i32s' || kind === 'f32s') {
    const inner = kind === 'i32s' ? 'i32' : 'f32';
    return Buffer.concat([u32(9), u32(TYPES[inner]), u64(value.length), ...value.map((each) => scalar(inner, each))]);
  }
  return Buffer.concat([u32(TYPES[kind]), scalar(kind, value as number)]);
}

/** The bytes of a GGUF file, version 3, alignment 32. */
export function encodeGguf(fields: Readonly<Record<string, Field>>, tensors: readonly RawTensor[]): Buffer {
  const parts = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(Object.keys(fields).length)];
  for (const [key, field] of Object.entries(fields)) parts.push(text(key), encodeField(field));
  const data: Buffer[] = [];
  let at = 0;
  for (const tensor of tensors) {
    const { shape } = tensor;
    parts.push(
      text(tensor.name),
      u32(shape.length),
      ...[...shape].reverse().map((axis) => u64(axis)),
      u32(tensor.type),
      u64(at),
    );
    const padding = Buffer.alloc((32 - (tensor.data.length % 32)) % 32);
    data.push(Buffer.from(tensor.data), padding);
    at += tensor.data.length + padding.length;
  }
  const head = Buffer.concat(parts);
  return Buffer.concat([head, Buffer.alloc((32 - (head.length % 32)) % 32), ...data]);
}

const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens/, 'token_embd'],
  [/^model\.norm/, 'output_norm'],
  [/^lm_head/, 'output'],
  [/^model\.layers\.(\d+)\./, 'blk.$1.'],
  [/input_layernorm/, 'attn_norm'],
  [/post_attention_layernorm/, 'ffn_norm'],
  [/self_attn\.q_norm/, 'attn_q_norm'],
  [/self_attn\.k_norm/, 'attn_k_norm'],
  [/self_attn\.([qkv])_proj/, 'attn_$1'],
  [/self_attn\.o_proj/, 'attn_output'],
  [/mlp\.(gate|up|down)_proj/, 'ffn_$1'],
];

/** A Hugging Face tensor name as llama.cpp's. */
export function nameInGguf(name: string): string {
  return NAMES.reduce((name, [pattern, to]) => name.replace(pattern, to), name);
}

/** Rows of each head in pairs, as convert_hf_to_gguf.py's `permute` leaves q and k of architecture `llama`. */
export function pairRows(values: Float32Array, options: { rows: number; headDim: number }): Float32Array {
  const { rows, headDim } = options;
  const width = values.length / rows;
  const out = new Float32Array(values.length);
  for (let head = 0; head < rows / headDim; head++) {
    for (let i = 0; i < headDim / 2; i++) {
      for (const half of [0, 1]) {
        const from = head * headDim + half * (headDim / 2) + i;
        const to = head * headDim + 2 * i + half;
        out.set(values.subarray(from * width, (from + 1) * width), to * width);
      }
    }
  }
  return out;
}

/** float32 values as Q8_0 blocks, and what they stand for. */
export function quantizeQ8(values: Float32Array): { data: Uint8Array; values: Float32Array } {
  const data = new Uint8Array((values.length / 32) * 34);
  const out = new Float32Array(values.length);
  for (let block = 0; block < values.length / 32; block++) {
    const part = values.subarray(block * 32, block * 32 + 32);
    // A power of two is exact in float16.
    const exponent = Math.max(-14, Math.ceil(Math.log2(Math.max(...part.map(Math.abs), 1e-9) / 127)));
    const bits = (exponent + 15) << 10;
    data[block * 34] = bits & 255;
    data[block * 34 + 1] = bits >> 8;
    part.forEach((value, index) => {
      const q = Math.round(value / 2 ** exponent);
      data[block * 34 + 2 + index] = q & 255;
      out[block * 32 + index] = q * 2 ** exponent;
    });
  }
  return { data, values: out };
}

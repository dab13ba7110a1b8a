// The weight types of GGUF files that duo computes, and their dequantisation to float32: ggml's layouts and order of operations, so that values
// are the same bits as those of kernels/core/gguf_blocks.cpp and of the Python package gguf. Multiplications round to float32 at each step.
import { decodeBf16, decodeF16 } from './half-floats.ts';

export const GGUF_TYPES = [
  'F32',
  'F16',
  'BF16',
  'Q8_0',
  'Q4_0',
  'Q4_1',
  'Q5_0',
  'Q5_1',
  'Q2_K',
  'Q3_K',
  'Q4_K',
  'Q5_K',
  'Q6_K',
] as const;
export type GgufType = (typeof GGUF_TYPES)[number];

/** ggml's names by number; those that are not in GGUF_TYPES are refused by name. */
// biome-ignore format: a table
const TYPE_NAMES: Readonly<Record<number, string>> = {
  0: 'F32', 1: 'F16', 2: 'Q4_0', 3: 'Q4_1', 4: 'Q4_2', 5: 'Q4_3', 6: 'Q5_0', 7: 'Q5_1', 8: 'Q8_0', 9: 'Q8_1', 10: 'Q2_K', 11: 'Q3_K',
  12: 'Q4_K', 13: 'Q5_K', 14: 'Q6_K', 15: 'Q8_K', 16: 'IQ2_XXS', 17: 'IQ2_XS', 18: 'IQ3_XXS', 19: 'IQ1_S', 20: 'IQ4_NL', 21: 'IQ3_S',
  22: 'IQ2_S', 23: 'IQ4_XS', 24: 'I8', 25: 'I16', 26: 'I32', 27: 'I64', 28: 'F64', 29: 'IQ1_M', 30: 'BF16', 34: 'TQ1_0', 35: 'TQ2_0',
  39: 'MXFP4', 40: 'NVFP4',
};

interface BlockLayout {
  readonly elements: number;
  readonly bytes: number;
  /** Write the block at byte `at` of `source` to `target[to …]`. */
  readonly widen: (source: Uint8Array, at: number, target: Float32Array, to: number) => void;
}

const { fround } = Math;
const HALF = { bits: new Uint16Array(1), word: new Uint32Array(1) };
const HALF_VALUE = new Float32Array(HALF.word.buffer);

function readHalf(source: Uint8Array, at: number): number {
  HALF.bits[0] = source[at]! | (source[at + 1]! << 8);
  decodeF16(HALF.bits, HALF.word);
  return HALF_VALUE[0]!;
}

/** Blocks of 32: nibbles at `nibbles`, low halves first; a fifth bit each in the word at `highs`; q·d + m. */
function widen32(layout: {
  highs?: number;
  nibbles: number;
  zero: number;
  hasMinimum?: boolean;
}): BlockLayout['widen'] {
  const { highs, nibbles, zero, hasMinimum } = layout;
  return (source, at, target, to) => {
    const d = readHalf(source, at);
    const minimum = hasMinimum ? readHalf(source, at + 2) : 0;
    for (let index = 0; index < 32; index++) {
      const byte = source[at + nibbles + (index & 15)]!;
      let q = index < 16 ? byte & 15 : byte >> 4;
      if (highs !== undefined) q |= ((source[at + highs + (index >> 3)]! >> (index & 7)) & 1) << 4;
      const value = fround((q - zero) * d);
      target[to + index] = hasMinimum ? value + minimum : value;
    }
  };
}

function widenQ8(source: Uint8Array, at: number, target: Float32Array, to: number): void {
  const d = readHalf(source, at);
  for (let index = 0; index < 32; index++) target[to + index] = ((source[at + 2 + index]! << 24) >> 24) * d;
}

/** 16 bytes of scale and minimum, 64 of two bits, d, dmin. */
function widenQ2K(source: Uint8Array, at: number, target: Float32Array, to: number): void {
  const d = readHalf(source, at + 80);
  const dmin = readHalf(source, at + 82);
  for (let group = 0; group < 16; group++) {
    const packed = source[at + group]!;
    const scale = fround(d * (packed & 15));
    const minimum = fround(dmin * (packed >> 4));
    const from = at + 16 + (group >> 3) * 32 + (group & 1) * 16;
    const shift = group & 6;
    for (let index = 0; index < 16; index++) {
      target[to + group * 16 + index] = fround(scale * ((source[from + index]! >> shift) & 3)) - minimum;
    }
  }
}

/** 32 bytes of high bits, 64 of two bits, 12 of scales, d. */
function widenQ3K(source: Uint8Array, at: number, target: Float32Array, to: number): void {
  const d = readHalf(source, at + 108);
  for (let group = 0; group < 16; group++) {
    const low = (source[at + 96 + (group & 7)]! >> (group < 8 ? 0 : 4)) & 15;
    const high = (source[at + 104 + (group & 3)]! >> ((group >> 2) * 2)) & 3;
    const scale = fround(d * ((low | (high << 4)) - 32));
    const from = at + 32 + (group >> 3) * 32 + (group & 1) * 16;
    const mask = at + (group & 1) * 16;
    const shift = group & 6;
    for (let index = 0; index < 16; index++) {
      const q = (source[from + index]! >> shift) & 3;
      const isHigh = (source[mask + index]! >> (group >> 1)) & 1;
      target[to + group * 16 + index] = scale * (q - (isHigh ? 0 : 4));
    }
  }
}

/** d, dmin, 12 bytes of scales and minima, fifth bits where there are any, 128 of nibbles. */
function widenQ45K(layout: { highs?: number; nibbles: number }): BlockLayout['widen'] {
  const { highs, nibbles } = layout;
  return (source, at, target, to) => {
    const d = readHalf(source, at);
    const dmin = readHalf(source, at + 2);
    const packed = at + 4;
    for (let group = 0; group < 8; group++) {
      const [scaleBits, minimumBits] =
        group < 4
          ? [source[packed + group]! & 63, source[packed + group + 4]! & 63]
          : [
              (source[packed + group + 4]! & 15) | ((source[packed + group - 4]! >> 6) << 4),
              (source[packed + group + 4]! >> 4) | ((source[packed + group]! >> 6) << 4),
            ];
      const scale = fround(d * scaleBits);
      const minimum = fround(dmin * minimumBits);
      const from = at + nibbles + (group >> 1) * 32;
      const shift = (group & 1) * 4;
      for (let index = 0; index < 32; index++) {
        let q = (source[from + index]! >> shift) & 15;
        if (highs !== undefined) q |= ((source[at + highs + index]! >> group) & 1) << 4;
        target[to + group * 32 + index] = fround(scale * q) - minimum;
      }
    }
  };
}

/** 128 bytes of low nibbles, 64 of two high bits, 16 scales, d. */
function widenQ6K(source: Uint8Array, at: number, target: Float32Array, to: number): void {
  const d = readHalf(source, at + 208);
  for (let group = 0; group < 16; group++) {
    const part = (group & 7) >> 1;
    const column = (group & 1) * 16;
    const scale = fround(d * ((source[at + 192 + group]! << 24) >> 24));
    const low = at + (group >> 3) * 64 + (part & 1) * 32 + column;
    const high = at + 128 + (group >> 3) * 32 + column;
    for (let index = 0; index < 16; index++) {
      const q = ((source[low + index]! >> ((part >> 1) * 4)) & 15) | (((source[high + index]! >> (part * 2)) & 3) << 4);
      target[to + group * 16 + index] = scale * (q - 32);
    }
  }
}

const BLOCKS: Readonly<Record<Exclude<GgufType, 'F32' | 'F16' | 'BF16'>, BlockLayout>> = {
  Q4_0: { elements: 32, bytes: 18, widen: widen32({ nibbles: 2, zero: 8 }) },
  Q4_1: { elements: 32, bytes: 20, widen: widen32({ nibbles: 4, zero: 0, hasMinimum: true }) },
  Q5_0: { elements: 32, bytes: 22, widen: widen32({ highs: 2, nibbles: 6, zero: 16 }) },
  Q5_1: { elements: 32, bytes: 24, widen: widen32({ highs: 4, nibbles: 8, zero: 0, hasMinimum: true }) },
  Q8_0: { elements: 32, bytes: 34, widen: widenQ8 },
  Q2_K: { elements: 256, bytes: 84, widen: widenQ2K },
  Q3_K: { elements: 256, bytes: 110, widen: widenQ3K },
  Q4_K: { elements: 256, bytes: 144, widen: widenQ45K({ nibbles: 16 }) },
  Q5_K: { elements: 256, bytes: 176, widen: widenQ45K({ highs: 16, nibbles: 48 }) },
  Q6_K: { elements: 256, bytes: 210, widen: widenQ6K },
};

/** ggml's name of a type number, `type 99` for a number that it has not given. */
export function nameGgufType(type: number): string {
  return TYPE_NAMES[type] ?? `type ${type}`;
}

/** True for a type name that duo dequantises. */
export function isGgufType(name: string): name is GgufType {
  return (GGUF_TYPES as readonly string[]).includes(name);
}

/** Elements of a block, and its bytes; an element of F32, F16 and BF16 is a block of one. */
export function describeBlock(type: GgufType): { elements: number; bytes: number } {
  if (type === 'F32') return { elements: 1, bytes: 4 };
  if (type === 'F16' || type === 'BF16') return { elements: 1, bytes: 2 };
  const { elements, bytes } = BLOCKS[type];
  return { elements, bytes };
}

/** Write the float32 values of whole blocks.
 * @param source the blocks' bytes; for F32, F16 and BF16 from an even address.  @param target one element for each of the blocks'. */
export function dequantize(type: GgufType, source: Uint8Array, target: Float32Array): void {
  if (type === 'F32') {
    new Uint8Array(target.buffer, target.byteOffset, target.byteLength).set(source);
    return;
  }
  if (type === 'F16' || type === 'BF16') {
    const decode = type === 'F16' ? decodeF16 : decodeBf16;
    const halves = new Uint16Array(source.buffer, source.byteOffset, source.byteLength / 2);
    decode(halves, new Uint32Array(target.buffer, target.byteOffset, target.length));
    return;
  }
  const { elements, bytes, widen } = BLOCKS[type];
  for (let at = 0, to = 0; at < source.length; at += bytes, to += elements) widen(source, at, target, to);
}

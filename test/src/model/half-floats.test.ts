import { describe, expect, it } from 'vitest';
import { decodeBf16, decodeF16, encodeBf16 } from '../../../src/model/half-floats.ts';

const ALL = Uint16Array.from({ length: 65536 }, (_, half) => half);

/** Value of a half by its definition, in float64. */
function halfValue(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function decodeAll(decode: (source: Uint16Array, target: Uint32Array) => void): Float32Array {
  const values = new Float32Array(ALL.length);
  decode(ALL, new Uint32Array(values.buffer));
  return values;
}

describe('half precision', () => {
  it('converts all 65,536 numbers exactly, signed zeros and subnormals included', () => {
    const values = decodeAll(decodeF16);
    const wrong = [...ALL].filter((half) => !Object.is(values[half], halfValue(half)));
    expect(wrong).toEqual([]);
  });
});

describe('bfloat16', () => {
  it('is the upper half of a float32, and encodes back to itself', () => {
    const values = decodeAll(decodeBf16);
    expect(values[0x3f80]).toBe(1);
    expect(values[0xc2c8]).toBe(-100);
    expect(Object.is(values[0x8000], -0)).toBe(true);
    expect(values[0x7f80]).toBe(Number.POSITIVE_INFINITY);
    const back = encodeBf16(values);
    const wrong = [...ALL].filter((word) => back[word] !== word && !Number.isNaN(values[word]));
    expect(wrong).toEqual([]);
  });

  it('rounds to nearest, ties to even', () => {
    const round = (value: number): number => {
      const out = new Float32Array(1);
      decodeBf16(encodeBf16(Float32Array.of(value)), new Uint32Array(out.buffer));
      return out[0]!;
    };
    // Neighbours of 1 are 2^-7 apart.
    expect(round(1 + 2 ** -8)).toBe(1);
    expect(round(1 + 3 * 2 ** -8)).toBe(1 + 2 ** -6);
    expect(round(1 + 2 ** -8 + 2 ** -20)).toBe(1 + 2 ** -7);
    expect(round(-1 - 2 ** -8 - 2 ** -20)).toBe(-1 - 2 ** -7);
    expect(round(3.4e38)).toBe(Number.POSITIVE_INFINITY);
    expect(round(Number.NaN)).toBeNaN();
  });
});

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { dequantize, describeBlock, GGUF_TYPES, isGgufType, nameGgufType } from '../../../src/model/gguf-blocks.ts';

const GOLDEN = new URL('../../golden/gguf/', import.meta.url);
const QUANTISED = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'] as const;

describe('dequantize', () => {
  it.each(QUANTISED)('gives the bits of the Python package gguf for %s', (type) => {
    const blocks = new Uint8Array(readFileSync(new URL(`${type}.blocks`, GOLDEN)));
    const expected = new Uint8Array(readFileSync(new URL(`${type}.f32`, GOLDEN)));
    const values = new Float32Array(512);
    expect(blocks.length).toBe((512 / describeBlock(type).elements) * describeBlock(type).bytes);
    dequantize(type, blocks, values);
    expect(Buffer.compare(new Uint8Array(values.buffer), expected)).toBe(0);
  });

  it('widens plain types', () => {
    const out = new Float32Array(2);
    dequantize('F32', new Uint8Array(new Float32Array([1.5, -2]).buffer), out);
    expect([...out]).toEqual([1.5, -2]);
    dequantize('F16', new Uint8Array(new Uint16Array([0x3e00, 0xc000]).buffer), out);
    expect([...out]).toEqual([1.5, -2]);
    dequantize('BF16', new Uint8Array(new Uint16Array([0x3fc0, 0xc000]).buffer), out);
    expect([...out]).toEqual([1.5, -2]);
  });
});

describe('types', () => {
  it('names what is not computed', () => {
    expect(nameGgufType(20)).toBe('IQ4_NL');
    expect(nameGgufType(39)).toBe('MXFP4');
    expect(nameGgufType(99)).toBe('type 99');
    expect(isGgufType('IQ4_NL')).toBe(false);
    expect(GGUF_TYPES.every((type) => isGgufType(type))).toBe(true);
  });
});

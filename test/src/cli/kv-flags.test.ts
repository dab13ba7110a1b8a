import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { addKvOptions, describeKv, type KvFlags, readKvFlags } from '../../../src/cli/kv-flags.ts';
import { KV_DTYPES, type KvDtype } from '../../../src/core/session.ts';

function parse(flags: string[], fallback?: KvDtype): KvFlags {
  const command = addKvOptions(new Command(), fallback).exitOverride();
  return command.parse(flags, { from: 'user' }).opts();
}

describe('kv flags', () => {
  it('rotate quantised storage by default, off by the flag', () => {
    for (const kvDtype of ['int8', 'fp8', 'k8v4', 'int4']) {
      expect(readKvFlags(parse(['--kv-dtype', kvDtype]))).toEqual({ kvDtype, kvRotation: true });
      expect(readKvFlags(parse(['--kv-dtype', kvDtype, '--kv-rotation', 'on']))).toEqual({ kvDtype, kvRotation: true });
      expect(readKvFlags(parse(['--kv-dtype', kvDtype, '--kv-rotation', 'off']))).toEqual({
        kvDtype,
        kvRotation: false,
      });
    }
  });

  it('say nothing of rotation for other storage, and take the fallback', () => {
    expect(readKvFlags(parse([]))).toEqual({});
    expect(readKvFlags(parse([], 'bf16'))).toEqual({ kvDtype: 'bf16' });
    expect(readKvFlags(parse(['--kv-dtype', 'f32'], 'bf16'))).toEqual({ kvDtype: 'f32' });
  });

  it('refuse a rotation that would do nothing, and names that are none', () => {
    expect(() => readKvFlags(parse(['--kv-rotation', 'off']))).toThrow(
      'Expected --kv-rotation only with --kv-dtype int8, fp8, k8v4, int4, got no --kv-dtype; other storage is never rotated.',
    );
    expect(() => readKvFlags(parse(['--kv-dtype', 'f32', '--kv-rotation', 'off']))).toThrow('got f32');
    expect(() => readKvFlags(parse(['--kv-dtype', 'int4', '--kv-rotation', 'half']))).toThrow('--kv-rotation');
    expect(() => readKvFlags(parse(['--kv-dtype', 'int5']))).toThrow(KV_DTYPES.join(', '));
  });

  it('have words', () => {
    expect(describeKv('bf16', undefined)).toBe('bf16');
    expect(describeKv('int4', undefined)).toBe('int4, rotated');
    expect(describeKv('int4', false)).toBe('int4, not rotated');
  });
});

import { describe, expect, it } from 'vitest';
import { ConfigError, DuoError, FormatError, NativeError } from '../../../src/errors/errors.ts';

describe('DuoError', () => {
  it('writes what would break a line or steer a terminal as escapes', () => {
    expect(new FormatError('a\nb\r\tc\u001b[2J\u0000\u2028\u202e').message).toBe(
      'a\\nb\\r\\tc\\u001b[2J\\u0000\\u2028\\u202e',
    );
    expect(new NativeError('a\u0007', 'FORMAT').message).toBe('a\\u0007');
    expect(new ConfigError('äöü 😀 “x” ▁ \u200d').message).toBe('äöü 😀 “x” ▁ \u200d');
  });

  it('leaves out the middle of an endless message', () => {
    const { message } = new DuoError(`${'a'.repeat(1e6)}; download it again.`);
    expect(message.length).toBeLessThan(4100);
    expect(message).toMatch(/^a{3600} … a+; download it again\.$/);
    expect(new DuoError('b'.repeat(4000)).message).toBe('b'.repeat(4000));
  });

  it('keeps its cause', () => {
    const cause = new Error('x');
    expect(new FormatError('a', { cause }).cause).toBe(cause);
  });
});

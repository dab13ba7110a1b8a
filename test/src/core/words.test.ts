import { expect, it } from 'vitest';
import {
  formatBytes,
  formatExpectedSeconds,
  formatNumber,
  formatSeconds,
  formatShare,
  formatTokens,
} from '../../../src/core/words.ts';

it.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.50 KiB'],
  [20.46 * 1024, '20.5 KiB'],
  [407 * 2 ** 20, '407 MiB'],
  [1.26 * 2 ** 30, '1.26 GiB'],
])('%d bytes read %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

it.each([
  [0.004, '0.00 s'],
  [0.42, '0.42 s'],
  [0.999, '1.0 s'],
  [8.14, '8.1 s'],
  [9.96, '10 s'],
  [59.4, '59 s'],
  [59.6, '1 min'],
  [200, '3 min 20 s'],
  [3599.7, '1 h'],
  [7500, '2 h 5 min'],
])('%d seconds read %s', (seconds, text) => {
  expect(formatSeconds(seconds)).toBe(text);
});

it.each([
  [0.2, '1 s'],
  [40, '40 s'],
  [119.4, '119 s'],
  [130, '2 min'],
  [720, '12 min'],
  [7200, '2 h'],
  [12_000, '3 h 20 min'],
])('%d expected seconds read %s', (seconds, text) => {
  expect(formatExpectedSeconds(seconds)).toBe(text);
});

it('writes shares, tokens and other numbers', () => {
  expect(formatShare(0.9734)).toBe('97.3 %');
  expect([1000, 32_768, 2 ** 20].map(formatTokens)).toEqual(['1000', '32K', '1M']);
  expect([0, 12, 0.123456, 1.5e-7].map(formatNumber)).toEqual(['0', '12', '0.1235', '1.50e-7']);
});

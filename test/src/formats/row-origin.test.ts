import { expect, it } from 'vitest';
import type { EvalRow } from '../../../src/formats/results.ts';
import { isCut, nameRow, originOf } from '../../../src/formats/row-origin.ts';

const NONE = { fraction: null, kvShare: null, draw: null };

it.each([
  ['full', { ...NONE, method: 'full' }],
  ['random-2', { ...NONE, method: 'random', draw: 2 }],
  ['gates@0.5', { ...NONE, method: 'gates', fraction: 0.5 }],
  ['gates-windows@0.24', { ...NONE, method: 'gates-windows', kvShare: 0.24 }],
  ['random-1@kv-0.24', { ...NONE, method: 'random', kvShare: 0.24, draw: 1 }],
  ['inverted@0.3', { ...NONE, method: 'inverted', fraction: 0.3 }],
])('reads %s of an older file', (mask, origin) => {
  expect(originOf({ mask })).toEqual(origin);
});

it('believes the fields of a row, whatever its name says', () => {
  const origin = { method: 'my@mask', fraction: 0.25, kvShare: null, draw: null };
  expect(originOf({ mask: 'random-3@0.5', ...origin })).toEqual(origin);
  expect(nameRow({ name: 'a', origin })).toEqual({ mask: 'a', ...origin });
  expect(nameRow({ name: 'a' })).toEqual({ mask: 'a' });
});

it('tells rows that were cut for a budget', () => {
  const row = (mask: string): EvalRow => ({ mask }) as EvalRow;
  expect(['full', 'random-0', 'gates@0', 'random-0@kv-0.1'].map((mask) => isCut(row(mask)))).toEqual([
    false,
    false,
    true,
    true,
  ]);
});

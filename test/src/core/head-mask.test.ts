import { expect, test } from 'vitest';
import {
  findNarrowestWindow,
  findOneWindow,
  hasSeveralWindows,
  listWindows,
  makeHeadMask,
  toMaskGrid,
} from '../../../src/core/head-mask.ts';

const window = { sinkTokens: 4, recentTokens: 32 };
const grid = [
  [1, 0],
  [0, 0],
];

test('a grid and a window make a mask, and come back from it', () => {
  const mask = makeHeadMask(grid, window);
  expect(mask).toEqual({
    sinkTokens: 4,
    windows: [
      [null, 32],
      [32, 32],
    ],
  });
  expect(toMaskGrid(mask)).toEqual(grid);
  expect(findOneWindow(mask)).toEqual(window);
});

test('a mask of retrieval heads has no window', () => {
  const mask = makeHeadMask([[1, 1]], window);
  expect(findOneWindow(mask)).toBeNull();
});

test('the narrowest window stands for a mask, 1 token where none streams', () => {
  const several = { sinkTokens: 4, windows: [[null, 64, 8]] };
  expect(findNarrowestWindow(several)).toEqual({ sinkTokens: 4, recentTokens: 8 });
  expect(findNarrowestWindow(makeHeadMask([[1, 1]], window))).toEqual({ sinkTokens: 4, recentTokens: 1 });
  expect([several, makeHeadMask(grid, window)].map(hasSeveralWindows)).toEqual([true, false]);
});

test('several windows are listed, and refused where one is needed', () => {
  const mask = { sinkTokens: 4, windows: [[512, null, 16, 512]] };
  expect(listWindows(mask)).toEqual([16, 512]);
  expect(toMaskGrid(mask)).toEqual([[0, 1, 0, 0]]);
  expect(() => findOneWindow(mask)).toThrow(
    'Expected a mask whose streaming heads all have one window, got windows of 16, 512 tokens',
  );
});

test('a value other than 0 and 1 is refused with its place', () => {
  expect(() => makeHeadMask([[1, 0.5]], window)).toThrow('Expected mask values 0 or 1, got 0.5 at layer 0, KV head 1');
});

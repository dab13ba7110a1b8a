// How long the prompts of a suite's groups are taken to be, before any but one of them is tokenised.
import { expect, it } from 'vitest';
import type { SuiteItem } from '../../../src/eval/suites/suite-item.ts';
import { makeSuiteGroups } from '../../../src/eval/sweep-groups.ts';
import { adaptTokenizer } from '../../../src/eval/tasks/adapt-tokenizer.ts';
import { makeByteTokenizer } from './tasks/byte-tokenizer.ts';

const makeItem = (task: string, words: number, tooLong: SuiteItem['tooLong'], maxNewTokens: number): SuiteItem => ({
  task,
  place: 'f, line 1',
  prompt: Array.from({ length: words }, (_, index) => `word${index}`).join(' '),
  references: ['x'],
  maxNewTokens,
  scoring: { metric: 'none', score: () => 0 },
  record: {},
  wantsChat: false,
  tooLong,
});

it('takes the longest text of a group with a tenth more and its answer, as far as the suite cuts and the model goes', () => {
  const encoded: string[] = [];
  const plain = adaptTokenizer(makeByteTokenizer());
  const tokenizer = { ...plain, encode: (text: string) => plain.encode(encoded[encoded.push(text) - 1] as string) };
  const items = [
    makeItem('short', 10, 'refuse', 20),
    makeItem('short', 30, 'refuse', 5),
    makeItem('long', 2000, 'cut-halves', 16),
    makeItem('long', 100, 'cut-halves', 64),
  ];
  const make = (limits: { maxTokens: number; maxPromptTokens?: number }): number[] =>
    makeSuiteGroups({ items, tokenizer, renderChat: null, chat: 'off', inputsHash: '', ...limits }).map(
      ({ mostTokens }) => mostTokens,
    );
  const tokensOf = (item: number): number => plain.encode((items[item] as SuiteItem).prompt).length;
  expect(make({ maxTokens: 1e6 })).toEqual([Math.ceil(1.1 * tokensOf(1)) + 20, Math.ceil(1.1 * tokensOf(2)) + 64]);
  expect(encoded).toEqual([(items[1] as SuiteItem).prompt, (items[2] as SuiteItem).prompt]);
  expect(make({ maxTokens: 1e6, maxPromptTokens: 300 })[1]).toBe(300 + 64);
  expect(make({ maxTokens: 300 })).toEqual([Math.ceil(1.1 * tokensOf(1)) + 20, 300]);
});

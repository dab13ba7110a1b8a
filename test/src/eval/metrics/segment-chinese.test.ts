// Words of the port against those of jieba itself (test/golden/README.md).
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { openSegmenter, type Segmenter } from '../../../../src/eval/metrics/segment-chinese.ts';

const cases = JSON.parse(
  readFileSync(new URL('../../../golden/metrics/jieba-words.json', import.meta.url), 'utf8'),
) as [text: string, words: string[]][];
const segment = openSegmenter() as Segmenter;

it('cuts as jieba does', () => {
  expect(cases.length).toBe(400);
  expect(cases.filter(([text, words]) => JSON.stringify(segment(text)) !== JSON.stringify(words))).toEqual([]);
});

it('keeps every character, and CR LF together', () => {
  expect(segment('')).toEqual([]);
  expect(segment('北京\r\n大学 x')).toEqual(['北京', '\r\n', '大学', ' ', 'x']);
  for (const [text] of cases) expect(segment(text).join('')).toBe(text);
});

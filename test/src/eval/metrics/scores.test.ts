// Every score on right, wrong and half-right answers worked out by hand; each reaches 0 and 100.
import { describe, expect, it } from 'vitest';
import { scoreClassification, scoreCount, scoreOption, scoreRetrieval } from '../../../../src/eval/metrics/choice.ts';
import { scoreEditSimilarity } from '../../../../src/eval/metrics/edit-similarity.ts';
import { normaliseChinese, normaliseEnglish } from '../../../../src/eval/metrics/normalise.ts';
import { scoreQaF1 } from '../../../../src/eval/metrics/qa-f1.ts';
import { findCommonSubsequence, scoreRougeL } from '../../../../src/eval/metrics/rouge-l.ts';
import {
  scoreAllReferences,
  scoreAnyReference,
  scoreExact,
  scoreWordRecall,
} from '../../../../src/eval/metrics/string-match.ts';

it('normalises English and Chinese', () => {
  expect(normaliseEnglish('The  Cat, an owl and A "dog"!')).toBe('cat owl and dog');
  expect(normaliseChinese('答案 是：“北京”。OK!')).toBe('答案是北京ok');
});

describe('scoreQaF1', () => {
  it.each([
    ['The Eiffel Tower.', 'Eiffel tower', 100],
    ['a red bird', 'blue fish', 0],
    ['', 'blue fish', 0],
    // 2 common of 4 and 2 words: 2·2/(4+2)
    ['it is blue fish', 'blue fish', 200 / 3],
    ['fish fish', 'fish', 200 / 3],
  ])('%s against %s: %f', (prediction, reference, expected) => {
    expect(scoreQaF1(prediction, reference)).toBeCloseTo(expected, 9);
  });

  it('takes Chinese by character and Latin runs as words', () => {
    expect(scoreQaF1('北京。', '北京', 'zh')).toBe(100);
    // 北 common of 北海 and 北京
    expect(scoreQaF1('北海', '北京', 'zh')).toBe(50);
    expect(scoreQaF1('GPT4模型', 'gpt4 模型', 'zh')).toBe(100);
    expect(scoreQaF1('上海', '北京', 'zh')).toBe(0);
  });
});

describe('scoreRougeL', () => {
  it.each([
    ['the cat sat on a mat', 'the cat sat on a mat', 100],
    ['dogs bark', 'cats meow', 0],
    ['', 'cats', 0],
    // LCS a c d of a b c d and a c e d: 3 of 4 and 4
    ['a c e d', 'a b c d', 75],
    // union over two sentences: {a b} and {c d} give all four reference words, the prediction has five
    ['a b x. c d', 'a b c d', (2 * (4 / 5) * 1 * 100) / (4 / 5 + 1)],
  ])('%s against %s: %f', (prediction, reference, expected) => {
    expect(scoreRougeL(prediction, reference)).toBeCloseTo(expected, 9);
  });

  it('takes Chinese by character', () => {
    expect(scoreRougeL('今天下雨', '今天下雨', 'zh')).toBe(100);
    expect(scoreRougeL('今天晴', '今天下雨', 'zh')).toBeCloseTo((200 * (2 / 3) * (2 / 4)) / (2 / 3 + 2 / 4), 9);
  });

  it('finds a longest common subsequence', () => {
    expect(findCommonSubsequence([...'AGGTAB'], [...'GXTXAYB']).join('')).toBe('GTAB');
    expect(findCommonSubsequence([], ['a'])).toEqual([]);
  });
});

it('scores classes by how many are named', () => {
  const classes = ['Food', 'Food and drink', 'Sport'];
  expect(scoreClassification('Sport', 'Sport', classes)).toBe(100);
  expect(scoreClassification('Food', 'Sport', classes)).toBe(0);
  expect(scoreClassification('Sport or Food', 'Sport', classes)).toBe(50);
  expect(scoreClassification('Food and drink', 'Food and drink', classes)).toBe(100);
});

it('scores counts and paragraph numbers by their share', () => {
  expect(scoreCount('There are 17.', '17')).toBe(100);
  expect(scoreCount('17 or 18', '17')).toBe(50);
  expect(scoreCount('many', '17')).toBe(0);
  expect(scoreRetrieval('Paragraph 4', 'Paragraph 4')).toBe(100);
  expect(scoreRetrieval('Paragraph 14', 'Paragraph 4')).toBe(0);
  expect(scoreRetrieval('段落4, 段落5', '段落4')).toBe(50);
});

it('finds the option a text states', () => {
  expect(scoreOption('The correct answer is (C)', 'C')).toBe(100);
  expect(scoreOption('**The correct answer is** B because A is wrong', 'B')).toBe(100);
  expect(scoreOption('(D)', 'D')).toBe(100);
  expect(scoreOption('A cat', 'B')).toBe(0);
  expect(scoreOption('none', 'B')).toBe(0);
});

it('compares the first line of code', () => {
  expect(scoreEditSimilarity('\n# comment\nreturn x\nmore', 'return x')).toBe(100);
  expect(scoreEditSimilarity('zzz', 'return x')).toBe(0);
  expect(scoreEditSimilarity('', 'return x')).toBe(0);
  // 6 common characters of 8 and 6
  expect(scoreEditSimilarity('return', 'return x')).toBe(Math.round(1200 / 14));
});

it('matches strings as RULER does, whatever the case', () => {
  expect(scoreAllReferences('it is ABC and  12 34', ['abc', '12 34'])).toBe(100);
  expect(scoreAllReferences('abc', ['abc', '12'])).toBe(50);
  expect(scoreAllReferences('', ['abc'])).toBe(0);
  expect(scoreAnyReference('xyz', ['abc', 'Y'])).toBe(100);
  expect(scoreAnyReference('xyz', ['abc'])).toBe(0);
  expect(scoreExact(' Paris. ', ['paris'])).toBe(100);
  expect(scoreExact('Paris, France', ['paris'])).toBe(0);
});

it('gives a perfect repetition 100, however often a word occurs in it', () => {
  const needle = 'by the old mill by the old pond';
  expect(scoreWordRecall(needle, [needle])).toBe(100);
  expect(scoreWordRecall('old mill', [needle])).toBe(40);
  expect(scoreWordRecall('nothing', [needle])).toBe(0);
});

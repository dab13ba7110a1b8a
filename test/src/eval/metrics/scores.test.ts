// Every score on right, wrong and half-right answers worked out by hand; each reaches 0 and 100.
import { describe, expect, it } from 'vitest';
import {
  scoreClassification,
  scoreCount,
  scoreRetrieval,
  scoreStatedOption,
} from '../../../../src/eval/metrics/choice.ts';
import { findCommonSubsequence } from '../../../../src/eval/metrics/common-subsequence.ts';
import { scoreEditSimilarity } from '../../../../src/eval/metrics/edit-similarity.ts';
import { normaliseChinese, normaliseEnglish } from '../../../../src/eval/metrics/normalise.ts';
import { roundHalfEven, toAsciiDigits } from '../../../../src/eval/metrics/python-text.ts';
import { scoreCharacterF1, scoreQaF1 } from '../../../../src/eval/metrics/qa-f1.ts';
import { scoreRougeL } from '../../../../src/eval/metrics/rouge-l.ts';
import { scoreRougeLsum } from '../../../../src/eval/metrics/rouge-lsum.ts';
import { scoreAllReferences, scoreAnyReference, scoreWordRecall } from '../../../../src/eval/metrics/string-match.ts';

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

  it('takes Chinese by character for InfiniteBench, digits and letters too', () => {
    expect(scoreCharacterF1('北京。', '北京')).toBe(100);
    // 北 common of 北海 and 北京
    expect(scoreCharacterF1('北海', '北京')).toBe(50);
    expect(scoreCharacterF1('10', '18')).toBe(50);
    expect(scoreCharacterF1('上海', '北京')).toBe(0);
  });

  it('finds articles between letters of every script', () => {
    expect(scoreQaF1('ñaño x', 'x')).toBeCloseTo(200 / 3, 9);
    expect(scoreQaF1('España', 'Españ')).toBe(0);
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
    expect(scoreRougeL(prediction, reference)).toBeCloseTo(expected, 5);
  });

  it('keeps an empty word for a last sentence of white space, as rouge does', () => {
    expect(scoreRougeL('Hello world. ', 'Hello world.')).toBeCloseTo(80, 5);
  });

  it('finds a longest common subsequence', () => {
    expect(findCommonSubsequence([...'AGGTAB'], [...'GXTXAYB']).words.join('')).toBe('GTAB');
    expect(findCommonSubsequence([], ['a']).words).toEqual([]);
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
  expect(scoreStatedOption('The correct answer is (C)', 'C')).toBe(100);
  expect(scoreStatedOption('**The correct answer is** B because A is wrong', 'B')).toBe(100);
  expect(scoreStatedOption('(D)', 'D')).toBe(100);
  expect(scoreStatedOption('A cat', 'B')).toBe(0);
  expect(scoreStatedOption('none', 'B')).toBe(0);
});

it('compares the first line of code', () => {
  expect(scoreEditSimilarity('\n# comment\nreturn x\nmore', 'return x', 'levenshtein')).toBe(100);
  expect(scoreEditSimilarity('zzz', 'return x', 'levenshtein')).toBe(0);
  expect(scoreEditSimilarity('', 'return x', 'levenshtein')).toBe(0);
  // 6 common characters of 8 and 6
  expect(scoreEditSimilarity('return', 'return x', 'levenshtein')).toBe(86);
  // half goes to the even number, and difflib takes whole runs
  expect(scoreEditSimilarity('λ = 3 λ = 3', 'λ = 3', 'difflib')).toBe(62);
  expect(scoreEditSimilarity('        return self.x', 'import os', 'difflib')).toBe(13);
  expect(scoreEditSimilarity('        return self.x', 'import os', 'levenshtein')).toBe(27);
});

it('matches strings as RULER does, whatever the case', () => {
  expect(scoreAllReferences('it is ABC and 12 34', ['abc', '12 34'])).toBe(100);
  expect(scoreAnyReference('São\nPaulo', ['São Paulo'])).toBe(0);
  expect(scoreAllReferences('abc', ['abc', '12'])).toBe(50);
  expect(scoreAllReferences('', ['abc'])).toBe(0);
  expect(scoreAnyReference('xyz', ['abc', 'Y'])).toBe(100);
  expect(scoreAnyReference('xyz', ['abc'])).toBe(0);
});

it('gives a perfect repetition 100, however often a word occurs in it', () => {
  const needle = 'by the old mill by the old pond';
  expect(scoreWordRecall(needle, [needle])).toBe(100);
  expect(scoreWordRecall('old mill', [needle])).toBe(40);
  expect(scoreWordRecall('nothing', [needle])).toBe(0);
});

it('computes ROUGE-Lsum line by line, a word as often as both texts have it', () => {
  expect(scoreRougeLsum('the cat', 'The cat!')).toBe(100);
  // the second line's "a" was used up by the first: 2 hits of 3 and 2 words
  expect(scoreRougeLsum('a b', 'a b\na')).toBeCloseTo(80, 9);
  expect(scoreRougeLsum('', 'a')).toBe(0);
});

it('rounds and reads digits as Python does', () => {
  expect([62.5, 63.5, 62.51, 0.4].map(roundHalfEven)).toEqual([62, 64, 63, 0]);
  expect(toAsciiDigits('١٢ ５ 7 𝟙')).toBe('12 5 7 1');
});

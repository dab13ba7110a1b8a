import { describe, expect, it } from 'vitest';
import { listLexicon, writeProse } from '../../data-gen/prose.ts';
import { makeRandom } from '../../src/core/random.ts';

const NATO =
  'alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu'.split(
    ' ',
  );
const ORDINALS =
  'first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth'.split(
    ' ',
  );

describe('writeProse', () => {
  const text = writeProse(makeRandom(3, 'prose'), 1_000_000);

  it('uses exactly the words of the lexicon', () => {
    expect([...new Set(text.match(/[A-Za-z]+/g))].sort()).toEqual(listLexicon());
  });

  it('holds only words, spaces, line ends and plain marks, each word after a space', () => {
    expect(text).toMatch(/^[A-Za-z .,?\n]+$/);
    expect(text).not.toMatch(/[^ A-Za-z][A-Za-z]/);
    expect(text).not.toMatch(/ {2}| [.,?]/);
  });

  it('writes a, never an, since no word after it begins with a vowel', () => {
    expect(text).not.toMatch(/\b[Aa] [aeiou]/);
  });

  it('has sentences with a capital and an end mark', () => {
    const sentences = text.split('\n').flatMap((line) => line.match(/[^.?]+[.?]/g) ?? []);
    for (const sentence of sentences) expect(sentence).toMatch(/^ [A-Z][^A-Z.?]*.*[.?]$/);
  });

  it('is the same for the same seed and another for another', () => {
    expect(writeProse(makeRandom(3, 'prose'), 1000)).toBe(writeProse(makeRandom(3, 'prose'), 1000));
    expect(writeProse(makeRandom(4, 'prose'), 1000)).not.toBe(writeProse(makeRandom(3, 'prose'), 1000));
  });

  it('does not repeat a paragraph of four sentences or more', () => {
    const long = text.split('\n').filter((paragraph) => paragraph.split('.').length > 4);
    expect(long.length).toBeGreaterThan(1000);
    expect(new Set(long).size).toBe(long.length);
  });

  it('uses every word often enough to be learned', () => {
    const counts = new Map<string, number>();
    for (const word of text.match(/[A-Za-z]+/g) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
    expect(Math.min(...counts.values())).toBeGreaterThan(50);
  });
});

describe('listLexicon', () => {
  it('is a closed vocabulary of 250 to 350 plain words without alphabet words or ordinals', () => {
    const lexicon = listLexicon();
    expect(lexicon.length).toBeGreaterThanOrEqual(250);
    expect(lexicon.length).toBeLessThanOrEqual(350);
    const lower = lexicon.map((word) => word.toLowerCase());
    for (const word of [...NATO, ...ORDINALS, 'passkey', 'answer', 'what', 'is']) expect(lower).not.toContain(word);
    for (const word of lexicon) expect(word).toMatch(/^[A-Za-z][a-z]*$/);
  });
});

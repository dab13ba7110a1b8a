import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import { TextStream } from '../../../src/text/text-stream.ts';
import { openTokenizer, type Tokenizer } from '../../../src/text/tokenizer.ts';
import { makeScratchFolder, writeFolder } from '../model/model-fixture.ts';
import { makeByteLevelBpe, makeSentencePieceBpe, makeWordLevel } from './tokenizer-fixture.ts';

const scratch = makeScratchFolder();
const open = (name: string, json: object): Tokenizer =>
  openTokenizer(writeFolder(join(scratch, name), { 'tokenizer.json': json }));
const byteLevel = open('byte', makeByteLevelBpe(['the', 'Ġthe']));
const sentencePiece = open('piece', makeSentencePieceBpe());
const wordLevel = open('word', makeWordLevel(['the', 'passkey', '.'], undefined));

const push = (tokenizer: Tokenizer, tokens: number[]): string[] => {
  const stream = new TextStream(tokenizer);
  return [...tokens.map((token) => stream.push(token)), stream.finish()];
};

describe('TextStream', () => {
  it('never shows half a character', () => {
    expect(push(byteLevel, byteLevel.encode('é 世the'))).toEqual(['', 'é', ' ', '', '', '世', ...'the', '']);
    expect(push(sentencePiece, sentencePiece.encode('a é'))).toEqual(['a', ' ', '', 'é', '']);
  });

  it('shows what is whole before a character that is not', () => {
    const ids = [258, 2 + 0xc3];
    expect(push(byteLevel, ids)).toEqual(['the', '', '\ufffd']);
  });

  it('shows invalid bytes as soon as text follows, and long runs of them at once', () => {
    expect(push(byteLevel, [2 + 0xff, 258])).toEqual(['', '\ufffdthe', '']);
    const run = new Array<number>(200).fill(2 + 0xff);
    expect(push(byteLevel, run).join('')).toBe('\ufffd'.repeat(200));
  });

  it('leaves special tokens out and keeps the space after them', () => {
    expect(push(byteLevel, [0, 258, 0, 259, 1])).toEqual(['', 'the', '', ' the', '', '']);
    expect(push(sentencePiece, [261, 0, 261, 1, 1, 1, 1, 1, 1, 1, 1, 1, 262])).toEqual([
      'a',
      '',
      ' a',
      ...new Array<string>(9).fill(''),
      ' ab',
      '',
    ]);
  });

  it('keeps the first space after a prompt, and a character cut by it', () => {
    const stream = new TextStream(sentencePiece, { context: sentencePiece.encode('ab') });
    expect([stream.push(261), stream.push(262)]).toEqual([' a', ' ab']);
    expect(new TextStream(sentencePiece).push(261)).toBe('a');
    const cut = new TextStream(byteLevel, { context: [258, 2 + 0xc3] });
    expect(cut.push(2 + 0xa9)).toBe('é');
  });

  it('joins words as the whole text does', () => {
    expect(push(wordLevel, [2, 3, 4])).toEqual(['the', ' passkey', ' .', '']);
  });

  it('finishes twice without repeating', () => {
    const stream = new TextStream(byteLevel);
    stream.push(2 + 0xc3);
    expect([stream.finish(), stream.finish()]).toEqual(['\ufffd', '']);
  });

  it.each([
    ['byte-level BPE', byteLevel],
    ['BPE with byte fallback', sentencePiece],
  ])('pieces of any valid text join to the text: %s', (_, tokenizer) => {
    const random = makeRandom(3, 'streams');
    for (let round = 0; round < 60; round++) {
      const text = Array.from({ length: 1 + random.integer(20) }, () =>
        random.pick(['a', ' ab', 'é', ' 世', '🚀', '.', ' the', '👩‍🚀']),
      ).join('');
      const ids = tokenizer.encode(text);
      const pieces = push(tokenizer, ids);
      expect(pieces.join('')).toBe(tokenizer.decode(ids));
      expect(pieces.join('')).not.toContain('\ufffd');
    }
  });
});

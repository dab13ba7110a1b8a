// The small models' tokenizer, read by the library that users' tools share: one token per task word, bytes for everything else.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { listLexicon, writeProse } from '../../data-gen/prose.ts';
import { listTemplateWords } from '../../data-gen/template.ts';
import { writeTokenizerFiles } from '../../scripts/demo-folder.ts';
import {
  BOS_ID,
  buildVocabulary,
  encodeTaskText,
  listByteSymbols,
  listVocabularyWords,
} from '../../scripts/demo-tokenizer.ts';
import { loadPreset } from '../../src/config/presets.ts';
import { makeRandom } from '../../src/core/random.ts';
import { openTokenizer } from '../../src/text/tokenizer.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-demo-tokenizer-'));
writeTokenizerFiles(folder, 8192);
const tokenizer = openTokenizer(folder);
const vocabulary = buildVocabulary();
afterAll(() => rmSync(folder, { recursive: true }));

describe('the vocabulary', () => {
  test('names each of the 256 bytes by its own character', () => {
    expect(new Set(listByteSymbols()).size).toBe(256);
    expect(listByteSymbols()[0x20]).toBe('Ġ');
    expect(listByteSymbols()[0x0a]).toBe('Ċ');
  });

  test.each(['demo', 'tiny'])('makes every word of the prose and of the %s preset one token', (preset) => {
    for (const word of [...listLexicon(), ...listTemplateWords(loadPreset(preset).config)])
      expect(tokenizer.encode(` ${word}`), word).toHaveLength(1);
  });

  test('stays small', () => {
    expect(vocabulary.size).toBe(3 + 256 + listVocabularyWords().length);
    expect(vocabulary.size).toBeLessThan(1024);
  });
});

describe('encoding', () => {
  test('of prose and passkeys equals the quick encoder of the training documents', () => {
    const text = `${writeProse(makeRandom(5, 'text'), 4000)}\n The first passkey is: alpha zulu. What is the first passkey? Answer: alpha zulu.`;
    expect(tokenizer.encode(text)).toEqual(encodeTaskText(text, vocabulary));
  });

  test.each(['naïve Straße 12345, 漢字 🙂', 'x', '', ' The  The\n\n\tThe', 'alphabet', "don't", '  '])(
    'gives %j back',
    (text) => {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    },
  );

  test('puts BOS first when asked', () => {
    const [alpha] = tokenizer.encode(' alpha');
    expect(tokenizer.encode(' alpha', { addSpecialTokens: true })).toEqual([BOS_ID, alpha]);
  });

  test('of a word outside the vocabulary is an error of the quick encoder', () => {
    expect(() => encodeTaskText(' giraffe', vocabulary)).toThrow('got " giraffe"');
    expect(() => encodeTaskText('The', vocabulary)).toThrow('got "T"');
  });
});

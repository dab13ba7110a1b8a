// Laws of the training documents: exact length, every question answered by its fact, loss weights on the asked words, rising positions.
import { describe, expect, test } from 'vitest';
import { encodeBatch, makeInitialWeights } from '../../scripts/demo-batches.ts';
import { type DocumentOptions, writeDocument } from '../../scripts/demo-documents.ts';
import { RECIPES } from '../../scripts/demo-recipes.ts';
import { buildVocabulary } from '../../scripts/demo-tokenizer.ts';
import { makeRandom } from '../../src/core/random.ts';

const vocabulary = buildVocabulary();
const contents = new Map([...vocabulary].map(([content, id]) => [id, content]));
const options: DocumentOptions = { length: 200, facts: [2, 4], wordsPerFact: [2, 5], otherShare: 0.5, jump: 900 };
const read = (tokens: readonly number[]): string => tokens.map((id) => contents.get(id)!.replace('Ġ', ' ')).join('');

describe('writeDocument', () => {
  test.each(Array.from({ length: 40 }, (_, seed) => seed))('seed %i keeps its laws', (seed) => {
    const { tokens, positions, weights } = writeDocument(options, vocabulary, makeRandom(seed));
    expect([tokens.length, positions.length, weights.length]).toEqual([200, 200, 200]);
    for (let index = 1; index < 200; index++) expect(positions[index]!).toBeGreaterThan(positions[index - 1]!);
    expect(positions[199]!).toBeLessThanOrEqual(199 + 900);
    expect(weights[0]).toBe(0);
    const answers: number[][] = [];
    weights.forEach((weight, index) => {
      if (weight === 2) answers.push([]);
      if (weight >= 1) answers.at(-1)!.push(tokens[index]!);
    });
    expect(answers.length).toBeGreaterThanOrEqual(2);
    for (const answer of answers) expect(read(tokens).split(read(answer)).length - 1).toBeGreaterThanOrEqual(2);
  });

  test('leaves out facts that do not fit, but not the last', () => {
    const { tokens } = writeDocument({ ...options, length: 40, facts: [9, 9] }, vocabulary, makeRandom(1));
    expect(tokens).toHaveLength(40);
    expect(() => writeDocument({ ...options, length: 12 }, vocabulary, makeRandom(1))).toThrow('12 tokens');
  });

  test('same seed, same document', () => {
    const write = (seed: number) => writeDocument(options, vocabulary, makeRandom(seed));
    expect(write(3)).toEqual(write(3));
    expect(write(3)).not.toEqual(write(4));
  });
});

describe('files of the pretrainer', () => {
  test('a batch holds sizes, tokens, positions and weights', () => {
    const bytes = encodeBatch([
      { tokens: [1, 2], positions: [0, 9], weights: [0, 2] },
      { tokens: [3, 4], positions: [0, 1], weights: [0, 0.5] },
    ]);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    expect([view.getInt32(0, true), view.getInt32(4, true)]).toEqual([2, 2]);
    expect([8, 10, 12, 14, 16, 18].map((at) => view.getUint16(at, true))).toEqual([1, 2, 3, 4, 0, 9]);
    expect([24, 28, 32, 36].map((at) => view.getFloat32(at, true))).toEqual([0, 2, 0, 0.5]);
    expect(() =>
      encodeBatch([
        { tokens: [1, 2], positions: [0, 1], weights: [0, 1] },
        { tokens: [1], positions: [0], weights: [0] },
      ]),
    ).toThrow('expected 2 tokens, got 1');
  });

  test('initial weights hold every tensor, within the size allowed', () => {
    const count = (name: 'demo' | 'tiny') =>
      makeInitialWeights(RECIPES[name], { vocab: vocabulary.size, seed: 1 }).reduce(
        (sum, part) => sum + part.length,
        0,
      );
    expect(count('demo') * 2).toBeLessThan(5e6);
    expect(count('tiny')).toBeLessThan(400_000);
  });
});

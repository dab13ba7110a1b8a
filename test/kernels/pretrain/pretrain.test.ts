// The C++ pretrainer, compiled for the test: its backward pass against finite differences, the same bytes for any number of threads, and
// its course of training downhill. Skipped, and counted as such, where no C++ compiler is installed.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeInitialWeights, writeTrainingBatches } from '../../../scripts/demo-batches.ts';
import { shapeFlags } from '../../../scripts/demo-evaluation.ts';
import type { Recipe } from '../../../scripts/demo-recipes.ts';
import { buildVocabulary } from '../../../scripts/demo-tokenizer.ts';
import { buildPretrainer, findCompiler, runPretrainer } from '../../../scripts/pretrainer.ts';

const vocabulary = buildVocabulary();
const recipe: Recipe = {
  shape: { layers: 1, hidden: 24, intermediate: 40, heads: 4, kvHeads: 2, headDim: 8 },
  ropeTheta: 1e4,
  maxPositions: 256,
  seed: 1,
  lr: 5e-3,
  stages: [{ steps: 30, sequences: 3, length: 61, facts: [1, 2], wordsPerFact: [2, 3], otherShare: 0, jump: 50 }],
  evaluationLengths: [],
  evaluationPasskeys: [],
};

describe.skipIf(findCompiler() === null)('the pretrainer', () => {
  const folder = mkdtempSync(join(tmpdir(), 'duo-pretrain-'));
  const initial = join(folder, 'initial.f32');
  const batches = join(folder, 'batches.bin');
  let program = '';
  afterAll(() => rmSync(folder, { recursive: true }));

  beforeAll(() => {
    program = buildPretrainer(folder);
    const parts = makeInitialWeights(recipe, { vocab: vocabulary.size, seed: 1 });
    writeFileSync(initial, Buffer.concat(parts.map((part) => new Uint8Array(part.buffer))));
    writeTrainingBatches({ path: batches, recipe, seed: 1, vocabulary });
  });

  async function train(threads: number): Promise<{ losses: number[]; weights: Buffer }> {
    const out = join(folder, `out-${threads}.f32`);
    const losses: number[] = [];
    const flags = {
      ...shapeFlags(recipe, vocabulary.size),
      weights: initial,
      batches,
      steps: 30,
      lr: recipe.lr,
      warmup: 5,
      threads,
      out,
    };
    await runPretrainer({ program, command: 'train', flags, onLine: ({ loss }) => losses.push(loss!) });
    return { losses, weights: readFileSync(out) };
  }

  test('agrees with finite differences in every tensor', () => {
    const flags = { layers: 2, hidden: 24, intermediate: 40, heads: 4, 'kv-heads': 2, 'head-dim': 8, vocab: 33 };
    const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const output = execFileSync(program, ['check-gradients', ...words], { encoding: 'utf8' });
    expect(output.trimEnd().split('\n')).toHaveLength(2 * (2 * 9 + 3) + 1);
    expect(Number(/worst (\S+)/.exec(output)![1])).toBeLessThan(1e-3);
  });

  test('learns, and writes the same weights with one thread and with two', async () => {
    const one = await train(1);
    const two = await train(2);
    expect(one.losses).toHaveLength(30);
    expect(one.losses[29]!).toBeLessThan(0.9 * one.losses[0]!);
    expect(two.losses).toEqual(one.losses);
    expect(two.weights.equals(one.weights)).toBe(true);
    expect(one.weights.equals(readFileSync(initial))).toBe(false);
  });

  test('refuses weights of another size', async () => {
    const wrong = join(folder, 'wrong.f32');
    writeFileSync(wrong, new Uint8Array(12));
    const flags = { ...shapeFlags(recipe, vocabulary.size), weights: wrong, batches };
    await expect(runPretrainer({ program, command: 'evaluate', flags, onLine: () => {} })).rejects.toThrow(
      'exit code 1',
    );
  });
});

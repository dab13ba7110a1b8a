// Files the pretrainer reads (kernels/pretrain/main.cpp): batches of documents and initial weights, little-endian.
import { closeSync, openSync, writeSync } from 'node:fs';
import { makeRandom, type Random } from '../src/core/random.ts';
import { type TrainingDocument, writeDocument } from './demo-documents.ts';
import type { Recipe } from './demo-recipes.ts';

/** One batch as bytes: int32 sequences and length, then tokens, positions (uint16) and loss weights (float32). */
export function encodeBatch(documents: readonly TrainingDocument[]): Uint8Array {
  const length = documents[0]!.tokens.length;
  const count = documents.length * length;
  const tokens = new Uint16Array(count);
  const positions = new Uint16Array(count);
  const weights = new Float32Array(count);
  documents.forEach((document, index) => {
    if (document.tokens.length !== length)
      throw new RangeError(`encodeBatch: expected ${length} tokens, got ${document.tokens.length}`);
    tokens.set(document.tokens, index * length);
    positions.set(document.positions, index * length);
    weights.set(document.weights, index * length);
  });
  const sizes = Int32Array.of(documents.length, length);
  return Buffer.concat([sizes, tokens, positions, weights].map((part) => new Uint8Array(part.buffer)));
}

/** Write all batches of a recipe; returns steps and tokens. A function of the recipe and the seed. */
export function writeTrainingBatches(options: {
  path: string;
  recipe: Recipe;
  seed: number;
  vocabulary: ReadonlyMap<string, number>;
}): { steps: number; tokens: number } {
  const { path, recipe, seed, vocabulary } = options;
  const random = makeRandom(seed, 'documents');
  const file = openSync(path, 'w');
  let steps = 0;
  let tokens = 0;
  for (const stage of recipe.stages) {
    for (let step = 0; step < stage.steps; step++) {
      const documents = Array.from({ length: stage.sequences }, () => writeDocument(stage, vocabulary, random));
      writeSync(file, encodeBatch(documents));
      steps++;
      tokens += stage.sequences * stage.length;
    }
  }
  closeSync(file);
  return { steps, tokens };
}

const EMBEDDING_STD = 0.5;
const HEAD_STD = 0.02;
const GAIN = 0.6;

/** Normal numbers by Box and Muller, rounded to float32. */
function drawNormal(random: Random, count: number, std: number): Float32Array {
  return Float32Array.from(
    { length: count },
    () => std * Math.sqrt(-2 * Math.log(1 - random.uniform())) * Math.cos(2 * Math.PI * random.uniform()),
  );
}

const LOOK_BACK_PAIRS = 6; // the rotary pairs that turn fast enough to tell neighbouring tokens apart
const LOOK_BACK_GAIN = 4;

/** Make query heads of layer 0 attend `lookBack[head]` tokens back: dimension 0 of every embedding becomes the constant 1, and queries
 * and keys read it on the fastest rotary pairs, the query's turned by that many positions. Everything is trained afterwards. */
function plantLookBack(options: {
  recipe: Recipe;
  lookBack: readonly number[];
  embedding: Float32Array;
  q: Float32Array;
  k: Float32Array;
}): void {
  const { recipe, lookBack, embedding, q, k } = options;
  const { hidden, heads, kvHeads, headDim } = recipe.shape;
  for (let at = 0; at < embedding.length; at += hidden) embedding[at] = 1;
  for (const matrix of [q, k]) {
    for (let index = 0; index < matrix.length; index++) matrix[index] = 0.1 * matrix[index]!;
  }
  for (let pair = 0; pair < LOOK_BACK_PAIRS; pair++) {
    const frequency = recipe.ropeTheta ** ((-2 * pair) / headDim);
    for (let head = 0; head < heads; head++) {
      const row = (head * headDim + pair) * hidden;
      q[row] = LOOK_BACK_GAIN * Math.cos(lookBack[head]! * frequency);
      q[row + (headDim / 2) * hidden] = -LOOK_BACK_GAIN * Math.sin(lookBack[head]! * frequency);
    }
    for (let head = 0; head < kvHeads; head++) {
      const row = (head * headDim + pair) * hidden;
      k[row] = LOOK_BACK_GAIN;
      k[row + (headDim / 2) * hidden] = 0;
    }
  }
}

/** Initial weights in checkpoint order: all matrices random, all norms one; projections back into the residual stream smaller. */
export function makeInitialWeights(recipe: Recipe, options: { vocab: number; seed: number }): Float32Array[] {
  const { layers, hidden, intermediate, heads, kvHeads, headDim } = recipe.shape;
  const { vocab, seed } = options;
  const random = makeRandom(seed, 'init');
  const matrix = (outputs: number, inputs: number, gain = GAIN): Float32Array =>
    drawNormal(random, outputs * inputs, gain / Math.sqrt(inputs));
  const ones = (): Float32Array => new Float32Array(hidden).fill(1);
  const back = GAIN / Math.sqrt(2 * layers);
  const parts = [drawNormal(random, vocab * hidden, EMBEDDING_STD)];
  for (let layer = 0; layer < layers; layer++) {
    parts.push(ones());
    parts.push(matrix(heads * headDim, hidden), matrix(kvHeads * headDim, hidden), matrix(kvHeads * headDim, hidden));
    parts.push(matrix(hidden, heads * headDim, back), ones());
    parts.push(matrix(intermediate, hidden), matrix(intermediate, hidden), matrix(hidden, intermediate, back));
  }
  parts.push(ones(), drawNormal(random, vocab * hidden, HEAD_STD));
  if (recipe.lookBack !== undefined) {
    const [embedding, , q, k] = parts as [Float32Array, Float32Array, Float32Array, Float32Array];
    plantLookBack({ recipe, lookBack: recipe.lookBack, embedding, q, k });
  }
  return parts;
}

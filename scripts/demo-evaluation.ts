// Measures what a trained small model recalls, with the pretrainer's own forward pass on the BF16-rounded weights of the folder.
// Samples are data-gen's held-out passkey samples in the preset's wording.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openProseHaystack } from '../data-gen/haystack.ts';
import { generateSample } from '../data-gen/passkey.ts';
import { loadPreset } from '../src/config/presets.ts';
import { openModelFolder } from '../src/model/folder.ts';
import { openTokenizer } from '../src/text/tokenizer.ts';
import { encodeBatch } from './demo-batches.ts';
import { listTrainedNames } from './demo-folder.ts';
import type { Recipe } from './demo-recipes.ts';
import { runPretrainer } from './pretrainer.ts';

export interface RecallRow {
  readonly mask: string;
  readonly passkeys: number;
  readonly words: number;
  readonly length: number;
  readonly samples: number;
  /** share of answer tokens predicted from the true prefix */
  readonly accuracy: number;
  /** mean natural-log probability of the answer tokens */
  readonly logProb: number;
}

/** Tokens of text in each row, at least four samples. */
const TOKENS_PER_ROW = 32768;
const EVALUATION_SEED = 2026;

/** Flags that tell the pretrainer a recipe's shape. */
export function shapeFlags(recipe: Recipe, vocab: number): Record<string, number> {
  const { layers, hidden, intermediate, heads, kvHeads, headDim } = recipe.shape;
  return {
    layers,
    hidden,
    intermediate,
    heads,
    'kv-heads': kvHeads,
    'head-dim': headDim,
    vocab,
    'rope-theta': recipe.ropeTheta,
  };
}

/** Read the folder's weights back, as float32 in the pretrainer's order. */
function readTrainedOrder(folder: string, layers: number): Uint8Array {
  const model = openModelFolder(folder);
  const parts = listTrainedNames(layers).map((name) => {
    const values = model.weights!.readF32(name);
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  });
  model.close();
  return Buffer.concat(parts);
}

/** Recall of a model folder with every head full and under each mask of `streams`.
 * @param options.streams named masks: a digit per KV head, layer by layer, 1 = it streams.  @param options.work folder for scratch files. */
export async function measureRecall(options: {
  program: string;
  folder: string;
  work: string;
  recipe: Recipe;
  preset: string;
  vocab: number;
  streams: Readonly<Record<string, string>>;
  sinkTokens: number;
  recentTokens: number;
  lengths?: readonly number[];
}): Promise<RecallRow[]> {
  const { program, folder, work, recipe, preset, vocab, streams, sinkTokens, recentTokens } = options;
  const tokenizer = openTokenizer(folder);
  const haystack = openProseHaystack(tokenizer);
  const settings = loadPreset(preset).config;
  const kinds = recipe.evaluationPasskeys.flatMap(([passkeys, words]) =>
    (options.lengths ?? recipe.evaluationLengths).map((length) => ({ passkeys, words, length })),
  );
  mkdirSync(work, { recursive: true });
  const batches = join(work, 'evaluation.bin');
  const counts: number[] = [];
  const bytes = kinds.map(({ passkeys, words, length }) => {
    const count = Math.max(4, Math.floor(TOKENS_PER_ROW / length));
    counts.push(count);
    const documents = Array.from({ length: count }, (_, index) => {
      const { tokens, answers } = generateSample({
        tokenizer,
        haystack,
        settings: { ...settings, passkeys, wordsPerPasskey: words },
        seed: EVALUATION_SEED,
        split: 'held-out',
        index,
        lengthTokens: length,
      });
      const weights = new Array<number>(length).fill(0);
      for (const [start, end] of answers) weights.fill(1, start, end);
      return { tokens, positions: tokens.map((_token, position) => position), weights };
    });
    return encodeBatch(documents);
  });
  writeFileSync(batches, Buffer.concat(bytes));
  const weights = join(work, 'rounded.f32');
  writeFileSync(weights, readTrainedOrder(folder, recipe.shape.layers));
  const named = { full: '0'.repeat(recipe.shape.layers * recipe.shape.kvHeads), ...streams };
  const names = Object.keys(named);
  const rows: RecallRow[] = [];
  await runPretrainer({
    program,
    command: 'evaluate',
    flags: {
      ...shapeFlags(recipe, vocab),
      weights,
      batches,
      streams: Object.values(named).join(','),
      sink: sinkTokens,
      recent: recentTokens,
    },
    onLine: ({ mask, batch, right, total, logProb }) => {
      rows.push({
        mask: names[mask!]!,
        ...kinds[batch!]!,
        samples: counts[batch!]!,
        accuracy: right! / total!,
        logProb: logProb!,
      });
    },
  });
  return rows;
}

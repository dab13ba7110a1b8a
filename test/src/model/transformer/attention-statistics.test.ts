// Shown probabilities are those the layers compute with; means are of queries and keys before RoPE.
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Engine } from '../../../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../../../src/engine/tensorflow/tensorflow-engine.ts';
import { type ModelFolder, openModelFolder } from '../../../../src/model/folder.ts';
import { mixAttention } from '../../../../src/model/transformer/attention.ts';
import {
  attendMeanHead,
  measureMeanHeads,
  visitAttention,
} from '../../../../src/model/transformer/attention-statistics.ts';
import { embedTokens } from '../../../../src/model/transformer/forward.ts';
import { projectHeads } from '../../../../src/model/transformer/projections.ts';
import { applyRmsNorm } from '../../../../src/model/transformer/rms-norm.ts';
import { makeTables } from '../../../../src/model/transformer/run-tables.ts';
import { loadTransformer, type Transformer } from '../../../../src/model/transformer/transformer.ts';

let folder: ModelFolder;
let engine: Engine;
let transformer: Transformer;
beforeAll(async () => {
  folder = openModelFolder(join(import.meta.dirname, '../../../golden/gqa-4l-d192'));
  engine = await openTensorflowEngine(folder);
  // the engine has made a backend current
  transformer = loadTransformer(folder.config, folder.weights!);
});
afterAll(async () => {
  transformer.dispose();
  await engine.close();
  folder.close();
});

// longer than a block of queries, so that blocks are put together
const tokens = Array.from({ length: 300 }, (_, index) => 20 + ((index * 37) % 180));
const positions = [0, 5, ...Array.from({ length: 270 }, (_, index) => 20 + index)];

it('shows probabilities that give the attention output of the first layer', async () => {
  const seen: string[] = [];
  const first: Float32Array[][][] = [];
  await visitAttention(transformer, tokens, {
    positions,
    visit({ layer, kvHead, rows }) {
      seen.push(`${layer}.${kvHead}`);
      if (layer === 0) first.push(rows.map((queries) => queries.map((row) => row.slice())));
    },
  });
  expect(seen).toEqual([0, 1, 2, 3].flatMap((layer) => [0, 1, 2].map((kvHead) => `${layer}.${kvHead}`)));
  const { values, outputs } = tf.tidy(() => {
    const tables = makeTables(transformer.config, tokens.length, null);
    const weights = transformer.layers[0]!;
    const normed = applyRmsNorm(embedTokens(transformer, tokens), weights.inputNorm, weights.rmsNormEps);
    const heads = projectHeads(normed, weights.projections, tables);
    const mix = { visibility: tables.visibility, windows: [null, null, null], gates: null, fullOutputs: null };
    return {
      values: heads.map(({ value }) => value.arraySync()),
      outputs: mixAttention(heads, mix).map((head) => head.arraySync()),
    };
  });
  for (const [kvHead, group] of first.entries()) {
    for (const [member, queries] of group.entries()) {
      expect(queries).toHaveLength(positions.length);
      for (const [index, row] of queries.entries()) {
        const position = positions[index]!;
        expect(row.subarray(0, position + 1).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 4);
        expect(row.subarray(position + 1).every((value) => value === 0)).toBe(true);
        let output = 0;
        for (let key = 0; key <= position; key++) output += row[key]! * values[kvHead]![key]![3]!;
        expect(output).toBeCloseTo(outputs[kvHead]![member]![position]![3]!, 4);
      }
    }
  }
});

it('means queries and keys before RoPE, and leaves no tensors behind', async () => {
  const before = tf.memory().numTensors;
  const short = tokens.slice(0, 9);
  const means = await measureMeanHeads(transformer, short);
  const first = means[0]!;
  const again = attendMeanHead(transformer, first, 50);
  expect(tf.memory().numTensors).toBe(before);
  expect(means).toHaveLength(12);
  expect([first.query.length, first.key.length]).toEqual([64, 32]);

  // the same text in another order has other positions but the same first-layer means
  const turned = (await measureMeanHeads(transformer, [...short].reverse()))[0]!;
  for (let index = 0; index < 32; index++) expect(turned.key[index]).toBeCloseTo(first.key[index]!, 4);

  expect(again).toHaveLength(2);
  for (const row of again) expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 4);
});

it('stops on a signal', async () => {
  const options = { positions: [3], visit: () => {}, signal: AbortSignal.abort() };
  await expect(visitAttention(transformer, tokens, options)).rejects.toMatchObject({ exitCode: 130 });
});

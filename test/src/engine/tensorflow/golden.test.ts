// Hidden states, logits, losses and gate gradients against the golden values, on every tfjs backend installed.
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GateGrid } from '../../../../src/core/shapes.ts';
import { type Backend, openBackend } from '../../../../src/engine/tensorflow/backend.ts';
import { BACKEND_NAMES } from '../../../../src/engine/tensorflow/backend-names.ts';
import { openTensorflowEngine } from '../../../../src/engine/tensorflow/tensorflow-engine.ts';
import { ConfigError } from '../../../../src/errors/errors.ts';
import { type ModelFolder, openModelFolder } from '../../../../src/model/folder.ts';
import { computeHiddenStates, computeLogits } from '../../../../src/model/transformer/forward.ts';
import { loadTransformer, type Transformer } from '../../../../src/model/transformer/transformer.ts';
import { expectAgreement, printToleranceUse } from '../../../reference/agreement.ts';
import { type Golden, type GoldenName, readGolden } from '../../../reference/golden.ts';

const MODELS: GoldenName[] = ['mha-2l', 'gqa-4l-d192'];
const GATES = ['full', 'stream', 'mixed', 'binary'] as const;
/** Plain JavaScript computes about 1 GFLOP/s: the shortest case is enough to show that it agrees. */
const CASES: Record<string, readonly number[]> = { cpu: [2] };
const ALL_CASES = [0, 1, 2];

function gatesOf(
  golden: Golden,
  name: (typeof GATES)[number],
  shape: { layers: number; kvHeads: number },
): GateGrid | null {
  if (name === 'full') return null;
  const flat = name === 'stream' ? new Float32Array(shape.layers * shape.kvHeads) : golden.tensor(`gates.${name}`);
  return Array.from({ length: shape.layers }, (_, layer) => [
    ...flat.subarray(layer * shape.kvHeads, (layer + 1) * shape.kvHeads),
  ]);
}

const backends: Backend[] = [];
for (const name of BACKEND_NAMES) {
  try {
    backends.push(await openBackend(name));
  } catch (error) {
    // Optional packages may be absent; one that is there must load.
    if (!(error instanceof ConfigError)) throw error;
    console.info(`skipped backend ${name}: ${error.message}`);
  }
}

afterAll(printToleranceUse);

it('wasm and plain JavaScript load', () => {
  expect(backends.map((backend) => backend.name)).toEqual(expect.arrayContaining(['wasm', 'cpu']));
});

describe.each(backends.map((backend) => backend.name))('%s', (backendName) => {
  describe.each(MODELS)('%s', (modelName) => {
    const golden = readGolden(modelName);
    const cases = golden.cases.filter((_, index) => (CASES[backendName] ?? ALL_CASES).includes(index));
    let folder: ModelFolder;
    let transformer: Transformer;
    beforeAll(async () => {
      await openBackend(backendName);
      folder = openModelFolder(golden.path);
      transformer = loadTransformer(folder.config, folder.weights!);
    });
    afterAll(() => {
      transformer.dispose();
      folder.close();
    });

    it.each(GATES)('hidden states with %s gates', async (name) => {
      for (const { prefix, sample, window } of cases) {
        const gates = gatesOf(golden, name, folder.config.shape);
        const actual = await computeHiddenStates(transformer, sample.tokens, { gates, window });
        expectAgreement(actual, golden.tensor(`${prefix}hidden.${name}`), {
          tolerance: 'golden',
          label: `${backendName} hidden`,
        });
      }
    });

    it.each(GATES)('logits with %s gates', async (name) => {
      const kept = cases.filter(({ prefix }) => golden.has(`${prefix}logits.${name}`));
      expect(kept.length).toBeGreaterThan(0);
      for (const { prefix, sample, window } of kept) {
        const gates = gatesOf(golden, name, folder.config.shape);
        const actual = await computeLogits(transformer, sample.tokens, { gates, window });
        expectAgreement(actual, golden.tensor(`${prefix}logits.${name}`), {
          tolerance: 'golden',
          label: `${backendName} logits`,
        });
      }
    });

    it.each(['predict', 'answer'] as const)('loss and gate gradient, supervise %s', async (supervise) => {
      const engine = await openTensorflowEngine(folder, { backend: backendName });
      const before = tf.memory().numTensors;
      for (const { prefix, sample, window, loss } of cases) {
        const gates = gatesOf(golden, 'mixed', folder.config.shape)!;
        const result = await engine.distill(sample, gates, window, { supervise });
        expectAgreement([result.loss], [loss[supervise]], { tolerance: 'golden', label: `${backendName} loss` });
        expectAgreement(result.gradient.flat(), golden.tensor(`${prefix}grad_alpha.${supervise}.f64`), {
          tolerance: 'golden',
          label: `${backendName} gradient`,
        });
      }
      expect(tf.memory().numTensors).toBe(before);
      await engine.close();
    });
  });
});

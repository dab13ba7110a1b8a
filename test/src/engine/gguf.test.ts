// Models from GGUF files against the float64 loops, in both engines: every architecture, row order, blocks, parts and rope of the format.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { listModelConfigValues } from '../../../src/engine/native/model-config.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { computeRope } from '../../../src/model/rope.ts';
import { findLibrary } from '../../../src/native/library.ts';
import { openModel } from '../../../src/native/model.ts';
import { expectAgreement, printToleranceUse } from '../../reference/agreement.ts';
import { type GgufOptions, writeGgufModel } from '../../reference/gguf-model.ts';
import { makeTokens, writeRandomModel } from '../../reference/random-model.ts';
import { type ReferenceModel, referenceForward, referenceLogits } from '../../reference/transformer.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-gguf-model-'));
afterAll(() => {
  printToleranceUse();
  rmSync(scratch, { recursive: true });
});

const LLAMA3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
};
const WIDE = { hidden_size: 64, intermediate_size: 96, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16 };
const CASES: readonly [string, Record<string, unknown>, GgufOptions][] = [
  ['llama, whose q and k rows are in pairs', {}, {}],
  ['llama with biases', { attention_bias: true, mlp_bias: true }, {}],
  ['llama, tied', { tie_word_embeddings: true }, {}],
  ['llama in Q8_0 blocks', WIDE, { quantized: true }],
  ['qwen2 in Q8_0 blocks', { ...WIDE, model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] }, { quantized: true }],
  ['qwen3', { model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'] }, {}],
  ['mistral', { model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: null }, {}],
  ['three parts', {}, { parts: 3 }],
  [
    'linear rope scaling',
    { rope_scaling: { rope_type: 'linear', factor: 4 } },
    { fields: { 'llama.rope.scaling.type': ['string', 'linear'], 'llama.rope.scaling.factor': ['f32', 4] } },
  ],
  [
    'yarn',
    {
      rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 128 },
      max_position_embeddings: 128,
    },
    {
      fields: {
        'llama.context_length': ['u32', 128],
        'llama.rope.scaling.type': ['string', 'yarn'],
        'llama.rope.scaling.factor': ['f32', 4],
        'llama.rope.scaling.original_context_length': ['u32', 128],
      },
    },
  ],
];

function write(
  name: string,
  overrides: Record<string, unknown>,
  options: GgufOptions,
): { model: ReferenceModel; path: string } {
  const stem = join(scratch, name.replace(/\W+/g, '-'));
  const model = writeRandomModel(stem, { seed: 7, overrides });
  return { model, path: writeGgufModel(`${stem}.gguf`, model, options)[0]! };
}

/** Logits of both engines at every position against the float64 loops of the model in memory. */
async function compare(model: ReferenceModel, path: string): Promise<void> {
  const folder = openModelFolder(path);
  const tokens = makeTokens(model, 21, 11);
  const gates = Array.from({ length: model.config.shape.layers }, () =>
    new Array<number>(model.config.shape.kvHeads).fill(1),
  );
  const window = { sinkTokens: 2, recentTokens: 4 };
  const { hidden } = referenceForward(model, tokens, { gates, window });
  const expected = referenceLogits(model, hidden).map((row) => [...row]);
  if (findLibrary().path !== null) {
    const native = await openModel(listModelConfigValues(folder.config), folder.weights!.files);
    const positions = Int32Array.from(tokens.keys());
    const logits = await native.logits({
      tokens: Int32Array.from(tokens),
      positions,
      gates: null,
      windows: null,
      sinkTokens: 0,
    });
    native.close();
    expectAgreement(logits, expected.flat(), { tolerance: 'native', label: 'native logits from GGUF' });
  }
  const engine = await openTensorflowEngine(folder, { backend: 'cpu' });
  const session = await engine.openSession('full', { maxTokens: tokens.length });
  const last = await session.prefill(tokens);
  expectAgreement(last, expected.at(-1)!, { tolerance: 'golden', label: 'tensorflow logits from GGUF' });
  await session.close();
  await engine.close();
  folder.close();
}

describe('a GGUF model', () => {
  it.each(CASES)('%s', async (name, overrides, options) => {
    const { model, path } = write(name, overrides, options);
    await compare(model, path);
  });

  it('with the factors of Llama 3.1 turns as its config.json says', async () => {
    const overrides = { rope_scaling: LLAMA3, max_position_embeddings: 512, head_dim: 16 };
    const stem = join(scratch, 'factors');
    const model = writeRandomModel(stem, { seed: 7, overrides });
    const plain = computeRope({ ...model.config, ropeScaling: { type: 'none' } }, 512).inverseFrequencies;
    const scaled = computeRope(model.config, 512).inverseFrequencies;
    const factors = plain.map((frequency, pair) => frequency / scaled[pair]!);
    expect(Math.max(...factors)).toBeCloseTo(8, 5);
    const extra = [{ name: 'rope_freqs.weight', shape: [8], type: 0, data: new Uint8Array(factors.buffer) }];
    const [path] = writeGgufModel(`${stem}.gguf`, model, { extra });
    await compare(model, path!);
  });
});

// Small models with seeded random weights, as a Hugging Face folder on disk, for comparing engines with the reference.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeSafetensors } from '../../scripts/safetensors-writer.ts';
import { makeRandom } from '../../src/core/random.ts';
import { parseModelConfig } from '../../src/model/config.ts';
import { listExpectedTensors } from '../../src/model/tensor-names.ts';
import type { ReferenceModel } from './transformer.ts';

/** config.json of a tiny Llama: 2 layers, 4 heads over 2 KV heads of 8, so that H·D = 32 is not C = 24. */
const BASE = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 40,
  hidden_size: 24,
  intermediate_size: 36,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  max_position_embeddings: 512,
  tie_word_embeddings: false,
};

/** Write a model folder. Weights are uniform, scaled so that attention is neither flat nor saturated and gates matter.
 * @param path folder to make.  @param overrides keys of config.json.
 * @param scale factor on the linear weights, default 1.
 * @returns the same model in memory. */
export function writeRandomModel(
  path: string,
  options: { seed: number; overrides?: Record<string, unknown>; scale?: number },
): ReferenceModel {
  const json = { ...BASE, ...options.overrides };
  const config = parseModelConfig(json, join(path, 'config.json'));
  const random = makeRandom(options.seed, 'weights');
  const tensors = listExpectedTensors(config).map(({ name, shape }) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const isNorm = name.endsWith('norm.weight');
    const isEmbedding = name === 'model.embed_tokens.weight';
    const scale =
      name.endsWith('bias') || isNorm ? 0.3 : isEmbedding ? 1 : (3 * (options.scale ?? 1)) / Math.sqrt(shape.at(-1)!);
    const values = Float32Array.from({ length: count }, () => (isNorm ? 1 : 0) + scale * (2 * random.uniform() - 1));
    return { name, dtype: 'F32' as const, shape, values };
  });
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'config.json'), JSON.stringify(json));
  writeSafetensors(join(path, 'model.safetensors'), { tensors });
  return { config, weights: new Map(tensors.map(({ name, values }) => [name, values])) };
}

/** Seeded tokens of the model's vocabulary. */
export function makeTokens(model: ReferenceModel, count: number, seed: number): number[] {
  const random = makeRandom(seed, 'tokens');
  return Array.from({ length: count }, () => random.integer(model.config.shape.vocab));
}

/** Seeded gates strictly between 0 and 1. */
export function makeGates(model: ReferenceModel, seed: number): number[][] {
  const random = makeRandom(seed, 'gates');
  const { layers, kvHeads } = model.config.shape;
  return Array.from({ length: layers }, () => Array.from({ length: kvHeads }, () => 0.1 + 0.8 * random.uniform()));
}

// A transformer's frozen weights as tfjs tensors, and how they are read from a model folder.
// The embedding table stays a typed array: looking rows up needs no tensor. The vocabulary head is made when first asked for.
import * as tf from '@tensorflow/tfjs-core';
import type { ModelConfig } from '../config.ts';
import type { WeightStore } from '../weights.ts';
import type { LayerWeights } from './layer.ts';
import type { HeadsLinear, Linear, OutputLinear } from './linear.ts';

export interface Transformer {
  readonly config: ModelConfig;
  /** `[vocab, C]` fp32 */
  readonly embedding: Float32Array;
  readonly layers: readonly LayerWeights[];
  /** `[C]` */
  readonly finalNorm: tf.Tensor1D;
  /** Transposed vocabulary head `[C, vocab]`; read on the first call. */
  vocabularyHead(): tf.Tensor2D;
  /** Free every tensor. */
  dispose(): void;
}

/** Read all weights onto the current tfjs backend; linear weights take twice their fp32 size (both orders).
 * @throws {ModelError} a tensor is missing or holds a value that is not finite. */
export function loadTransformer(config: ModelConfig, weights: WeightStore): Transformer {
  const { hidden, vocab, heads, kvHeads, headDim, intermediate } = config.shape;
  const owned: tf.Tensor[] = [];
  const own = <T extends tf.Tensor>(tensor: T): T => {
    owned.push(tensor);
    return tensor;
  };
  const eachKvHead = <T>(make: (kvHead: number) => T): T[] => Array.from({ length: kvHeads }, (_, k) => make(k));
  const readVector = (name: string): tf.Tensor1D => own(tf.tensor1d(weights.readF32(name)));
  const readLinear = (name: string, options: { in: number; out: number; bias: boolean }): Linear => {
    const backward = own(tf.tensor2d(weights.readF32(`${name}.weight`), [options.out, options.in]));
    const forward = own(tf.transpose(backward) as tf.Tensor2D);
    return { forward, backward, bias: options.bias ? readVector(`${name}.bias`) : null };
  };
  const readHeads = (name: string, options: { in: number; width: number; bias: boolean }): HeadsLinear => {
    const size = options.in * options.width;
    const stored = weights.readF32(`${name}.weight`);
    const bias = options.bias ? weights.readF32(`${name}.bias`) : null;
    return {
      backward: own(tf.tensor2d(stored, [kvHeads * options.width, options.in])),
      forward: eachKvHead((kvHead) => {
        const rows = stored.subarray(kvHead * size, (kvHead + 1) * size);
        return own(tf.tidy(() => tf.transpose(tf.tensor2d(rows, [options.width, options.in])) as tf.Tensor2D));
      }),
      bias: bias && eachKvHead((k) => own(tf.tensor1d(bias.subarray(k * options.width, (k + 1) * options.width)))),
    };
  };
  const readOutput = (name: string, bias: boolean): OutputLinear => {
    const width = (heads / kvHeads) * headDim;
    const stored = tf.tensor2d(weights.readF32(`${name}.weight`), [hidden, kvHeads * width]);
    const linear = {
      forward: own(tf.transpose(stored) as tf.Tensor2D),
      backward: eachKvHead((kvHead) => own(tf.slice(stored, [0, kvHead * width], [hidden, width]))),
      bias: bias ? readVector(`${name}.bias`) : null,
    };
    stored.dispose();
    return linear;
  };
  const { rmsNormEps, qkvBias, outputBias, mlpBias, qkNorm } = config;
  const readLayer = (index: number): LayerWeights => {
    const prefix = `model.layers.${index}`;
    const attention = `${prefix}.self_attn`;
    const keyShape = { in: hidden, width: headDim, bias: qkvBias };
    const upShape = { in: hidden, out: intermediate, bias: mlpBias };
    return {
      inputNorm: readVector(`${prefix}.input_layernorm.weight`),
      projections: {
        query: readHeads(`${attention}.q_proj`, { in: hidden, width: (heads / kvHeads) * headDim, bias: qkvBias }),
        key: readHeads(`${attention}.k_proj`, keyShape),
        value: readHeads(`${attention}.v_proj`, keyShape),
        queryNorm: qkNorm ? readVector(`${attention}.q_norm.weight`) : null,
        keyNorm: qkNorm ? readVector(`${attention}.k_norm.weight`) : null,
        kvHeads,
        headDim,
        rmsNormEps,
      },
      output: readOutput(`${attention}.o_proj`, outputBias),
      middleNorm: readVector(`${prefix}.post_attention_layernorm.weight`),
      feedForward: {
        gate: readLinear(`${prefix}.mlp.gate_proj`, upShape),
        up: readLinear(`${prefix}.mlp.up_proj`, upShape),
        down: readLinear(`${prefix}.mlp.down_proj`, { in: intermediate, out: hidden, bias: mlpBias }),
      },
      rmsNormEps,
    };
  };
  let head: tf.Tensor2D | null = null;
  try {
    const embedding = weights.readF32('model.embed_tokens.weight');
    // Its values are checked with the others'; as a tensor it is made only where logits are asked for.
    if (!config.tiedEmbeddings) weights.readF32('lm_head.weight');
    return {
      config,
      embedding,
      layers: Array.from({ length: config.shape.layers }, (_, index) => readLayer(index)),
      finalNorm: readVector('model.norm.weight'),
      vocabularyHead() {
        if (head === null) {
          const stored = config.tiedEmbeddings ? embedding : weights.readF32('lm_head.weight');
          head = own(tf.tidy(() => tf.transpose(tf.tensor2d(stored, [vocab, hidden])) as tf.Tensor2D));
        }
        return head;
      },
      dispose: () => tf.dispose(owned.splice(0)),
    };
  } catch (error) {
    tf.dispose(owned);
    throw error;
  }
}

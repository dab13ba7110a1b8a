// A model's config in the terms of the native library's struct.
import type { ModelConfig } from '../../model/config.ts';
import { type ModelConfigValues, ROPE } from '../../native/abi.ts';

type RopeValues = Pick<ModelConfigValues, Extract<keyof ModelConfigValues, `rope_${string}`>>;

/** Fields of a rope type that is not chosen are 0, which the library ignores. */
export function listModelConfigValues(config: ModelConfig): ModelConfigValues {
  const { shape } = config;
  return {
    ...listRopeValues(config),
    rms_norm_eps: config.rmsNormEps,
    max_positions: shape.maxPositions,
    layers: shape.layers,
    heads: shape.heads,
    kv_heads: shape.kvHeads,
    head_dim: shape.headDim,
    hidden: shape.hidden,
    intermediate: shape.intermediate,
    vocab: shape.vocab,
    tied_embeddings: Number(config.tiedEmbeddings),
    qkv_bias: Number(config.qkvBias),
    output_bias: Number(config.outputBias),
    mlp_bias: Number(config.mlpBias),
    qk_norm: Number(config.qkNorm),
  };
}

function listRopeValues({ ropeTheta, ropeScaling }: ModelConfig): RopeValues {
  const none: RopeValues = {
    rope_theta: ropeTheta,
    rope_type: ROPE.NONE,
    rope_factor: 0,
    rope_low_freq_factor: 0,
    rope_high_freq_factor: 0,
    rope_beta_fast: 0,
    rope_beta_slow: 0,
    rope_attention_factor: 0,
    rope_original_max_positions: 0,
    rope_truncate: 0,
  };
  switch (ropeScaling.type) {
    case 'none':
    case 'factors': // the library takes them from the GGUF file itself
      return none;
    case 'linear':
      return { ...none, rope_type: ROPE.LINEAR, rope_factor: ropeScaling.factor };
    case 'dynamic':
      return {
        ...none,
        rope_type: ROPE.DYNAMIC,
        rope_factor: ropeScaling.factor,
        rope_original_max_positions: ropeScaling.originalMaxPositions,
      };
    case 'llama3':
      return {
        ...none,
        rope_type: ROPE.LLAMA3,
        rope_factor: ropeScaling.factor,
        rope_low_freq_factor: ropeScaling.lowFreqFactor,
        rope_high_freq_factor: ropeScaling.highFreqFactor,
        rope_original_max_positions: ropeScaling.originalMaxPositions,
      };
    case 'yarn':
      return {
        ...none,
        rope_type: ROPE.YARN,
        rope_factor: ropeScaling.factor,
        rope_beta_fast: ropeScaling.betaFast,
        rope_beta_slow: ropeScaling.betaSlow,
        rope_attention_factor: ropeScaling.attentionFactor,
        rope_original_max_positions: ropeScaling.originalMaxPositions,
        rope_truncate: Number(ropeScaling.truncate),
      };
  }
}

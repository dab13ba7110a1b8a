// Shapes of published models, as far as what a run costs depends on them.
import { type ModelConfig, parseModelConfig } from '../../src/model/config.ts';

const shape = (sizes: Record<string, number | boolean>): ModelConfig =>
  parseModelConfig({ model_type: 'llama', ...sizes }, 'config.json');

/** config.json of SmolLM2-135M-Instruct, as far as it is read. */
export const SMOLLM2 = shape({
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  max_position_embeddings: 8192,
  vocab_size: 49152,
  rope_theta: 100000,
  tie_word_embeddings: true,
});

/** Of Llama-3-8B, with room for 32K tokens. */
export const LLAMA_3_8B = shape({
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  max_position_embeddings: 32768,
  vocab_size: 128256,
  rope_theta: 500000,
});

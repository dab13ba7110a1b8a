// The small random models both engines are held to: every architecture, every rope scaling, and awkward shapes.

const QWEN2 = { model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] };
const QWEN3 = { model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'] };
const MISTRAL = { model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: null };

/** Name, config.json keys, tokens, sink, recent. */
export const RANDOM_CASES: [string, Record<string, unknown>, number, number, number][] = [
  ['llama, H·D ≠ C', {}, 33, 3, 7],
  ['G = 1', { num_key_value_heads: 1 }, 21, 0, 1],
  ['G = H', { num_key_value_heads: 4, num_hidden_layers: 3 }, 17, 2, 5],
  ['T = 1', {}, 1, 4, 8],
  ['T below sink', {}, 5, 9, 2],
  ['more than one block of rows', { num_hidden_layers: 2 }, 300, 4, 40],
  ['every bias, tied', { attention_bias: true, mlp_bias: true, tie_word_embeddings: true }, 19, 2, 4],
  ['mistral', MISTRAL, 25, 1, 6],
  ['qwen2: QKV bias', { ...QWEN2, tie_word_embeddings: true }, 29, 4, 3],
  ['qwen3: QK norm', { ...QWEN3, head_dim: 16 }, 31, 2, 6],
  ['qwen3, three layers, G = 1', { ...QWEN3, num_hidden_layers: 3, num_key_value_heads: 1 }, 23, 1, 4],
  ['rope linear', { rope_scaling: { rope_type: 'linear', factor: 2 } }, 27, 2, 5],
  ['rope dynamic', { rope_scaling: { rope_type: 'dynamic', factor: 4 }, max_position_embeddings: 16 }, 27, 2, 5],
  [
    'rope llama3',
    {
      rope_scaling: {
        rope_type: 'llama3',
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 32,
      },
    },
    27,
    2,
    5,
  ],
  ['rope yarn', { rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 } }, 27, 2, 5],
];

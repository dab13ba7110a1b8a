// What to do where a tensor that the model needs is not in its weights, by the names of those that are.
import { HEAD_NAME } from './tensor-names.ts';
import type { WeightStore } from './weights.ts';

const FORMS: readonly { readonly names: RegExp; readonly cure: string }[] = [
  {
    names: /\.lora_[AB]\b/,
    cure: 'the weights hold parts of a LoRA adapter, which is not merged: merge it (`merge_and_unload` of PEFT) and save the model again',
  },
  {
    names: /\.(?:qweight|qzeros|g_idx|scales|biases|weight_scale|weight_packed|absmax)$/,
    cure: 'the weights are quantised (GPTQ, AWQ, MLX or the like), which duo does not read: use the unquantised model, or a GGUF file of it',
  },
  {
    names: /(?:^|\.)(?:tok_embeddings|attention\.w[qkvo])\./,
    cure: "the weights have their maker's own names (consolidated.safetensors): use the model-*.safetensors files, which transformers reads",
  },
  {
    names: /\.(?:qkv_proj|gate_up_proj|query_key_value|c_attn|wqkv|Wqkv)\./,
    cure: 'the weights hold fused projections, which duo does not split: use the model as published, with a projection a tensor',
  },
];

/** Words for the end of an error, without full stop. @param name of the missing tensor. */
export function adviseOnMissing(name: string, weights: WeightStore): string {
  const stored = weights.shards.flatMap(({ tensors }) => tensors.map((tensor) => tensor.name));
  const form = FORMS.find(({ names }) => stored.some((tensor) => names.test(tensor)));
  if (form !== undefined) return form.cure;
  if (name === HEAD_NAME) {
    return 'set `tie_word_embeddings` to true in config.json if the model uses its embeddings there, else download the model again';
  }
  return 'download the model again, or check that config.json belongs to these weights';
}

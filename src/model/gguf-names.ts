// Tensor names of GGUF files as Hugging Face names, and the row order of q and k that llama.cpp's converter changes for architecture `llama`.
// Names: gguf-py's tensor_mapping.py. Row order: `LlamaModel.permute` of convert_hf_to_gguf.py. The same as kernels/core/gguf_names.cpp.

const OUTER: ReadonlyMap<string, string> = new Map([
  ['token_embd.weight', 'model.embed_tokens.weight'],
  ['output_norm.weight', 'model.norm.weight'],
  ['output.weight', 'lm_head.weight'],
]);
const PARTS: ReadonlyMap<string, string> = new Map([
  ['attn_norm', 'input_layernorm'],
  ['ffn_norm', 'post_attention_layernorm'],
  ['attn_q', 'self_attn.q_proj'],
  ['attn_k', 'self_attn.k_proj'],
  ['attn_v', 'self_attn.v_proj'],
  ['attn_output', 'self_attn.o_proj'],
  ['attn_q_norm', 'self_attn.q_norm'],
  ['attn_k_norm', 'self_attn.k_norm'],
  ['ffn_gate', 'mlp.gate_proj'],
  ['ffn_up', 'mlp.up_proj'],
  ['ffn_down', 'mlp.down_proj'],
]);

/** Factors that divide the inverse rotary frequencies, `[D/2]`: how llama.cpp's converter stores Llama 3.x's scaling. */
export const ROPE_FACTORS = 'rope_freqs.weight';

/** `blk.0.attn_q.weight` → `model.layers.0.self_attn.q_proj.weight`; null for a tensor that the four architectures do not have. */
export function translateGgufName(name: string): string | null {
  const outer = OUTER.get(name);
  if (outer !== undefined) return outer;
  const found = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name);
  const part = found === null ? undefined : PARTS.get(found[2]!);
  return part === undefined ? null : `model.layers.${found![1]}.${part}.${found![3]}`;
}

/** Whether the rows of a tensor (by its Hugging Face name) are stored in pairs in files of this architecture. */
export function hasPairedRows(architecture: string, name: string): boolean {
  return architecture === 'llama' && /\.[qk]_proj\.(weight|bias)$/.test(name);
}

/** Rows of whole heads back in halves: row i of a head from row 2i, row i + D/2 from row 2i + 1.
 * @param values rows of equal length one after the other.  @returns a new array. */
export function unpairRows(
  values: Float32Array,
  options: { rows: number; headDim: number },
): Float32Array<ArrayBuffer> {
  const { rows, headDim } = options;
  const width = values.length / rows;
  const half = headDim / 2;
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const at = row % headDim;
    const source = row - at + (at < half ? 2 * at : 2 * (at - half) + 1);
    out.set(values.subarray(source * width, (source + 1) * width), row * width);
  }
  return out;
}

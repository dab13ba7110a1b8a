// Floating-point operations that a prefill needs: what its time is held against on a device whose matrix rate is known.
import type { HeadMask } from '../core/shapes.ts';
import type { ModelConfig } from '../model/config.ts';

/** Query-key pairs of one head over `tokens` tokens: the causal half, or what sinks and window show of it. */
export function countPairs(tokens: number, visibleTokens = tokens): number {
  const visible = Math.min(tokens, visibleTokens);
  return (visible * (visible + 1)) / 2 + (tokens - visible) * visible;
}

/** Linear layers of every token, the vocabulary's head of the last one, scores and values of the pairs each head sees. */
export function countPrefillOperations(options: {
  readonly config: ModelConfig;
  readonly mask: HeadMask | 'full';
  readonly tokens: number;
}): { readonly linear: number; readonly attention: number } {
  const { config, mask, tokens } = options;
  const { layers, heads, kvHeads, headDim, hidden, intermediate, vocab } = config.shape;
  const weights = hidden * headDim * (2 * heads + 2 * kvHeads) + 3 * hidden * intermediate;
  const full = countPairs(tokens);
  let pairs = layers * kvHeads * full;
  if (mask !== 'full') {
    const streaming = countPairs(tokens, mask.window.sinkTokens + mask.window.recentTokens);
    const retrieval = mask.mask.flat().filter((kind) => kind === 1).length;
    pairs = retrieval * full + (layers * kvHeads - retrieval) * streaming;
  }
  return {
    linear: 2 * (layers * weights * tokens + hidden * vocab),
    attention: 4 * headDim * (heads / kvHeads) * pairs,
  };
}

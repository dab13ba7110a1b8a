// Floating-point operations that a prefill needs: what its time is compared with on a device whose matrix rate is known.
import { countHeadEntries, countPairs, groupWindows } from '../core/kv-cost.ts';
import type { HeadMask } from '../core/shapes.ts';
import type { ModelConfig } from '../model/config.ts';

/** Linear layers of every token, the vocabulary's head of the last one, scores and values of the pairs each head sees. */
export function countPrefillOperations(options: {
  readonly config: ModelConfig;
  readonly mask: HeadMask | 'full';
  readonly tokens: number;
}): { readonly linear: number; readonly attention: number } {
  const { config, mask, tokens } = options;
  const { layers, heads, kvHeads, headDim, hidden, intermediate, vocab } = config.shape;
  const weights = hidden * headDim * (2 * heads + 2 * kvHeads) + 3 * hidden * intermediate;
  const groups = mask === 'full' ? [{ sinkTokens: 0, window: null, heads: layers * kvHeads }] : groupWindows(mask);
  const pairs = groups.reduce(
    (sum, group) => sum + group.heads * countPairs(tokens, countHeadEntries(tokens, group)),
    0,
  );
  return {
    linear: 2 * (layers * weights * tokens + hidden * vocab),
    attention: 4 * headDim * (heads / kvHeads) * pairs,
  };
}

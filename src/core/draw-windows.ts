// A mask for one model drawn after a mask of another: each window as often, by its share of the heads, dealt to the heads by a generator.
import type { Random } from './random.ts';
import type { HeadMask } from './shapes.ts';

/** @param like mask whose sinks and windows are used, each with its share of the heads; remaining heads go to the windows with the largest fraction left, of equals the narrower.
 * @param options.random its state decides which head has which window. */
export function drawWindowsLike(
  like: HeadMask,
  options: { readonly layers: number; readonly kvHeads: number; readonly random: Random },
): HeadMask {
  const { layers, kvHeads, random } = options;
  const all = like.windows.flat();
  const width = (window: number | null): number => window ?? Number.POSITIVE_INFINITY;
  const parts = [...new Set(all)]
    .sort((a, b) => width(a) - width(b))
    .map((window) => {
      const product = layers * kvHeads * all.filter((own) => own === window).length;
      return { window, count: Math.floor(product / all.length), remainder: product % all.length };
    });
  const missing = layers * kvHeads - parts.reduce((sum, { count }) => sum + count, 0);
  // stable: of equal remainders the narrower first
  const byRemainder = [...parts].sort((a, b) => b.remainder - a.remainder);
  for (const part of byRemainder.slice(0, missing)) part.count++;
  const dealt = random.shuffle(parts.flatMap(({ window, count }) => new Array<number | null>(count).fill(window)));
  return {
    sinkTokens: like.sinkTokens,
    windows: Array.from({ length: layers }, (_, layer) => dealt.slice(layer * kvHeads, (layer + 1) * kvHeads)),
  };
}

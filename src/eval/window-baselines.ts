// Baselines of a mask whose heads have windows of several sizes. All but `inverted` use its windows, each as often as the mask does, and
// so keep as many KV entries; they differ in which head has which window.
import { listWindows } from '../core/head-mask.ts';
import { makeRandom } from '../core/random.ts';
import type { GateGrid, HeadMask } from '../core/shapes.ts';

/** The mask's windows dealt to its heads at random. @param index of the random mask; with `seed` it decides. */
export function makeRandomWindows(mask: HeadMask, { seed, index }: { seed: number; index: number }): HeadMask {
  return fillWindows(mask, makeRandom(seed, 'random-mask', index).shuffle(mask.windows.flat()));
}

/** Widest becomes narrowest and so on through the mask's own windows, the whole context counted as the widest where a head has it. */
export function invertWindows(mask: HeadMask): HeadMask {
  const sizes = [...listWindows(mask), ...(mask.windows.flat().includes(null) ? [null] : [])];
  const inverted = mask.windows.flat().map((window) => sizes.at(-1 - sizes.indexOf(window)) as number | null);
  return fillWindows(mask, inverted);
}

/** The mask's windows, widest first, dealt to the layers in turn; within a layer the higher gate has the wider, ties to the later head. */
export function spreadWindows(mask: HeadMask, gates?: GateGrid): HeadMask {
  const width = (window: number | null): number => window ?? Number.POSITIVE_INFINITY;
  // equal widths compare as NaN where both are infinite, which sort takes for equal
  const dealt = mask.windows.flat().sort((a, b) => width(b) - width(a) || 0);
  const layers = mask.windows.length;
  const windows = mask.windows.map((row, layer) => {
    const score = (head: number): number => gates?.[layer]?.[head] ?? 0;
    const order = row.map((_, head) => head).sort((a, b) => score(b) - score(a) || b - a);
    const filled = new Array<number | null>(row.length);
    for (const [rank, head] of order.entries()) filled[head] = dealt[rank * layers + layer] as number | null;
    return filled;
  });
  return { sinkTokens: mask.sinkTokens, windows };
}

function fillWindows({ sinkTokens, windows }: HeadMask, values: readonly (number | null)[]): HeadMask {
  const kvHeads = windows[0]?.length ?? 0;
  return {
    sinkTokens,
    windows: windows.map((_, layer) => values.slice(layer * kvHeads, (layer + 1) * kvHeads)),
  };
}

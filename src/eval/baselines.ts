// Baseline masks that a given one is compared with in the same run: full, streaming, random of the same size, inverted,
// layer-uniform. All use the given mask's window, or its windows (window-baselines.ts), so that only the choice of heads differs.

import { findNarrowestWindow, findOneWindow, hasSeveralWindows, makeHeadMask, toMaskGrid } from '../core/head-mask.ts';
import { countRetrievalHeads, invertMask, randomMask } from '../core/masks.ts';
import { makeRandom } from '../core/random.ts';
import {
  filledGrid,
  type GateGrid,
  type HeadMask,
  type MaskGrid,
  type ModelShape,
  type Window,
} from '../core/shapes.ts';
import { ConfigError } from '../errors/errors.ts';
import type { MaskOrigin } from '../formats/row-origin.ts';
import { invertWindows, makeRandomWindows, spreadWindows } from './window-baselines.ts';

export const BASELINE_NAMES = ['full', 'streaming', 'random', 'inverted', 'layer-uniform'] as const;

export type BaselineName = (typeof BASELINE_NAMES)[number];

/** A mask and the name of its row. */
export interface NamedMask {
  readonly name: string;
  readonly mask: HeadMask | 'full';
  /** default: the name is its method, and it was cut for no budget of its own */
  readonly origin?: MaskOrigin;
}

const plain = (method: string, draw: number | null = null): MaskOrigin => ({
  method,
  fraction: null,
  kvShare: null,
  draw,
});

/** Build the masks of the rows asked for, in the order asked; `random` becomes `random-0`, `random-1`, ….
 * @param options.given the mask that random, inverted and layer-uniform are made from; they need it, full and streaming do not.
 * @param options.gates scores by which layer-uniform ranks the heads of a layer; without them the given mask's labels rank.
 * @param options.window window where no mask is given, or no head of it streams; of all heads of `streaming` where its heads have several,
 *   default the narrowest of them.
 * @param options.randomMasks how many random masks, default 3.  @param options.seed decides them.
 * @throws {ConfigError} unknown name, or a baseline that needs a mask without one. */
export function listBaselines(options: {
  readonly names: readonly string[];
  readonly model: Pick<ModelShape, 'layers' | 'kvHeads'>;
  readonly given: HeadMask | null;
  readonly gates?: GateGrid;
  readonly window?: Window;
  readonly randomMasks?: number;
  readonly seed: number;
}): NamedMask[] {
  const { names, model, given, gates, seed, randomMasks = 3 } = options;
  const several = given !== null && hasSeveralWindows(given) ? given : null;
  const window = several
    ? (options.window ?? findNarrowestWindow(several))
    : ((given && findOneWindow(given)) ?? options.window);
  return names.flatMap((name): NamedMask[] => {
    if (!(BASELINE_NAMES as readonly string[]).includes(name)) {
      throw new ConfigError(`Expected a baseline of ${BASELINE_NAMES.join(', ')}, got \`${name}\``);
    }
    if (name === 'full') return [{ name, mask: 'full', origin: plain(name) }];
    if (window === undefined || (given === null && name !== 'streaming')) {
      throw new ConfigError(`Baseline \`${name}\` takes its size or window from a mask; give one with --mask`);
    }
    if (name === 'streaming') {
      const mask = makeHeadMask(filledGrid(model.layers, model.kvHeads, 0), window);
      return [{ name, mask, origin: plain(name) }];
    }
    if (several) {
      if (name === 'inverted') return [{ name, mask: invertWindows(several), origin: plain(name) }];
      if (name === 'layer-uniform') return [{ name, mask: spreadWindows(several, gates), origin: plain(name) }];
      return Array.from({ length: randomMasks }, (_, index) => ({
        name: `random-${index}`,
        mask: makeRandomWindows(several, { seed, index }),
        origin: plain('random', index),
      }));
    }
    const mask = toMaskGrid(given as HeadMask);
    if (name === 'inverted') return [{ name, mask: makeHeadMask(invertMask(mask), window), origin: plain(name) }];
    if (name === 'layer-uniform') {
      return [{ name, mask: makeHeadMask(makeLayerUniformMask(mask, gates), window), origin: plain(name) }];
    }
    return Array.from({ length: randomMasks }, (_, index) => {
      const random = makeRandom(seed, 'random-mask', index);
      const drawn = randomMask({ ...model, retrievalHeads: countRetrievalHeads(mask), random });
      return { name: `random-${index}`, mask: makeHeadMask(drawn, window), origin: plain('random', index) };
    });
  });
}

/** A mask with as many retrieval heads as `mask`, spread over the layers as evenly as possible (the remainder to the first
 * layers), the best of each layer by gate; without gates retrieval heads of `mask` come first; ties: the later head is kept,
 * as in the global cut, where the lower (layer, head) streams first. */
export function makeLayerUniformMask(mask: MaskGrid, gates: GateGrid = mask): MaskGrid {
  const total = countRetrievalHeads(mask);
  const layers = mask.length;
  return mask.map((row, layer) => {
    const kept = Math.floor(total / layers) + (layer < total % layers ? 1 : 0);
    const order = row
      .map((_, head) => head)
      .sort((a, b) => (gates[layer]?.[b] ?? 0) - (gates[layer]?.[a] ?? 0) || b - a);
    const retrieval = new Set(order.slice(0, kept));
    return row.map((_, head) => (retrieval.has(head) ? 1 : 0));
  });
}

/** Mean and sample standard deviation (n − 1; 0 for one value) of one quantity over the random rows. */
export function summariseRandomRows(values: readonly number[]): { readonly mean: number; readonly deviation: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1)) };
}

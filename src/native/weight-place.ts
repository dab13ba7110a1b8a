// Where a GPU has the weights of the layers: the names that options and flags take, and their numbers in the library.
import { WEIGHTS } from './abi.ts';

/** `device`: in its own memory. `host`: in pinned host memory, each layer copied while the one before it computes, with the same results.
 * `auto`: on the device where they fit together with the work to come. */
export type WeightPlace = 'auto' | 'device' | 'host';

export const WEIGHTS_ON: Readonly<Record<WeightPlace, number>> = {
  auto: WEIGHTS.AUTO,
  device: WEIGHTS.DEVICE,
  host: WEIGHTS.HOST,
};

export const WEIGHT_PLACES = Object.keys(WEIGHTS_ON) as readonly WeightPlace[];

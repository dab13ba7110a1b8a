// How many labels of a mask rounding decided: of the heads whose effect is below the noise floor, as many as could change places across the cut.
import type { MaskGrid } from '../src/core/shapes.ts';
import type { Noise } from '../src/formats/noise.ts';

/** From this share of the smaller class on, a mask is said to rest on rounding. */
const MAX_SHARE = 0.1;

export interface NoiseDecisions {
  /** heads of each class that rounding chose: the number of heads below the floor on that side of the cut where there are fewer */
  readonly decided: number;
  /** heads of the smaller class */
  readonly of: number;
  /** true where that is more than a tenth */
  readonly isLarge: boolean;
}

/** @param mask `[layers][kvHeads]`, 1 = retrieval. */
export function countNoiseDecisions(mask: MaskGrid, noise: Noise): NoiseDecisions {
  const labels = mask.flat();
  const retrieval = labels.filter((label) => label === 1).length;
  const kept = noise.below.filter(([layer, head]) => mask[layer]?.[head] === 1).length;
  const decided = Math.min(kept, noise.below.length - kept);
  const of = Math.min(retrieval, labels.length - retrieval);
  return { decided, of, isLarge: decided > MAX_SHARE * of };
}

/** A sentence on heads below the floor, without its full stop; null where there is none to speak of. */
export function describeNoiseDecisions(
  { below, floor }: Noise,
  { decided, of, isLarge }: NoiseDecisions,
): string | null {
  if (below.length === 0) return null;
  const heads = `${below.length} head${below.length === 1 ? '' : 's'}`;
  const start = `The effect of ${heads} is below the noise floor of this measurement (${floor.toExponential(1)})`;
  if (decided === 0) return `${start}; no label was decided by that`;
  const share = `${decided} of the ${of} labels of the smaller class were decided by rounding`;
  return `${start}; ${share}${isLarge ? ', which leaves the mask in doubt: cut elsewhere, or measure on a device that computes in float32' : ''}`;
}

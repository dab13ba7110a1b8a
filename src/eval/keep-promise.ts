// The smallest budget that keeps a promise: bisection along a path of masks, each compared with full attention on the same held-out samples.
// A promise holds where the lower end of the 95 % interval reaches it, so that a mask that was lucky on few samples is not taken.
import type { HeadMask } from '../core/shapes.ts';
import type { Interval } from './metrics/confidence.ts';

/** A mask of a path. */
export interface PathMask {
  /** share of a full KV cache that it keeps at the path's length, 0..1 */
  readonly kvShare: number;
  readonly mask: HeadMask;
}

/** What a mask keeps of full attention; `value` null where `reason` says why it is not known. */
export interface Kept {
  readonly value: number | null;
  /** 95 % */
  readonly interval: Interval | null;
  readonly reason?: string;
}

/** A mask that was looked at. */
export interface WalkedMask extends PathMask {
  /** place on the path */
  readonly index: number;
  readonly kept: number;
  readonly interval: Interval;
  readonly holds: boolean;
}

export interface KeptPromise {
  /** the smallest mask found that keeps the promise; null where none does or nothing could be measured */
  readonly found: WalkedMask | null;
  /** why there is none, a clause; null where one was found */
  readonly reason: string | null;
  /** in order of looking */
  readonly walked: readonly WalkedMask[];
}

/** Find the first mask of `path` whose lower end is at least `promise`, assuming that what masks keep rises along it. By bisection, so log₂ n + 1
 * masks of a path of n are measured, and of those none below the one found keeps the promise.
 * @param options.path budgets ascending, the full mask not among them.  @param options.promise 0..1.
 * @param options.measure what a mask keeps.  @param options.onWalked called with each mask measured. @throws as `measure`. */
export async function keepPromise(options: {
  readonly path: readonly PathMask[];
  readonly promise: number;
  readonly measure: (mask: HeadMask) => Promise<Kept>;
  readonly onWalked?: (walked: WalkedMask) => void;
}): Promise<KeptPromise> {
  const { path, promise, measure, onWalked } = options;
  const walked: WalkedMask[] = [];
  let failing = -1;
  let holding = path.length;
  while (holding - failing > 1) {
    const index = Math.floor((failing + holding) / 2);
    const point = path[index] as PathMask;
    const { value, interval, reason } = await measure(point.mask);
    if (value === null || interval === null) return { found: null, reason: reason ?? 'it cannot be measured', walked };
    const look: WalkedMask = { ...point, index, kept: value, interval, holds: interval[0] >= promise };
    walked.push(look);
    onWalked?.(look);
    if (look.holds) holding = index;
    else failing = index;
  }
  const found = walked.find(({ index }) => index === holding) ?? null;
  return { found, reason: found ? null : describeFailure(walked, promise), walked };
}

/** Why no mask holds, as a clause: the largest one that was looked at, and how far below the promise its interval reaches. */
function describeFailure(walked: readonly WalkedMask[], promise: number): string {
  const largest = walked.reduce<WalkedMask | null>(
    (best, look) => (best && best.index > look.index ? best : look),
    null,
  );
  if (largest === null) return 'there is no mask that saves anything';
  const { kvShare, kept, interval } = largest;
  return `the largest mask that saves anything, ${(100 * kvShare).toFixed(1)} % of the cache, keeps ${kept.toFixed(3)}, and the lower end of its interval, ${interval[0].toFixed(4)}, is below ${promise}`;
}

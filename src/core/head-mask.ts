// Head masks as engines and the runtime take them: made from a 0/1 grid and one window, or taken apart into them.
import { ConfigError } from '../errors/errors.ts';
import type { HeadMask, MaskGrid, Window } from './shapes.ts';

/** A mask whose streaming heads (0) all have one window; retrieval heads (1) keep the whole context.
 * @param mask `[layers][kvHeads]`, 0 or 1.  @throws {ConfigError} another value. */
export function makeHeadMask(mask: MaskGrid, { sinkTokens, recentTokens }: Window): HeadMask {
  const windows = mask.map((row, layer) =>
    row.map((value, kvHead) => {
      if (value === 1) return null;
      if (value === 0) return recentTokens;
      throw new ConfigError(`Expected mask values 0 or 1, got ${value} at layer ${layer}, KV head ${kvHead}`);
    }),
  );
  return { sinkTokens, windows };
}

/** The mask as a grid, 1 = the whole context, 0 = a window of any size. */
export function toMaskGrid({ windows }: HeadMask): MaskGrid {
  return windows.map((row) => row.map((window) => (window === null ? 1 : 0)));
}

/** The different finite windows of a mask, ascending. */
export function listWindows({ windows }: HeadMask): number[] {
  const finite = windows.flat().filter((window) => window !== null);
  return [...new Set(finite)].sort((a, b) => a - b);
}

/** True where streaming heads differ in their windows, so that a 0/1 grid and one window do not describe the mask. */
export function hasSeveralWindows(mask: HeadMask): boolean {
  return listWindows(mask).length > 1;
}

/** The sinks and the smallest window of a mask, what a mask of streaming heads alone is made of; 1 token where no head streams. */
export function findNarrowestWindow(mask: HeadMask): Window {
  return { sinkTokens: mask.sinkTokens, recentTokens: listWindows(mask)[0] ?? 1 };
}

/** The window of every streaming head; null where no head streams.
 * @throws {ConfigError} the mask has several windows. */
export function findOneWindow(mask: HeadMask): Window | null {
  const [window, ...others] = listWindows(mask);
  if (window === undefined) return null;
  if (others.length === 0) return { sinkTokens: mask.sinkTokens, recentTokens: window };
  throw new ConfigError(
    `Expected a mask whose streaming heads all have one window, got windows of ${listWindows(mask).join(', ')} tokens; this operation does not take windows per head`,
  );
}

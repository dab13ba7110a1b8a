// A sample as the native library's whole-sample operations take it: tokens, where they are looked at, and through which heads.
import { toMaskGrid } from '../../core/head-mask.ts';
import type { GateGrid, HeadMask, Sample, StreamingWindows } from '../../core/shapes.ts';
import type { Passage } from '../../native/model.ts';
import { flattenWindows } from './windows.ts';

/** How the heads mix full and streaming attention. */
export interface Branches {
  readonly gates: GateGrid;
  /** of the streaming branches, `[layers][kvHeads]`; null = the whole context */
  readonly windows: HeadMask['windows'];
  readonly sinkTokens: number;
}

/** Gates over streaming branches of one window, or of each head's own. */
export function listBranches(gates: GateGrid, window: StreamingWindows): Branches {
  const { sinkTokens } = window;
  if ('windows' in window) return { gates, windows: window.windows, sinkTokens };
  return { gates, windows: gates.map((row) => row.map(() => window.recentTokens)), sinkTokens };
}

/** Retrieval heads full, each other head with its own window. */
export function splitBranches(mask: HeadMask): Branches {
  return { gates: toMaskGrid(mask), windows: mask.windows, sinkTokens: mask.sinkTokens };
}

/** @param positions ascending.  @param branches null = every head full. */
export function makePassage(sample: Sample, positions: readonly number[], branches: Branches | null): Passage {
  return {
    tokens: Int32Array.from(sample.tokens),
    positions: Int32Array.from(positions),
    gates: branches && Float32Array.from(branches.gates.flat()),
    windows: branches && flattenWindows(branches.windows),
    sinkTokens: branches?.sinkTokens ?? 0,
  };
}

// One sample's share of the ladder: Dᵢ = how the final hidden states move as one head, all others full, is closed to one of several
// windows, and the inner products of all of them. Each window is one more pass over the heads; blocks bound the memory as for one window.
import type { Sample, Window } from '../../src/core/shapes.ts';
import { filledGrid } from '../../src/core/shapes.ts';
import { DifferenceBlocks } from './difference-blocks.ts';
import { type MeasureOptions, planBlocks } from './measure-sample.ts';
import { multiplyBlocks } from './multiply-blocks.ts';
import { openMetric } from './sample-metric.ts';

/** How to measure a ladder: each head goes all the way to the window, whatever `step` one window's measurement takes. */
export interface LadderOptions
  extends Pick<
    MeasureOptions,
    'engine' | 'supervise' | 'distance' | 'scratchFolder' | 'limits' | 'signal' | 'onProgress'
  > {
  /** S, of every window */
  readonly sinkTokens: number;
  /** w of each rung, ascending */
  readonly windows: readonly number[];
}

/** Inner products of one sample's options around all heads full, as the sample's distance measures them. Option (head, rung) has the index
 * head·windows + rung.
 * @returns lower triangle, entry (i, j ≤ i) at i·(i+1)/2 + j, fp64.
 * @throws {FormatError} no supervised position; {AbortedError}; {EngineError}; {FileError}. */
export async function measureLadder(sample: Sample, options: LadderOptions): Promise<Float64Array> {
  const { engine, sinkTokens, windows, supervise, signal } = options;
  const { layers, kvHeads } = engine.model;
  const heads = layers * kvHeads;
  const size = heads * windows.length;
  const metric = await openMetric(sample, { ...options, window: narrowestOf(options) });
  const { length, scale } = metric;
  const { rowBytes, headsPerBlock, memoryBytes } = planBlocks(metric, options.limits);
  const blocks = new DifferenceBlocks({ totalBytes: rowBytes * size, memoryBytes, folder: options.scratchFolder });
  try {
    const gates = filledGrid(layers, kvHeads, 1);
    const probeGates = filledGrid(layers, kvHeads, 0);
    for (const [rung, recentTokens] of windows.entries()) {
      for (let begin = 0; begin < heads; begin += headsPerBlock) {
        const end = Math.min(heads, begin + headsPerBlock);
        const onProgress = (fraction: number): void =>
          options.onProgress?.((rung * heads + begin + fraction * (end - begin)) / (size + 1));
        const request = { gates, probeGates, window: { sinkTokens, recentTokens }, begin, end };
        const found = await engine.probe(sample, request, { supervise, onProgress, ...(signal ? { signal } : {}) });
        blocks.append(await metric.measure(found));
      }
    }
    // Rows lie window by window; the options' order is head by head.
    const gram = await multiplyBlocks(blocks, { engine, length, scale, size, signal });
    const rowOf = (option: number): number => (option % windows.length) * heads + Math.floor(option / windows.length);
    const triangle = new Float64Array(countPairs(size));
    for (let row = 0, at = 0; row < size; row++) {
      for (let column = 0; column <= row; column++) triangle[at++] = gram[rowOf(row) * size + rowOf(column)] as number;
    }
    options.onProgress?.(1);
    return triangle;
  } finally {
    blocks.close();
  }
}

/** The window in which heads of a ladder lose the most. */
export function narrowestOf({ sinkTokens, windows }: Pick<LadderOptions, 'sinkTokens' | 'windows'>): Window {
  return { sinkTokens, recentTokens: windows[0] as number };
}

/** Entries of a lower triangle of `size` rows, the diagonal included. */
export function countPairs(size: number): number {
  return (size * (size + 1)) / 2;
}

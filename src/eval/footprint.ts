// The KV footprint of a run under a mask, integrated over its tokens, and its peak
// (PruLong, arXiv 2506.17121, section 3: entries that are kept, summed over time, over what full attention keeps).
import { countPairs, groupWindows } from '../core/kv-cost.ts';
import type { PrefillSemantics } from '../core/session.ts';
import type { HeadMask, Window } from '../core/shapes.ts';
import { ConfigError } from '../errors/errors.ts';

/** Entries 1 + 2 + … + n. */
const triangle = (n: number): number => (n * (n + 1)) / 2;

/** One run whose cost is counted. */
export interface RunShape {
  /** n, tokens fed by prefill, at least 0 */
  readonly promptTokens: number;
  /** m, tokens fed by decode, at least 0 */
  readonly outputTokens: number;
  /** tokens of one prefill chunk; default: the whole prompt in one */
  readonly chunkTokens?: number;
  /** default 'exact' */
  readonly prefill?: PrefillSemantics;
}

/** Shares of full attention's keys and values. */
export interface Footprint {
  /** attended entries summed over every token, over the same sum for full attention; 0 to 1 */
  readonly integrated: number;
  /** most entries alive at once (cache and running chunk), over promptTokens + outputTokens; 0 to 1 */
  readonly peak: number;
}

/** Entries one streaming head attends to over a whole run.
 * exact: token i attends to min(i + 1, S + R) keys. chunked: a token of the chunk [a, b) attends to what the cache holds at a,
 * min(a, S + R) keys, and to the chunk up to itself; decode is as in exact.
 * PruLong's formula is the chunked one with S + R + 1 keys per decoded token, for its local window leaves the own key out. */
export function countStreamingEntries(run: RunShape, window: Window): number {
  const { promptTokens, outputTokens } = run;
  const width = window.sinkTokens + window.recentTokens;
  const upTo = (tokens: number): number => countPairs(tokens, width);
  const decode = upTo(promptTokens + outputTokens) - upTo(promptTokens);
  if ((run.prefill ?? 'exact') === 'exact') return upTo(promptTokens) + decode;
  let entries = decode;
  for (const [start, end] of listChunks(run)) {
    entries += triangle(end - start) + (end - start) * Math.min(start, width);
  }
  return entries;
}

/** Most entries one streaming head has alive at once: its cache and the running chunk, at most every token seen. */
export function countPeakStreamingEntries(run: RunShape, window: Window): number {
  const width = window.sinkTokens + window.recentTokens;
  let peak = Math.min(width, run.promptTokens + run.outputTokens);
  for (const [start, end] of listChunks(run)) peak = Math.max(peak, Math.min(start, width) + end - start);
  return peak;
}

/** KV footprint of a run under a mask, averaged over the KV heads.
 * @returns both 1 for 'full'; also 1 where nothing is fed.
 * @throws {ConfigError} chunkTokens below 1. */
export function measureFootprint(run: RunShape, mask: HeadMask | 'full'): Footprint {
  const total = run.promptTokens + run.outputTokens;
  if (mask === 'full' || total === 0) return { integrated: 1, peak: 1 };
  const heads = mask.windows.flat().length;
  let [integrated, peak] = [0, 0];
  for (const { sinkTokens, window: recentTokens, heads: count } of groupWindows(mask)) {
    const window = recentTokens === null ? null : { sinkTokens, recentTokens };
    const share = count / heads;
    integrated += share * (window ? countStreamingEntries(run, window) / triangle(total) : 1);
    peak += share * (window ? countPeakStreamingEntries(run, window) / total : 1);
  }
  return { integrated, peak };
}

/** Footprint of several runs under one mask: entries of all over full entries of all; the peak is the largest. */
export function measureMeanFootprint(runs: readonly RunShape[], mask: HeadMask | 'full'): Footprint {
  let weighted = 0;
  let weights = 0;
  let peak = 0;
  for (const run of runs) {
    const one = measureFootprint(run, mask);
    const weight = triangle(run.promptTokens + run.outputTokens);
    weighted += one.integrated * weight;
    weights += weight;
    peak = Math.max(peak, one.peak);
  }
  return { integrated: weights === 0 ? 1 : weighted / weights, peak: runs.length === 0 ? 1 : peak };
}

function listChunks(run: RunShape): [start: number, end: number][] {
  const size = run.chunkTokens ?? Math.max(1, run.promptTokens);
  if (!Number.isInteger(size) || size < 1) {
    throw new ConfigError(`Expected \`chunkTokens\` to be an integer of at least 1, got \`${size}\``);
  }
  const chunks: [number, number][] = [];
  for (let start = 0; start < run.promptTokens; start += size) {
    chunks.push([start, Math.min(start + size, run.promptTokens)]);
  }
  return chunks;
}

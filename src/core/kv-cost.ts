// What a head mask costs in cached keys and values: entries per head, bytes, the share of a full cache, visible pairs.
// One place for a count that the runtime, the evaluation, the report and the command line all show.
import { ConfigError } from '../errors/errors.ts';
import type { KvDtype } from './session.ts';
import type { HeadMask, ModelShape } from './shapes.ts';

/** Entries that one KV head keeps of `tokens` tokens. @param window w of the head; null = the whole context. */
export function countHeadEntries(tokens: number, { sinkTokens, window }: HeadWindow): number {
  return window === null ? tokens : Math.min(tokens, sinkTokens + window);
}

/** What one KV head sees: S sinks and the `window` nearest tokens, or everything (null). */
export interface HeadWindow {
  readonly sinkTokens: number;
  readonly window: number | null;
}

/** Heads of a mask that have the same window. */
export interface WindowGroup extends HeadWindow {
  readonly heads: number;
}

/** The mask's windows with the number of KV heads that have each, in order of first appearance by (layer, head). */
export function groupWindows({ sinkTokens, windows }: HeadMask): WindowGroup[] {
  const counts = new Map<number | null, number>();
  for (const window of windows.flat()) counts.set(window, (counts.get(window) ?? 0) + 1);
  return [...counts].map(([window, heads]) => ({ sinkTokens, window, heads }));
}

/** Entries of all heads together that a mask keeps of `tokens` tokens. */
export function countEntries(mask: HeadMask, tokens: number): number {
  return groupWindows(mask).reduce((sum, group) => sum + group.heads * countHeadEntries(tokens, group), 0);
}

/** Share of the full KV cache that a mask keeps at `tokens` tokens: Σ min(n, S + w_h) / (L·G·n), 0..1.
 * @throws {ConfigError} tokens below 1. */
export function measureKvShare(mask: HeadMask | 'full', tokens: number): number {
  if (!(tokens >= 1)) throw new ConfigError(`Expected \`tokens\` to be at least 1, got \`${tokens}\``);
  if (mask === 'full') return 1;
  return countEntries(mask, tokens) / (mask.windows.flat().length * tokens);
}

/** A CUDA device reads rows of codes in pieces of so many bytes, and pads the row of a head vector to whole ones. */
const CUDA_ROW_BYTES = 16;

/** How one cache is stored. */
export interface KvStorage {
  readonly dtype: KvDtype;
  /** what holds it, as engines name it, such as `cuda:0`; default: a device that pads nothing, as a CPU does */
  readonly device?: string | undefined;
}

/** Bytes of one cached key and value of `headDim` values each; int8 and fp8 keep one fp32 scale with each vector, int4 an fp16 scale and zero. */
export function entryBytes(headDim: number, { dtype, device }: KvStorage): number {
  const isPadded = device?.startsWith('cuda') === true;
  const dtypes = dtype === 'k8v4' ? (['int8', 'int4'] as const) : [dtype, dtype];
  return dtypes.reduce((sum, of) => sum + vectorBytes(headDim, of, isPadded), 0);
}

function vectorBytes(headDim: number, dtype: Exclude<KvDtype, 'k8v4'>, isPadded: boolean): number {
  if (dtype === 'f32' || dtype === 'bf16') return headDim * (dtype === 'f32' ? 4 : 2);
  const codes = dtype === 'int4' ? headDim / 2 : headDim;
  return (isPadded ? Math.ceil(codes / CUDA_ROW_BYTES) * CUDA_ROW_BYTES : codes) + 4;
}

/** Bytes of the caches of a session that holds `tokens` tokens, as `Session.memory` counts them. */
export function countKvBytes(
  options: {
    readonly model: Pick<ModelShape, 'layers' | 'kvHeads' | 'headDim'>;
    readonly mask: HeadMask | 'full';
    readonly tokens: number;
  } & KvStorage,
): number {
  const { model, mask, tokens, ...storage } = options;
  const entries = mask === 'full' ? model.layers * model.kvHeads * tokens : countEntries(mask, tokens);
  return entries * entryBytes(model.headDim, storage);
}

/** Query-key pairs of one head over `tokens` tokens: the causal half, or what a head that sees `visibleTokens` keys per query computes of it. */
export function countPairs(tokens: number, visibleTokens = tokens): number {
  const visible = Math.min(tokens, visibleTokens);
  return (visible * (visible + 1)) / 2 + (tokens - visible) * visible;
}

/** Text lengths at which savings are reported. */
export const SAVING_LENGTHS = [32_768, 131_072] as const;

/** Share of the full KV cache that the mask saves at 32K and 128K tokens, or at the longest text that a model of fewer positions has.
 * @param maxPositions of the model; unknown where only a mask is at hand. */
export function listSavings(
  mask: HeadMask,
  maxPositions = Number.POSITIVE_INFINITY,
): { tokens: number; saved: number }[] {
  const lengths = SAVING_LENGTHS.filter((tokens) => tokens <= maxPositions);
  return (lengths.length > 0 ? lengths : [maxPositions]).map((tokens) => ({
    tokens,
    saved: 1 - measureKvShare(mask, tokens),
  }));
}

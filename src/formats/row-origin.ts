// Where the mask of a row comes from, as fields: what made it, at which budget, and which draw of a random one it is.
import type { EvalRow } from './results.ts';

export interface MaskOrigin {
  /** `full`, `given`, `streaming`, `random`, `inverted`, `layer-uniform`, the method of a gates file, or the name of a mask file */
  readonly method: string;
  /** share of the heads that stream by which it was cut, 0 to 1; null where it was not cut for the row */
  readonly fraction: number | null;
  /** share of a full KV cache by which it was cut, 0 to 1; null likewise */
  readonly kvShare: number | null;
  /** which one of several random masks, from 0; null for others */
  readonly draw: number | null;
}

/** Fields of a row under a mask. */
export type RowNames = Partial<MaskOrigin> & { readonly mask: string };

/** The fields that name a row's mask. */
export function nameRow(named: { readonly name: string; readonly origin?: MaskOrigin }): RowNames {
  return { mask: named.name, ...named.origin };
}

/** Origin of a row's mask. Files of an older duo say it in the mask's name alone: `gates@0.5`, `gates-windows@0.24`, `random-2@kv-0.24`. */
export function originOf(row: Pick<EvalRow, 'mask' | 'method' | 'fraction' | 'kvShare' | 'draw'>): MaskOrigin {
  const { method, fraction = null, kvShare = null, draw = null } = row;
  if (method !== undefined) return { method, fraction, kvShare, draw };
  const [name, budget] = row.mask.split('@') as [string, string | undefined];
  const random = /^random-(\d+)$/.exec(name);
  const share = budget === undefined ? null : Number(budget.replace(/^kv-/, ''));
  const isOfCache = budget?.startsWith('kv-') || name.endsWith('-windows');
  return {
    method: random ? 'random' : name,
    fraction: isOfCache ? null : share,
    kvShare: isOfCache ? share : null,
    draw: random ? Number(random[1]) : null,
  };
}

/** True where a row's mask was cut at a budget of its own, one of several of its method. */
export function isCut(row: EvalRow): boolean {
  const { fraction, kvShare } = originOf(row);
  return fraction !== null || kvShare !== null;
}

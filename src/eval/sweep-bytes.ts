// Bytes of the KV caches that an evaluation has open: those of one cell, to schedule it, and the maximum of a whole sweep, to decide where a GPU
// keeps weights before any session is opened.
import { countKvBytes } from '../core/kv-cost.ts';
import type { HeadMask, ModelShape } from '../core/shapes.ts';
import type { NamedMask } from './baselines.ts';
import type { RunSettings } from './evaluate-task.ts';

/** Prompts of a sweep, by the tokens of the longest with its answer. */
export interface SizedGroup {
  readonly mostTokens: number;
}

/** Bytes of a cell's largest cache: it opens one session after another. */
export function countCellBytes(options: {
  readonly model: ModelShape;
  readonly group: SizedGroup;
  readonly mask: HeadMask | 'full';
  readonly settings: RunSettings;
  /** as engines name it; a CUDA device pads rows */
  readonly device: string;
}): number {
  const { model, group, mask, settings, device } = options;
  return countKvBytes({ model, mask, tokens: group.mostTokens, dtype: settings.kvDtype ?? 'f32', device });
}

/** Bytes of the caches that a sweep has open at once at most: those of its `concurrent` largest cells; 0 without groups. */
export function countSweepBytes(options: {
  readonly model: ModelShape;
  readonly groups: readonly SizedGroup[];
  readonly masks: readonly NamedMask[];
  readonly settings: RunSettings;
  readonly device: string;
  readonly concurrent: number;
}): number {
  const { groups, masks, concurrent, ...rest } = options;
  const cells = groups.flatMap((group) => masks.map(({ mask }) => countCellBytes({ ...rest, group, mask })));
  return cells
    .sort((a, b) => b - a)
    .slice(0, concurrent)
    .reduce((sum, bytes) => sum + bytes, 0);
}

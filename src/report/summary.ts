// The numbers a run comes down to, for the report's headline and for the terminal: heads that stream, cache saved, recall kept.
import { toMaskGrid } from '../core/head-mask.ts';
import { countRetrievalHeads } from '../core/masks.ts';
import type { KvDtype } from '../core/session.ts';
import type { HeadMask, ModelShape } from '../core/shapes.ts';
import { formatShare, formatShareInterval, formatTokens } from '../core/words.ts';
import { toHeadMask } from '../formats/mask.ts';
import type { EvalRow } from '../formats/results.ts';
import { findBudgetShare } from './mask-words.ts';
import { isOfGain, type Measured, readMeasure } from './measure.ts';
import { modelOfRun, type RunData } from './run-data.ts';

/** Counts that other rooms own; the command line passes them in. */
export interface Measures {
  /** bytes of the cached keys and values of a session that holds `tokens` tokens */
  readonly countKvBytes: (options: {
    readonly model: Pick<ModelShape, 'layers' | 'kvHeads' | 'headDim'>;
    readonly mask: HeadMask | 'full';
    readonly tokens: number;
    readonly dtype: KvDtype;
  }) => number;
}

/** Storage that memory figures assume. */
export const SUMMARY_KV_DTYPE: KvDtype = 'bf16';

/** Recall under full attention and under the mask, from the same samples. */
export interface Recall {
  readonly full: EvalRow;
  readonly given: EvalRow;
  /** 'closing table' of identify, or the task of results.json */
  readonly source: string;
}

export interface Summary {
  /** name of the model's folder, else its architecture, else the run folder's name */
  readonly title: string;
  readonly method: string | null;
  readonly heads: {
    readonly total: number;
    readonly streaming: number;
    readonly layers: number;
    readonly kvHeads: number;
  } | null;
  /** share of a full cache that the mask keeps at the length it was cut for; null where it was not cut by a budget */
  readonly budget: { readonly tokens: number; readonly kvShare: number } | null;
  /** share of the full KV cache that the mask saves, 0 to 1 */
  readonly savings: readonly { readonly tokens: number; readonly saved: number }[];
  readonly recall: Recall | null;
  /** the mask's row of kept gain, from identify's closing table, else of results.json; null where none was measured */
  readonly keptGain: EvalRow | null;
  /** why the mask may not be what it seems, as identify said */
  readonly warnings: readonly string[];
  /** steps run and seconds they took; null without metrics */
  readonly training: { readonly steps: number; readonly seconds: number } | null;
}

/** Summarise a run; what its files do not contain is null. */
export function summariseRun(data: RunData, measures: Measures): Summary {
  const { mask, metrics } = data;
  const model = modelOfRun(data);
  const total = model ? model.layers * model.kvHeads : 0;
  return {
    title: findTitle(data),
    method: findMethod(data),
    heads:
      mask && model
        ? {
            total,
            streaming: total - countRetrievalHeads(toMaskGrid(toHeadMask(mask))),
            layers: model.layers,
            kvHeads: model.kvHeads,
          }
        : null,
    budget: mask && findBudgetShare(mask),
    savings: mask
      ? data.savingTokens.map((tokens) => {
          const count = (of: HeadMask | 'full'): number =>
            measures.countKvBytes({ model: mask.model, mask: of, tokens, dtype: SUMMARY_KV_DTYPE });
          return { tokens, saved: 1 - count(toHeadMask(mask)) / count('full') };
        })
      : [],
    recall: findRecall(data),
    keptGain: findKeptGain(data),
    warnings: data.warnings,
    training:
      metrics.length === 0
        ? null
        : { steps: metrics.length, seconds: metrics.reduce((sum, line) => sum + line.seconds, 0) },
  };
}

/** The summary as lines for a terminal. */
export function describeSummary(summary: Summary): string[] {
  const { title, method, heads, budget, savings, recall } = summary;
  const lines = [`${title}${method ? `, method ${method}` : ''}`];
  if (heads) {
    lines.push(
      `${heads.streaming} of ${heads.total} KV heads stream (${formatShare(heads.streaming / heads.total)}; ${heads.layers} layers × ${heads.kvHeads} KV heads).`,
    );
  }
  if (budget) lines.push(`KV share: ${formatShare(budget.kvShare)} at ${formatTokens(budget.tokens)} tokens.`);
  if (savings.length > 0) {
    lines.push(
      `KV cache saved: ${savings.map(({ tokens, saved }) => `${formatShare(saved)} at ${formatTokens(tokens)} tokens`).join(', ')}.`,
    );
  }
  if (recall) {
    lines.push(
      `Recall (${recall.source}): full ${formatShare(recall.full.accuracy)} (${formatShareInterval(recall.full.accuracyInterval)}), mask ${formatShare(recall.given.accuracy)} (${formatShareInterval(recall.given.accuracyInterval)}), ${recall.given.samples} samples.`,
    );
  }
  if (summary.keptGain) lines.push(`Kept gain: ${describeGain(summary.keptGain)}.`);
  for (const warning of summary.warnings) lines.push(`Warning: ${warning}.`);
  return lines;
}

function findTitle(data: RunData): string {
  const path = data.run?.inputs.model;
  if (typeof path === 'string') return path.split(/[\\/]/).filter(Boolean).at(-1) ?? path;
  return modelOfRun(data)?.architecture ?? data.name;
}

function findMethod({ run, gates }: RunData): string | null {
  const method = run?.identity.method ?? gates?.provenance.method;
  return typeof method === 'string' ? method : null;
}

/** The closing table decides; without it the first task of results.json that has both rows. */
function findRecall({ heldOut, results }: RunData): Recall | null {
  const closing = pairRows(heldOut);
  if (closing) return { ...closing, source: 'closing table' };
  const rows = (results?.rows ?? []).filter((row) => row.depth === null && !isOfGain(row));
  for (const task of new Set(rows.map((row) => row.task))) {
    const pair = pairRows(rows.filter((row) => row.task === task));
    if (pair) return { ...pair, source: task };
  }
  return null;
}

/** The closing table decides; without it the longest texts of results.json. */
function findKeptGain({ keptGain, results }: RunData): EvalRow | null {
  const isGiven = (row: EvalRow): boolean => row.mask === 'given' && typeof row.keptGain === 'number';
  const found = (results?.rows ?? []).filter(isGiven);
  return keptGain.find(isGiven) ?? found.sort((a, b) => (b.length ?? 0) - (a.length ?? 0))[0] ?? null;
}

/** `93.0 % (92 to 94) of long context's, 10 texts of 8K tokens`. */
export function describeGain(row: EvalRow): string {
  const { value, low, high } = readMeasure(row) as Measured;
  const of = row.length === null ? '' : ` of ${formatTokens(row.length)} tokens`;
  return `the mask keeps ${formatShare(value)} (${formatShareInterval([low, high])}) of what long context gives, ${row.samples} texts${of}`;
}

function pairRows(rows: readonly EvalRow[]): { full: EvalRow; given: EvalRow } | null {
  for (const given of rows.filter((row) => row.mask === 'given')) {
    const full = rows.find((row) => row.mask === 'full' && row.length === given.length);
    if (full) return { full, given };
  }
  return null;
}

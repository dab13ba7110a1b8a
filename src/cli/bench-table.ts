// The figures of duo bench as tables, with one line per comparison. Each figure comes with its share of what the device was measured to reach: for
// a decode step its bytes against the bandwidth, for a prefill and an identification step its operations against the matrix rate.

import type { DistillFigures } from '../bench/distill-bench.ts';
import type { Comparison, ContextFigures } from '../bench/session-bench.ts';
import type { SessionCheck } from '../bench/session-checks.ts';
import { median } from '../core/numbers.ts';
import { formatBytes, formatShare } from '../core/words.ts';
import { formatTable } from './terminal.ts';

/** By mask name, `full` first. */
type ByMask<Value> = Readonly<Record<string, Value>>;

export interface ContextReport {
  readonly context: number;
  readonly figures: ByMask<ContextFigures>;
  readonly expectedKvBytes: ByMask<number>;
  /** by one decode step of all texts, of masks that were measured */
  readonly readBytes: ByMask<number>;
  /** of these, weights */
  readonly weightReadBytes: number;
  /** copied from host memory by a decode step; 0 where the device has all weights */
  readonly streamedBytes: number;
  /** of one decode step's products with weights */
  readonly weightOperations: ByMask<number>;
  readonly prefillOperations: ByMask<number>;
  /** masks that the device's memory does not hold at this context, and what it said */
  readonly failed: ByMask<string>;
  /** of the first mask against full; null where one of them was not measured */
  readonly comparison: Comparison | null;
  readonly comparisons: ByMask<Comparison>;
}

/** Rates of the device, measured in this run: bytes per second, floating-point operations per second. Null where not measured. */
export interface DeviceRates {
  readonly readBandwidth: number | null;
  readonly copyBandwidth: number | null;
  readonly matrixRate: number | null;
  /** from pinned host memory, where weights are streamed from it */
  readonly uploadBandwidth: number | null;
}

/** Tokens that fit in a device's memory in addition to the weights. */
export interface CapacityReport {
  readonly memoryBytes: number;
  readonly weightBytes: number;
  /** null: no bound */
  readonly rows: readonly { readonly kvDtype: string; readonly tokens: ByMask<number | null> }[];
}

interface Figures {
  readonly reports: readonly ContextReport[];
  readonly capacity: CapacityReport | null;
  readonly distill: readonly DistillFigures[];
  readonly checks: readonly SessionCheck[];
  readonly rates: DeviceRates;
}

export function formatReport(found: Figures): string {
  const lines = found.reports.flatMap((report) =>
    Object.keys(report.comparisons).map((name) => formatComparison(report, name)),
  );
  const worst = Math.max(...found.checks.map(({ error, limit }) => error / limit));
  const tables = [formatContexts(found)];
  if (found.capacity !== null) tables.push('', formatCapacity(found.capacity));
  if (found.distill.length > 0) tables.push('', formatDistill(found));
  return [
    ...tables,
    '',
    ...lines,
    `${found.checks.length} laws checked before, ${formatShare(worst)} of their tolerance used${formatRates(found.rates)}`,
  ].join('\n');
}

function formatContexts(found: Figures): string {
  const { copyBandwidth, matrixRate } = found.rates;
  const header = ['context', 'heads', 'texts', 'prefill s'];
  if (matrixRate !== null) header.push('TFLOP/s', 'of matrix rate');
  header.push('decode ms', 'best ms', 'tokens/s', 'KV cache', 'read GB/s', 'of bandwidth');
  if (copyBandwidth !== null) header.push('of copy rate');
  if (copyBandwidth !== null && matrixRate !== null) header.push('floor ms', 'of floor');
  const rows = found.reports.flatMap((report) =>
    // in the order of the masks, full attention first
    Object.keys(report.expectedKvBytes).map((mask) =>
      report.figures[mask] === undefined
        ? [`${report.context}`, mask, '–', 'too large']
        : formatRow(report, mask, found),
    ),
  );
  const reasons = found.reports.flatMap(({ context, failed }) =>
    Object.entries(failed).map(([mask, reason]) => `${context} tokens, ${mask}, too large: ${reason}`),
  );
  return [formatTable([header, ...rows]), ...reasons].join('\n');
}

function formatRow(report: ContextReport, mask: string, { rates }: Figures): string[] {
  const figures = report.figures[mask] as ContextFigures;
  const { prefillSeconds } = figures;
  const typical = median(figures.stepSeconds);
  const best = Math.min(...figures.stepSeconds);
  const rate = (report.readBytes[mask] as number) / best;
  const isExact = figures.kvBytes === report.expectedKvBytes[mask];
  const row = [
    `${report.context}`,
    mask,
    `${figures.batch}`,
    prefillSeconds === null ? '–' : prefillSeconds.toFixed(2),
  ];
  if (rates.matrixRate !== null) {
    const operations = prefillSeconds === null ? null : (report.prefillOperations[mask] as number) / prefillSeconds;
    row.push(...formatOperations(operations, rates.matrixRate));
  }
  row.push(
    (1000 * typical).toFixed(1),
    (1000 * best).toFixed(1),
    (figures.batch / typical).toFixed(1),
    `${formatBytes(figures.kvBytes)}${isExact ? '' : ' (differs from the formula)'}`,
    (rate / 1e9).toFixed(2),
    rates.readBandwidth === null ? '–' : formatOfBandwidth(rate / rates.readBandwidth),
  );
  if (rates.copyBandwidth !== null) row.push(formatOfBandwidth(rate / rates.copyBandwidth));
  const floor = findFloor(report, mask, rates);
  if (floor !== null) row.push((1000 * floor).toFixed(1), formatOfBandwidth(floor / best));
  return row;
}

/** Seconds that a decode step takes at least: products with weights by the slowest of their bytes, their operations and their copies from the host, then the entries' bytes. Null
 * where the device's rates were not measured. */
function findFloor(report: ContextReport, mask: string, rates: DeviceRates): number | null {
  const { copyBandwidth, matrixRate, uploadBandwidth } = rates;
  if (copyBandwidth === null || matrixRate === null) return null;
  const { weightReadBytes, streamedBytes } = report;
  const upload = uploadBandwidth === null ? 0 : streamedBytes / uploadBandwidth;
  const operations = report.weightOperations[mask] as number;
  const products = Math.max(weightReadBytes / copyBandwidth, operations / matrixRate, upload);
  return products + ((report.readBytes[mask] as number) - weightReadBytes) / copyBandwidth;
}

function formatCapacity({ memoryBytes, weightBytes, rows }: CapacityReport): string {
  const masks = Object.keys(rows[0]?.tokens ?? {});
  const header = [`most tokens in ${formatBytes(memoryBytes)}, of which ${formatBytes(weightBytes)} weights`, ...masks];
  const lines = rows.map(({ kvDtype, tokens }) => [
    kvDtype,
    ...masks.map((mask) => (tokens[mask] === null ? 'no bound' : String(tokens[mask]))),
  ]);
  return formatTable([header, ...lines]);
}

function formatDistill({ distill, rates }: Figures): string {
  const header = ['identification step', 'seconds', 'memory', 'loss'];
  if (rates.matrixRate !== null) header.push('TFLOP/s', 'of matrix rate');
  const { uploadBandwidth, matrixRate } = rates;
  if (uploadBandwidth !== null && matrixRate !== null) header.push('copies s', 'products s', 'of the larger');
  const rows = distill.map(({ tokens, seconds, operations, memoryBytes, copiedBytes, loss }) => {
    const best = Math.min(...seconds);
    const row = [`${tokens} tokens`, best.toFixed(3), formatBytes(memoryBytes), loss.toPrecision(4)];
    if (rates.matrixRate !== null) row.push(...formatOperations(operations / best, rates.matrixRate));
    if (uploadBandwidth !== null && matrixRate !== null) {
      const [copies, products] = [copiedBytes / uploadBandwidth, operations / matrixRate];
      row.push(copies.toFixed(3), products.toFixed(3), `${(best / Math.max(copies, products)).toFixed(2)}×`);
    }
    return row;
  });
  return formatTable([header, ...rows]);
}

function formatOperations(rate: number | null, matrixRate: number): string[] {
  return rate === null ? ['–', '–'] : [(rate / 1e12).toFixed(0), formatShare(rate / matrixRate)];
}

function formatComparison({ context, comparisons, figures, readBytes }: ContextReport, mask: string): string {
  const { prefillSpeedup, decodeSpeedup, kvShare, savingShare } = comparisons[mask] as Comparison;
  const name = mask === 'masked' ? 'mask' : mask;
  // The speed-up if a step consisted only of its reads.
  const texts = (figures[mask] as ContextFigures).batch / (figures.full as ContextFigures).batch;
  const ceiling = (texts * (readBytes.full as number)) / (readBytes[mask] as number);
  const prefill = prefillSpeedup === null ? '' : `prefill ${prefillSpeedup.toFixed(2)}×, `;
  const saving = savingShare === null ? '' : `, ${formatShare(savingShare)} of the saving its bytes promise`;
  return `${context} tokens, ${name} against full: ${prefill}decode ${decodeSpeedup.toFixed(2)}× (${formatShare(decodeSpeedup / ceiling)} of the ${ceiling.toFixed(2)}× of its bytes${saving}), KV cache ${formatShare(kvShare)}`;
}

function formatRates({ readBandwidth, copyBandwidth, matrixRate, uploadBandwidth }: DeviceRates): string {
  const parts: string[] = [];
  if (readBandwidth !== null)
    parts.push(`read bandwidth measured in this run ${(readBandwidth / 1e9).toFixed(2)} GB/s`);
  if (copyBandwidth !== null) parts.push(`copy ${(copyBandwidth / 1e9).toFixed(2)} GB/s`);
  if (matrixRate !== null) parts.push(`bf16 matrix product ${(matrixRate / 1e12).toFixed(0)} TFLOP/s`);
  if (uploadBandwidth !== null) parts.push(`copies from pinned host memory ${(uploadBandwidth / 1e9).toFixed(2)} GB/s`);
  return parts.map((part) => `, ${part}`).join('');
}

/** A model that is read faster than memory allows is in a cache, where the share has no meaning. */
function formatOfBandwidth(share: number): string {
  return share > 1.25 ? 'in cache' : formatShare(share);
}

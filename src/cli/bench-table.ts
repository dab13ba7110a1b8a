// The figures of duo bench as a table and a line a context.
import { type Comparison, type ContextFigures, median } from '../runtime/session-bench.ts';
import type { SessionCheck } from '../runtime/session-checks.ts';
import { formatBytes, formatPercent, formatTable } from './terminal.ts';

export interface ContextReport {
  readonly context: number;
  readonly figures: { full: ContextFigures; masked: ContextFigures };
  readonly expectedKvBytes: { full: number; masked: number };
  readonly readBytes: { full: number; masked: number };
  readonly comparison: Comparison;
}

export function formatReport(found: {
  reports: readonly ContextReport[];
  checks: readonly SessionCheck[];
  bandwidth: number | null;
  batch: number;
}): string {
  const header = [
    'context',
    'heads',
    'prefill s',
    'decode ms',
    'best ms',
    'tokens/s',
    'KV cache',
    'read GB/s',
    'of bandwidth',
  ];
  const rows = found.reports.flatMap((report) =>
    (['full', 'masked'] as const).map((side) => formatRow(report, { side, ...found })),
  );
  const lines = found.reports.map(({ context, comparison }) => {
    const { prefillSpeedup, decodeSpeedup, kvShare, savingShare } = comparison;
    const prefill = prefillSpeedup === null ? '' : `prefill ${prefillSpeedup.toFixed(2)}×, `;
    const saving = savingShare === null ? '' : `, ${formatPercent(savingShare)} of the saving its bytes promise`;
    return `${context} tokens, mask against full: ${prefill}decode ${decodeSpeedup.toFixed(2)}×${saving}, KV cache ${formatPercent(kvShare)}`;
  });
  const worst = Math.max(...found.checks.map(({ error, limit }) => error / limit));
  const bandwidth =
    found.bandwidth === null ? '' : `, read bandwidth measured in this run ${(found.bandwidth / 1e9).toFixed(2)} GB/s`;
  return [
    formatTable([header, ...rows]),
    '',
    ...lines,
    `${found.checks.length} laws checked before, ${formatPercent(worst)} of their tolerance used${bandwidth}`,
  ].join('\n');
}

function formatRow(
  report: ContextReport,
  view: { side: 'full' | 'masked'; bandwidth: number | null; batch: number },
): string[] {
  const figures = report.figures[view.side];
  const typical = median(figures.stepSeconds);
  const best = Math.min(...figures.stepSeconds);
  const rate = report.readBytes[view.side] / best;
  const isExact = figures.kvBytes === report.expectedKvBytes[view.side];
  return [
    `${report.context}`,
    view.side,
    figures.prefillSeconds === null ? '–' : figures.prefillSeconds.toFixed(2),
    (1000 * typical).toFixed(1),
    (1000 * best).toFixed(1),
    (view.batch / typical).toFixed(1),
    `${formatBytes(figures.kvBytes)}${isExact ? '' : ' (differs from the formula)'}`,
    (rate / 1e9).toFixed(2),
    view.bandwidth === null ? '–' : formatShare(rate / view.bandwidth),
  ];
}

/** A model that is read faster than memory can be lies in a cache, where the share says nothing. */
function formatShare(share: number): string {
  return share > 1.25 ? 'in cache' : formatPercent(share);
}

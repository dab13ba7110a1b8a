// Accuracy or kept gain against KV footprint: one line per method, its cuts as points with 95 % intervals, full attention as the line to reach.
import { formatShare, formatShareInterval, formatTokens } from '../../core/words.ts';
import type { EvalRow } from '../../formats/results.ts';
import { originOf } from '../../formats/row-origin.ts';
import { type Measured, nameMeasure, readMeasure, spanOf } from '../measure.ts';
import { drawCurves, seriesColour } from './curves.ts';
import type { Figure } from './figure.ts';

/** Masks that no scores chose. */
const CONTROLS = ['random', 'streaming', 'inverted'];

interface Point extends Measured {
  readonly method: string;
  readonly footprint: number;
}

/** One figure per task and length that was measured at more than one budget; [] where none was. Kept gain that could not be measured is left out. */
export function drawBudgetCurves(rows: readonly EvalRow[]): Figure[] {
  const groups = new Map<string, EvalRow[]>();
  for (const row of rows.filter((one) => one.depth === null && readMeasure(one) !== null)) {
    const key = JSON.stringify([row.task, row.length]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].flatMap((own) => {
    const masked = own.filter((row) => row.mask !== 'full');
    if (new Set(masked.map((row) => row.footprint)).size < 2) return [];
    return [drawBudgetCurve(own)];
  });
}

function drawBudgetCurve(rows: readonly EvalRow[]): Figure {
  const [first] = rows as readonly [EvalRow, ...EvalRow[]];
  const { task, length } = first;
  const measure = nameMeasure(first);
  const full = rows.find((row) => row.mask === 'full');
  const points = averagePoints(rows.filter((row) => row.mask !== 'full'));
  const methods = [...new Set(points.map((point) => point.method))];
  const coloured = methods.filter((method) => !CONTROLS.includes(method));
  const of = `${task}${length === null ? '' : `, ${formatTokens(length)} tokens`}`;
  const level = full ? (readMeasure(full)?.value ?? 1) : null;
  return drawCurves({
    name: `budget-${task}${length === null ? '' : `-${length}`}`.replace(/[^a-zA-Z0-9-]+/g, '-'),
    title: `${of}: ${measure} by KV budget`,
    caption: `KV footprint as a share of full attention's, integrated over the run; bars are 95 % intervals.${level === null ? '' : ` Dashed: full attention, ${formatShare(level)}.`}`,
    x: { label: 'KV footprint, % of full', domain: [0, 1], isShare: true },
    y: { label: `${measure}, %`, domain: spanOf(points), isShare: true },
    level,
    curves: methods.map((method) => ({
      name: method,
      colour: CONTROLS.includes(method) ? 'var(--neutral)' : seriesColour(coloured.indexOf(method)),
      points: points
        .filter((point) => point.method === method)
        .map(({ footprint, value, low, high }) => ({
          x: footprint,
          y: value,
          low,
          high,
          words: `${method}: ${formatShare(value)} (${formatShareInterval([low, high])}) at ${formatShare(footprint)} of the KV footprint`,
        })),
    })),
  });
}

/** Rows of one method at one budget (random masks) as their mean, with the span of their intervals. */
function averagePoints(rows: readonly EvalRow[]): Point[] {
  const groups = new Map<string, EvalRow[]>();
  for (const row of rows) {
    const key = JSON.stringify([originOf(row).method, row.footprint]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()]
    .map((own) => {
      const measured = own.map((row) => readMeasure(row) as Measured);
      return {
        method: originOf(own[0]!).method,
        footprint: own[0]!.footprint,
        value: measured.reduce((sum, { value }) => sum + value, 0) / own.length,
        low: Math.min(...measured.map(({ low }) => low)),
        high: Math.max(...measured.map(({ high }) => high)),
      };
    })
    .sort((a, b) => a.footprint - b.footprint);
}

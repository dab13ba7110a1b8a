// Accuracy or kept gain against KV footprint: one line a method, its cuts as points with 95 % intervals, full attention as the line to reach.

import * as Plot from '@observablehq/plot';
import { formatShare, formatShareInterval, formatTokens } from '../../core/words.ts';
import type { EvalRow } from '../../formats/results.ts';
import { originOf } from '../../formats/row-origin.ts';
import { type Measured, nameMeasure, readMeasure, spanOf } from '../measure.ts';
import { drawEndLabel, drawFigure, type Figure, isNarrow, spreadLabels, TIPS } from './figure.ts';

const COLOURS = 6;

interface Point extends Measured {
  readonly method: string;
  readonly footprint: number;
}

/** One figure a task and length that was measured at more than one budget; [] where none was. Kept gain that could not be measured is left out. */
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
  const colour = (method: string): string => {
    if (method === 'random' || method === 'streaming' || method === 'inverted') return 'var(--neutral)';
    return `var(--series-${(methods.filter((name) => !['random', 'streaming', 'inverted'].includes(name)).indexOf(method) % COLOURS) + 1})`;
  };
  const [top, height] = [26, 320];
  const bottom = height - 44;
  const [least, most] = spanOf(points);
  const place = (value: number): number => bottom - ((value - least) / (most - least)) * (bottom - top);
  const longest = Math.max(...methods.map((method) => method.length));
  return drawFigure({
    name: `budget-${task}${length === null ? '' : `-${length}`}`.replace(/[^a-zA-Z0-9-]+/g, '-'),
    title: `${task}${length === null ? '' : `, ${formatTokens(length)} tokens`}: ${measure} by KV budget`,
    caption: `KV footprint as a share of full attention's, integrated over the run; bars are 95 % intervals.${full ? ` Dashed: full attention, ${formatShare(readMeasure(full)?.value ?? 1)}.` : ''}`,
    draw: (width) => {
      const right = Math.min(isNarrow(width) ? 122 : 170, 16 + 7.6 * longest);
      const last = methods.map((method) => points.filter((point) => point.method === method).at(-1) as Point);
      const ends = spreadLabels(
        last.map((point) => place(point.value)),
        { top, bottom },
      );
      return {
        plot: {
          height,
          marginTop: top,
          marginBottom: 44,
          marginLeft: 44,
          marginRight: right,
          x: {
            domain: [0, 1],
            label: 'KV footprint, % of full',
            labelArrow: 'none',
            labelAnchor: 'center',
            ticks: 5,
            tickSize: 0,
            tickFormat: percent,
          },
          y: {
            domain: [least, most],
            label: `${measure}, %`,
            labelArrow: 'none',
            grid: true,
            ticks: 5,
            tickSize: 0,
            tickFormat: percent,
          },
          marks: [
            ...(full
              ? [Plot.ruleY([readMeasure(full)?.value ?? 1], { stroke: 'var(--ink)', strokeDasharray: '4,3' })]
              : []),
            Plot.ruleX(points, {
              x: 'footprint',
              y1: 'low',
              y2: 'high',
              stroke: (point: Point) => colour(point.method),
              strokeOpacity: 0.45,
              strokeWidth: 2,
            }),
            Plot.line(points, {
              x: 'footprint',
              y: 'value',
              z: 'method',
              stroke: (point: Point) => colour(point.method),
              strokeWidth: 2,
            }),
            Plot.dot(points, {
              x: 'footprint',
              y: 'value',
              r: 4.5,
              fill: (point: Point) => colour(point.method),
              className: TIPS,
              ariaLabel: (point: Point) =>
                `${point.method}: ${formatShare(point.value)} (${formatShareInterval([point.low, point.high])}) at ${formatShare(point.footprint)} of the KV footprint`,
            }),
          ],
        },
        extra: methods
          .map((method, index) =>
            drawEndLabel({ x: width - right + 8, y: ends[index] as number, text: method, colour: colour(method) }),
          )
          .join(''),
      };
    },
  });
}

const percent = (share: number): string => String(Math.round(100 * share));

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

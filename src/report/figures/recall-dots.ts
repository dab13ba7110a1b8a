// Accuracy or kept gain of each mask on the same samples: a dot with its 95 % interval, a row per mask, in the order of the rows.
import * as Plot from '@observablehq/plot';
import { formatShare, formatShareInterval } from '../../core/words.ts';
import type { EvalRow } from '../../formats/results.ts';
import { describeMeasure, isOfGain, nameMeasure, readMeasure, spanOf } from '../measure.ts';
import { drawFigure, type Figure, TIPS } from './figure.ts';

/** @param rows of one task and length, `full` among them or not; at least one. */
export function drawRecallDots(rows: readonly EvalRow[], options: { name: string; title: string }): Figure {
  const names = rows.map((row) => row.mask);
  const points = rows.flatMap((row) => {
    const measured = readMeasure(row);
    return measured === null ? [] : [{ ...row, ...measured }];
  });
  const full = points.find((row) => row.mask === 'full');
  const [first] = rows as readonly [EvalRow, ...EvalRow[]];
  const span = spanOf(points);
  const longest = Math.max(...names.map((name) => name.length));
  return drawFigure({
    ...options,
    caption: `${describeMeasure(first)} Bars are 95 % intervals, ${Math.max(...rows.map((row) => row.samples))} ${isOfGain(first) ? 'texts' : 'samples'}.${full ? ' The dashed line is full attention.' : ''}`,
    draw: () => ({
      plot: {
        height: 48 + 28 * rows.length,
        marginLeft: Math.min(150, 16 + 7 * longest),
        marginRight: 70,
        marginTop: 8,
        marginBottom: 40,
        x: {
          domain: span,
          label: `${nameMeasure(first)}, %`,
          labelArrow: 'none',
          labelAnchor: 'center',
          grid: true,
          ticks: 5,
          tickSize: 0,
          tickFormat: (share: number) => String(Math.round(100 * share)),
        },
        y: { domain: names, label: null, tickSize: 0 },
        marks: [
          ...(full ? [Plot.ruleX([full.value], { stroke: 'var(--neutral)', strokeDasharray: '3,3' })] : []),
          Plot.ruleY(points, {
            y: 'mask',
            x1: 'low',
            x2: 'high',
            stroke: (row) => colourOfMask(row.mask),
            strokeWidth: 5,
            strokeOpacity: 0.35,
            strokeLinecap: 'round',
          }),
          Plot.dot(points, { y: 'mask', x: 'value', r: 5, fill: (row) => colourOfMask(row.mask) }),
          Plot.text(points, {
            y: 'mask',
            x: span[1],
            dx: 62,
            textAnchor: 'end',
            fontWeight: 600,
            text: (row) => formatShare(row.value),
          }),
          Plot.barX(points, {
            y: 'mask',
            x1: span[0],
            x2: span[1],
            fill: 'var(--ink)',
            fillOpacity: 0,
            className: `${TIPS} bands`,
            ariaLabel: (row) =>
              `${row.mask}: ${formatShare(row.value)}, interval ${formatShareInterval([row.low, row.high])}, ${formatShare(row.streamingFraction)} of the heads stream`,
          }),
        ],
      },
    }),
  });
}

/** The mask under test in blue, full attention in ink, everything it is compared with in grey. */
function colourOfMask(mask: string): string {
  if (mask === 'full') return 'var(--ink)';
  return mask === 'given' ? 'var(--series-1)' : 'var(--neutral)';
}

// Accuracy of each mask on the same samples: a dot with its 95 % interval, a row a mask, in the order of the rows.
import * as Plot from '@observablehq/plot';
import { formatShare, formatShareInterval } from '../../core/words.ts';
import type { EvalRow } from '../../formats/results.ts';
import { drawFigure, type Figure, TIPS } from './figure.ts';

/** @param rows of one task and length, `full` among them or not; at least one. */
export function drawRecallDots(rows: readonly EvalRow[], options: { name: string; title: string }): Figure {
  const names = rows.map((row) => row.mask);
  const full = rows.find((row) => row.mask === 'full');
  const points = rows.map((row) => ({ ...row, low: row.accuracyInterval[0], high: row.accuracyInterval[1] }));
  const longest = Math.max(...names.map((name) => name.length));
  return drawFigure({
    ...options,
    caption: `Share of answer tokens predicted right, with 95 % intervals, ${Math.max(...rows.map((row) => row.samples))} samples.${full ? ' The dashed line is full attention.' : ''}`,
    draw: () => ({
      plot: {
        height: 48 + 28 * rows.length,
        marginLeft: Math.min(150, 16 + 7 * longest),
        marginRight: 70,
        marginTop: 8,
        marginBottom: 40,
        x: {
          domain: [0, 1],
          label: 'accuracy, %',
          labelArrow: 'none',
          labelAnchor: 'center',
          grid: true,
          ticks: 5,
          tickSize: 0,
          tickFormat: (share: number) => String(Math.round(100 * share)),
        },
        y: { domain: names, label: null, tickSize: 0 },
        marks: [
          ...(full ? [Plot.ruleX([full.accuracy], { stroke: 'var(--neutral)', strokeDasharray: '3,3' })] : []),
          Plot.ruleY(points, {
            y: 'mask',
            x1: 'low',
            x2: 'high',
            stroke: (row) => colourOfMask(row.mask),
            strokeWidth: 5,
            strokeOpacity: 0.35,
            strokeLinecap: 'round',
          }),
          Plot.dot(points, { y: 'mask', x: 'accuracy', r: 5, fill: (row) => colourOfMask(row.mask) }),
          Plot.text(points, {
            y: 'mask',
            x: 1,
            dx: 62,
            textAnchor: 'end',
            fontWeight: 600,
            text: (row) => formatShare(row.accuracy),
          }),
          Plot.barX(points, {
            y: 'mask',
            x1: 0,
            x2: 1,
            fill: 'var(--ink)',
            fillOpacity: 0,
            className: `${TIPS} bands`,
            ariaLabel: (row) =>
              `${row.mask}: ${formatShare(row.accuracy)}, interval ${formatShareInterval(row.accuracyInterval)}, ${formatShare(row.streamingFraction)} of the heads stream`,
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

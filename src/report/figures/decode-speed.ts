// Time of one decode step by context, full and under the mask, as `duo bench` measured it.
import * as Plot from '@observablehq/plot';
import { formatTokens } from '../../core/words.ts';
import { drawFigure, type Figure, TIPS } from './figure.ts';

export interface DecodeTime {
  readonly context: number;
  readonly fullMs: number;
  readonly maskedMs: number;
}

/** @param times at least one. */
export function drawDecodeSpeed(times: readonly DecodeTime[]): Figure {
  const bars = times.flatMap(({ context, fullMs, maskedMs }) => [
    { name: `${formatTokens(context)} full`, side: 'full', ms: fullMs, ratio: 1 },
    { name: `${formatTokens(context)} mask`, side: 'mask', ms: maskedMs, ratio: fullMs / maskedMs },
  ]);
  return drawFigure({
    name: 'decode-speed',
    title: 'Time of one decode step',
    caption: 'Median milliseconds per step after a context of so many tokens; shorter is better.',
    draw: () => ({
      plot: {
        height: 56 + 56 * times.length,
        marginLeft: 84,
        marginRight: 48,
        marginTop: 8,
        marginBottom: 40,
        x: {
          label: 'ms per step',
          labelArrow: 'none',
          labelAnchor: 'center',
          zero: true,
          ticks: 4,
          tickSize: 0,
          grid: true,
        },
        y: { domain: bars.map((bar) => bar.name), label: null, tickSize: 0, padding: 0.2 },
        marks: [
          Plot.barX(bars, {
            y: 'name',
            x: 'ms',
            fill: (bar) => (bar.side === 'full' ? 'var(--neutral)' : 'var(--series-1)'),
            className: TIPS,
            ariaLabel: (bar) => `${bar.name}: ${bar.ms.toFixed(2)} ms, ${bar.ratio.toFixed(2)} × as fast as full`,
          }),
          Plot.text(bars, {
            y: 'name',
            x: 'ms',
            dx: 5,
            textAnchor: 'start',
            text: (bar) => bar.ms.toFixed(bar.ms < 10 ? 2 : 1),
          }),
        ],
      },
    }),
  });
}

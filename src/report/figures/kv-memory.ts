// Size of the KV cache by context length, full and under the mask, on logarithmic scales.
import * as Plot from '@observablehq/plot';
import { formatBytes, formatShare, formatTokens } from '../../core/words.ts';
import { drawEndLabel, drawFigure, type Figure, spreadLabels, TIPS } from './figure.ts';

export interface KvSize {
  readonly tokens: number;
  readonly fullBytes: number;
  readonly maskedBytes: number;
}

/** @param sizes ascending in tokens, at least two. */
export function drawKvMemory(sizes: readonly KvSize[], dtype: string): Figure {
  const bytes = sizes.flatMap((size) => [size.fullBytes, size.maskedBytes]);
  const domain = [Math.min(...bytes), Math.max(...bytes)] as [number, number];
  const ticks = chooseByteTicks(domain);
  const [top, height, right] = [26, 300, 56];
  const bottom = height - 40;
  const place = (value: number): number =>
    bottom - (Math.log(value / domain[0]) / Math.log(domain[1] / domain[0])) * (bottom - top);
  const last = sizes.at(-1) as KvSize;
  const curves = [
    { key: 'fullBytes', label: 'full', colour: 'var(--ink)', end: last.fullBytes },
    { key: 'maskedBytes', label: 'mask', colour: 'var(--series-1)', end: last.maskedBytes },
  ] as const;
  return drawFigure({
    name: 'kv-memory',
    title: 'KV cache by context length',
    caption: `One text, keys and values in ${dtype}, counted from the mask. Both scales are logarithmic.`,
    draw: (width) => {
      const ends = spreadLabels(
        curves.map(({ end }) => place(end)),
        { top, bottom },
      );
      const half = Math.SQRT2;
      return {
        plot: {
          height,
          marginTop: top,
          marginBottom: 40,
          marginLeft: 66,
          marginRight: right,
          x: {
            type: 'log',
            base: 2,
            domain: [sizes[0]!.tokens, last.tokens],
            label: 'context, tokens',
            labelArrow: 'none',
            labelAnchor: 'center',
            tickSize: 0,
            tickFormat: formatTokens,
            ticks: sizes.filter((_, index) => index % (width < 400 ? 2 : 1) === 0).map((size) => size.tokens),
          },
          y: {
            type: 'log',
            base: 2,
            domain,
            label: 'KV cache',
            labelArrow: 'none',
            grid: true,
            tickSize: 0,
            tickFormat: (value: number) => formatBytes(value).replace(/\.0+ /, ' '),
            ticks,
          },
          marks: [
            ...curves.map(({ key, colour }) =>
              Plot.line(sizes, { x: 'tokens', y: key, stroke: colour, strokeWidth: 2.5 }),
            ),
            ...curves.map(({ key, colour }) => Plot.dot(sizes, { x: 'tokens', y: key, fill: colour, r: 3 })),
            Plot.rectX(sizes, {
              x1: (size: KvSize) => Math.max(sizes[0]!.tokens, size.tokens / half),
              x2: (size: KvSize) => Math.min(last.tokens, size.tokens * half),
              fill: 'var(--ink)',
              fillOpacity: 0,
              className: `${TIPS} bands`,
              ariaLabel: (size: KvSize) =>
                `${formatTokens(size.tokens)} tokens: full ${formatBytes(size.fullBytes)}, mask ${formatBytes(size.maskedBytes)}, ${formatShare(1 - size.maskedBytes / size.fullBytes)} saved`,
            }),
          ],
        },
        extra: curves
          .map(({ label, colour }, index) =>
            drawEndLabel({ x: width - right + 8, y: ends[index] as number, text: label, colour }),
          )
          .join(''),
      };
    },
  });
}

/** Powers of two inside the domain, at most seven. */
function chooseByteTicks([least, most]: [number, number]): number[] {
  const first = Math.ceil(Math.log2(least));
  const count = Math.floor(Math.log2(most)) - first + 1;
  const step = Math.max(1, Math.ceil(count / 7));
  return Array.from({ length: Math.ceil(count / step) }, (_, index) => 2 ** (first + step * index));
}

// The layers × KV heads heat map: a row per layer, a column per KV head, a shade and a few letters each. The caller defines what the shades mean.
import * as Plot from '@observablehq/plot';
import { onRampColour, rampColour } from '../theme.ts';
import { drawFigure, drawRampLegend, type Figure, isNarrow, TIPS } from './figure.ts';

/** Cells beyond this number would be smaller than a pixel; the CSV table next to the report has every head. */
export const MAX_MAP_CELLS = 16_384;

/** Of the page's type, pixels. */
const LETTER_WIDTH = 7;

export interface HeadCell {
  readonly layer: number;
  readonly head: number;
  /** 0 = lightest to 1 = darkest */
  readonly shade: number;
  /** written where cells are large enough, marked ones with a dot before it; elsewhere the dot alone */
  readonly text: string;
  readonly isMarked: boolean;
  /** the whole of it, for the pointer and for readers of the screen */
  readonly label: string;
}

export function drawHeadMap(options: {
  readonly name: string;
  readonly title: string;
  readonly caption: string;
  readonly layers: number;
  readonly heads: number;
  readonly cells: readonly HeadCell[];
  /** words at the light and the dark end of the ramp */
  readonly ends: readonly [string, string];
}): Figure {
  const { name, title, caption, layers, heads, cells, ends } = options;
  const longest = Math.max(...cells.map(({ text, isMarked }) => text.length + (isMarked ? 2 : 0)));
  return drawFigure({
    name,
    title,
    caption,
    columns: heads,
    draw: (width) => {
      const cellHeight = Math.min(34, Math.max(isNarrow(width) ? 7 : 9, 470 / layers));
      const cellWidth = (width - 60) / heads;
      const hasText = cellWidth >= 2 + LETTER_WIDTH * longest && cellHeight >= 24;
      const side = Math.min(cellWidth, cellHeight);
      const inset = side > 6 ? 0.75 : 0.25;
      return {
        plot: {
          height: 66 + 44 + cellHeight * layers - 34,
          marginTop: 32,
          marginBottom: 44,
          marginLeft: 44,
          marginRight: 16,
          x: {
            domain: range(heads),
            label: 'KV head',
            labelArrow: 'none',
            ticks: chooseTicks(heads, (width - 60) / 26),
            tickSize: 0,
            padding: 0,
            round: false,
            labelAnchor: 'center',
          },
          y: {
            domain: range(layers),
            label: 'layer',
            labelArrow: 'none',
            ticks: chooseTicks(layers, (cellHeight * layers) / 16),
            tickSize: 0,
            padding: 0,
            round: false,
            labelAnchor: 'top',
          },
          marks: [
            Plot.cell(cells, {
              x: 'head',
              y: 'layer',
              fill: (cell) => rampColour(cell.shade),
              inset,
              rx: side > 14 ? 2 : 0,
              className: TIPS,
              ariaLabel: 'label',
            }),
            ...(hasText
              ? [
                  Plot.text(cells, {
                    x: 'head',
                    y: 'layer',
                    text: (cell) => `${cell.isMarked ? '● ' : ''}${cell.text}`,
                    fill: (cell) => onRampColour(cell.shade),
                    pointerEvents: 'none',
                  }),
                ]
              : [
                  Plot.dot(
                    cells.filter((cell) => cell.isMarked),
                    {
                      x: 'head',
                      y: 'layer',
                      r: Math.min(4, side / 5),
                      fill: (cell) => onRampColour(cell.shade),
                      pointerEvents: 'none',
                    },
                  ),
                ]),
          ],
        },
        extra: drawRampLegend(width, ends),
      };
    },
  });
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** Every n-th index, n a round number, at most `most` of them. */
function chooseTicks(count: number, most: number): number[] {
  const step =
    [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 500, 512].find((size) => count / size <= most) ?? count;
  return range(count).filter((index) => index % step === 0);
}

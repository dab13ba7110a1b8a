// The heat map of gates: a row a layer, a column a KV head, darker = nearer to 1; a dot marks the mask's retrieval heads.
import * as Plot from '@observablehq/plot';
import type { GateGrid, MaskGrid } from '../../core/shapes.ts';
import { onRampColour, rampColour } from '../theme.ts';
import { drawFigure, drawRampLegend, type Figure, isNarrow, TIPS } from './figure.ts';

/** Cells beyond it would be under a pixel; the table beside the report has every gate. */
export const MAX_MAP_CELLS = 16_384;

/** @param mask its retrieval heads are marked; null marks none. */
export function drawGateMap(gates: GateGrid, mask: MaskGrid | null): Figure {
  const layers = gates.length;
  const heads = gates[0]?.length ?? 0;
  const cells = gates.flatMap((row, layer) =>
    row.map((gate, head) => ({ layer, head, gate, isRetrieval: mask?.[layer]?.[head] === 1 })),
  );
  return drawFigure({
    name: 'gate-map',
    title: 'Gates by layer and KV head',
    caption: `Gate of each KV head: 1 needs the whole context, 0 does with sinks and recent tokens.${mask ? ' A dot marks the heads that the mask keeps whole.' : ''}`,
    columns: heads,
    draw: (width) => {
      const cellHeight = Math.min(34, Math.max(isNarrow(width) ? 7 : 9, 470 / layers));
      const cellWidth = (width - 60) / heads;
      const hasText = cellWidth >= 30 && cellHeight >= 24;
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
              fill: (cell) => rampColour(cell.gate),
              inset,
              rx: side > 14 ? 2 : 0,
              className: TIPS,
              ariaLabel: (cell) =>
                `layer ${cell.layer}, KV head ${cell.head}: gate ${cell.gate.toFixed(3)}${mask ? (cell.isRetrieval ? ', retrieval' : ', streaming') : ''}`,
            }),
            ...(hasText
              ? [
                  Plot.text(cells, {
                    x: 'head',
                    y: 'layer',
                    text: (cell) => `${cell.isRetrieval ? '● ' : ''}${cell.gate.toFixed(2)}`,
                    fill: (cell) => onRampColour(cell.gate),
                    pointerEvents: 'none',
                  }),
                ]
              : [
                  Plot.dot(
                    cells.filter((cell) => cell.isRetrieval),
                    {
                      x: 'head',
                      y: 'layer',
                      r: Math.min(4, side / 5),
                      fill: (cell) => onRampColour(cell.gate),
                      pointerEvents: 'none',
                    },
                  ),
                ]),
          ],
        },
        extra: drawRampLegend(width, ['gate 0', '1']),
      };
    },
  });
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** Every n-th index, n a round number, at most `most` of them. */
export function chooseTicks(count: number, most: number): number[] {
  const step =
    [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 500, 512].find((size) => count / size <= most) ?? count;
  return range(count).filter((index) => index % step === 0);
}

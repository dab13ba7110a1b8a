// Needle in a haystack: accuracy by length (across) and depth of the needle (down), one figure per mask, full next to masked.
import * as Plot from '@observablehq/plot';
import { formatShare, formatShareInterval, formatTokens } from '../../core/words.ts';
import type { EvalRow } from '../../formats/results.ts';
import { onRampColour, rampColour } from '../theme.ts';
import { drawFigure, drawRampLegend, type Figure, isNarrow, TIPS } from './figure.ts';

/** Grids of each task under full attention and under the mask (`given`, else the first other one); [] without grid rows. */
export function drawNeedleMaps(rows: readonly EvalRow[]): Figure[] {
  const grid = rows.filter((row) => row.depth !== null && row.length !== null);
  const tasks = [...new Set(grid.map((row) => row.task))];
  return tasks.flatMap((task) => {
    const own = grid.filter((row) => row.task === task);
    const names = [...new Set(own.map((row) => row.mask))];
    const masked = names.includes('given') ? 'given' : names.find((name) => name !== 'full');
    const shown = ['full', masked].filter((name) => name !== undefined && names.includes(name)) as string[];
    return shown.map((mask) =>
      drawNeedleMap(
        own.filter((row) => row.mask === mask),
        { task, mask },
      ),
    );
  });
}

function drawNeedleMap(rows: readonly EvalRow[], options: { task: string; mask: string }): Figure {
  const { task, mask } = options;
  const lengths = [...new Set(rows.map((row) => row.length as number))].sort((a, b) => a - b);
  const depths = [...new Set(rows.map((row) => row.depth as number))].sort((a, b) => a - b);
  const ordered = [...rows].sort(
    (a, b) => (a.depth as number) - (b.depth as number) || (a.length as number) - (b.length as number),
  );
  const mean = rows.reduce((sum, row) => sum + row.accuracy, 0) / rows.length;
  return drawFigure({
    name: `needle-${task}-${mask}`.replace(/[^a-zA-Z0-9-]+/g, '-'),
    title: `${task}: ${mask === 'full' ? 'full attention' : mask === 'given' ? 'with the mask' : mask}`,
    caption: `Accuracy in % by length and depth of the needle; mean ${formatShare(mean)}, ${rows[0]!.samples} samples per cell.`,
    columns: lengths.length,
    draw: (width) => {
      const cellHeight = Math.min(34, Math.max(14, 300 / depths.length));
      const hasText = (width - 66) / lengths.length >= (isNarrow(width) ? 26 : 28);
      return {
        plot: {
          height: 76 + cellHeight * depths.length,
          marginTop: 32,
          marginBottom: 44,
          marginLeft: 50,
          marginRight: 16,
          x: {
            domain: lengths,
            label: 'length, tokens',
            labelArrow: 'none',
            labelAnchor: 'center',
            tickFormat: formatTokens,
            ticks: thin(lengths, (width - 66) / 40),
            tickSize: 0,
            padding: 0,
            round: false,
          },
          y: {
            domain: depths,
            label: 'depth, %',
            labelArrow: 'none',
            tickFormat: (depth: number) => String(Math.round(100 * depth)),
            tickSize: 0,
            padding: 0,
            round: false,
          },
          marks: [
            Plot.cell(ordered, {
              x: 'length',
              y: 'depth',
              fill: (row: EvalRow) => rampColour(row.accuracy),
              inset: 0.75,
              rx: 2,
              className: TIPS,
              ariaLabel: (row: EvalRow) =>
                `${formatTokens(row.length as number)} tokens, depth ${Math.round(100 * (row.depth as number))} %: ${formatShare(row.accuracy)} (${formatShareInterval(row.accuracyInterval)})`,
            }),
            ...(hasText
              ? [
                  Plot.text(ordered, {
                    x: 'length',
                    y: 'depth',
                    text: (row: EvalRow) => String(Math.round(100 * row.accuracy)),
                    fill: (row: EvalRow) => onRampColour(row.accuracy),
                    pointerEvents: 'none',
                  }),
                ]
              : []),
          ],
        },
        extra: drawRampLegend(width, ['0 %', '100 %']),
      };
    },
  });
}

/** Every n-th value so that at most `most` remain. */
function thin(values: readonly number[], most: number): number[] {
  const step = Math.ceil(values.length / Math.max(1, most));
  return values.filter((_, index) => index % step === 0);
}

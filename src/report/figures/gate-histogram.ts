// How many gates lie where between 0 and 1: a run that separated its heads has two heaps and little between.
import * as Plot from '@observablehq/plot';
import { CLOSED_GATE, countGateStates, OPEN_GATE } from '../../core/numbers.ts';
import type { GateGrid, MaskGrid } from '../../core/shapes.ts';
import { drawFigure, type Figure, TIPS } from './figure.ts';

const BINS = 20;

/** @param mask adds the line between the highest streaming and the lowest retrieval gate, where the mask divides by gate. */
export function drawGateHistogram(gates: GateGrid, mask: MaskGrid | null): Figure {
  const counts = new Array<number>(BINS).fill(0);
  for (const gate of gates.flat()) counts[Math.min(BINS - 1, Math.floor(gate * BINS))]!++;
  const bins = counts.map((count, index) => ({ from: index / BINS, to: (index + 1) / BINS, count }));
  const { open, closed, undecided } = countGateStates(gates.flat());
  const cut = mask ? findCut(gates, mask) : null;
  return drawFigure({
    name: 'gate-histogram',
    title: 'How many heads at which gate',
    caption: `${open} gates at ${OPEN_GATE} or above, ${closed} at ${CLOSED_GATE} or below, ${undecided} between.${cut === null ? '' : ' The line is where the mask cuts.'}`,
    draw: () => ({
      plot: {
        height: 260,
        marginLeft: 44,
        marginBottom: 40,
        marginTop: 26,
        marginRight: 16,
        x: { domain: [0, 1], label: 'gate', labelArrow: 'none', labelAnchor: 'center', ticks: 5, tickSize: 0 },
        y: {
          label: 'KV heads',
          labelArrow: 'none',
          grid: true,
          ticks: chooseCountTicks(Math.max(...counts)),
          tickFormat: 'd',
          tickSize: 0,
          zero: true,
        },
        marks: [
          Plot.rect(
            bins.filter((bin) => bin.count > 0),
            {
              x1: 'from',
              x2: 'to',
              y1: 0,
              y2: 'count',
              inset: 1,
              fill: 'var(--series-1)',
              className: TIPS,
              ariaLabel: (bin) => `gate ${bin.from.toFixed(2)} to ${bin.to.toFixed(2)}: ${bin.count} KV heads`,
            },
          ),
          Plot.ruleY([0], { stroke: 'var(--soft)' }),
          ...(cut === null
            ? []
            : [Plot.ruleX([cut], { stroke: 'var(--series-2)', strokeWidth: 2, strokeDasharray: '4,3' })]),
        ],
      },
    }),
  });
}

/** Middle of the gap between streaming and retrieval gates; null where they are mixed or one kind is absent. */
function findCut(gates: GateGrid, mask: MaskGrid): number | null {
  let highest = Number.NEGATIVE_INFINITY;
  let lowest = Number.POSITIVE_INFINITY;
  gates.forEach((row, layer) => {
    row.forEach((gate, head) => {
      if (mask[layer]?.[head] === 1) lowest = Math.min(lowest, gate);
      else highest = Math.max(highest, gate);
    });
  });
  return Number.isFinite(highest) && Number.isFinite(lowest) && highest <= lowest ? (highest + lowest) / 2 : null;
}

/** Whole numbers at round steps, at most five. */
function chooseCountTicks(most: number): number[] {
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((size) => most / size <= 5) ?? most;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
}

// The course of the gates over the steps: one line per KV head, in the colour of the label that the mask gave it.
import * as Plot from '@observablehq/plot';
import type { MaskGrid } from '../../core/shapes.ts';
import type { MetricsLine } from '../../formats/metrics.ts';
import { drawFigure, type Figure, TIPS } from './figure.ts';

/** Lines beyond it merge into a solid; every n-th head is drawn. */
const MAX_LINES = 256;

/** @returns null with fewer than two lines of metrics that hold gates. */
export function drawGateCourse(metrics: readonly MetricsLine[], mask: MaskGrid | null): Figure | null {
  const course = metrics.flatMap(({ step, gates }) => (gates ? [{ step: step + 1, gates }] : []));
  if (course.length < 2) return null;
  const heads = course[0]!.gates.flatMap((row, layer) => row.map((_, head) => ({ layer, head })));
  const every = Math.ceil(heads.length / MAX_LINES);
  const drawn = heads.filter((_, index) => index % every === 0);
  const points = drawn.flatMap(({ layer, head }) =>
    course.map(({ step, gates }) => ({
      step,
      gate: gates[layer]?.[head] ?? 0,
      line: `${layer}.${head}`,
      isRetrieval: mask?.[layer]?.[head] === 1,
    })),
  );
  const bins = course.map(({ step, gates }, index) => {
    const values = gates.flat();
    const before = course[index - 1]?.step ?? 0;
    return {
      from: index === 0 ? Math.min(step - 1, 0) : (before + step) / 2,
      to: index === course.length - 1 ? step : (step + course[index + 1]!.step) / 2,
      words: `step ${step}: ${values.filter((gate) => gate >= 0.5).length} of ${values.length} gates at 0.5 or above, mean ${(values.reduce((a, b) => a + b, 0) / values.length).toFixed(3)}`,
    };
  });
  const colour = (isRetrieval: boolean): string => (!mask || isRetrieval ? 'var(--series-1)' : 'var(--neutral)');
  return drawFigure({
    name: 'gate-course',
    title: 'Course of the gates',
    caption: `One line for each KV head${every > 1 ? ` (every ${every}th head)` : ''}.${mask ? ' Blue heads end as retrieval heads, grey ones stream.' : ''}`,
    draw: () => ({
      plot: {
        height: 280,
        marginLeft: 44,
        marginBottom: 40,
        marginTop: 26,
        marginRight: 16,
        x: { label: 'step', labelArrow: 'none', labelAnchor: 'center', ticks: 5, tickSize: 0, tickFormat: 'd' },
        y: { domain: [0, 1], label: 'gate', labelArrow: 'none', grid: true, ticks: 5, tickSize: 0 },
        marks: [
          ...[false, true].map((isRetrieval) =>
            Plot.line(
              points.filter((point) => point.isRetrieval === isRetrieval),
              {
                x: 'step',
                y: 'gate',
                z: 'line',
                stroke: colour(isRetrieval),
                strokeWidth: drawn.length > 64 ? 1 : 1.5,
                strokeOpacity: drawn.length > 64 ? 0.45 : 0.85,
              },
            ),
          ),
          drawBins(bins),
        ],
      },
    }),
  });
}

/** Invisible bands over a plot whose x is the step; each answers with its words. */
export function drawBins(bins: readonly { from: number; to: number; words: string }[]): Plot.Markish {
  return Plot.rectX(bins, {
    x1: 'from',
    x2: 'to',
    fill: 'var(--ink)',
    fillOpacity: 0,
    className: `${TIPS} bands`,
    ariaLabel: 'words',
  });
}

// Loss over the steps: the distillation loss alone on its own scale, and the objective with its two parts.
import * as Plot from '@observablehq/plot';
import { formatNumber } from '../../core/words.ts';
import type { MetricsLine } from '../../formats/metrics.ts';
import { drawEndLabel, drawFigure, type Figure, spreadLabels } from './figure.ts';
import { drawBins } from './gate-course.ts';

/** Points of a curve; longer runs are averaged over equal groups of steps. */
const MAX_POINTS = 200;
/** A loss that falls further than this is drawn on a logarithmic scale. */
const LOG_RATIO = 30;

interface Point {
  readonly from: number;
  readonly to: number;
  readonly step: number;
  readonly loss: number;
  readonly distillation: number;
  readonly penalty: number;
}

/** @param distance what a step's loss is, as the start of a sentence.  @returns [] with fewer than two steps. */
export function drawLossCurves(metrics: readonly MetricsLine[], { distance }: { distance: string }): Figure[] {
  if (metrics.length < 2) return [];
  const points = groupSteps(metrics);
  const averaged = points.length < metrics.length ? ` Means over ${Math.ceil(metrics.length / MAX_POINTS)} steps.` : '';
  return [
    drawCurves({
      name: 'loss-distillation',
      title: 'Distillation loss',
      caption: `${distance}.${averaged}`,
      points,
      curves: [{ key: 'distillation', label: '', colour: 'var(--series-1)' }],
    }),
    drawCurves({
      name: 'loss-objective',
      title: 'Objective and its parts',
      caption: `The optimiser lowers distillation plus penalty (λ × mean gate).${averaged}`,
      points,
      curves: [
        { key: 'loss', label: 'objective', colour: 'var(--ink)' },
        { key: 'penalty', label: 'penalty', colour: 'var(--series-2)' },
        { key: 'distillation', label: 'distillation', colour: 'var(--series-1)' },
      ],
    }),
  ];
}

function drawCurves(options: {
  readonly name: string;
  readonly title: string;
  readonly caption: string;
  readonly points: readonly Point[];
  readonly curves: readonly { key: 'loss' | 'distillation' | 'penalty'; label: string; colour: string }[];
}): Figure {
  const { points, curves } = options;
  const values = points.flatMap((point) => curves.map(({ key }) => point[key]));
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const isLog = curves.length === 1 && least > 0 && most / least > LOG_RATIO;
  const top = 26;
  const height = 260;
  const bottom = height - 40;
  const domain = isLog ? [least, most] : [Math.min(0, least), most || 1];
  const place = (value: number): number => {
    const [low, high] = isLog ? domain.map(Math.log) : domain;
    const at = isLog ? Math.log(value) : value;
    return bottom - ((at - (low as number)) / ((high as number) - (low as number))) * (bottom - top);
  };
  const bins = points.map((point) => ({
    from: point.from,
    to: point.to,
    words: `step ${point.step}: ${curves.map(({ key, label }) => `${label || 'loss'} ${formatNumber(point[key])}`).join(', ')}`,
  }));
  return drawFigure({
    name: options.name,
    title: options.title,
    caption: options.caption + (isLog ? ' Logarithmic scale.' : ''),
    draw: (width) => {
      const right = curves.length > 1 ? 86 : 16;
      const ends = spreadLabels(
        curves.map(({ key }) => place(points.at(-1)![key])),
        { top, bottom },
      );
      return {
        plot: {
          height,
          marginLeft: 52,
          marginBottom: 40,
          marginTop: top,
          marginRight: right,
          x: { label: 'step', labelArrow: 'none', labelAnchor: 'center', ticks: 5, tickSize: 0, tickFormat: 'd' },
          y: {
            type: isLog ? 'log' : 'linear',
            domain,
            label: 'loss',
            labelArrow: 'none',
            grid: true,
            ticks: isLog ? chooseLogTicks(least, most) : 5,
            tickSize: 0,
            tickFormat: (value: number) => formatNumber(value),
          },
          marks: [
            ...curves.map(({ key, colour }) =>
              Plot.line(points, { x: 'step', y: key, stroke: colour, strokeWidth: key === 'loss' ? 1.5 : 2 }),
            ),
            drawBins(bins),
          ],
        },
        extra: curves
          .map(({ label, colour }, index) =>
            drawEndLabel({ x: width - right + 6, y: ends[index] as number, text: label, colour }),
          )
          .join(''),
      };
    },
  });
}

function groupSteps(metrics: readonly MetricsLine[]): Point[] {
  const size = Math.ceil(metrics.length / MAX_POINTS);
  const points: Point[] = [];
  for (let start = 0; start < metrics.length; start += size) {
    const group = metrics.slice(start, start + size);
    const mean = (key: 'loss' | 'distillation' | 'penalty'): number =>
      group.reduce((sum, line) => sum + line[key], 0) / group.length;
    const [from, to] = [group[0]!.step + 0.5, group.at(-1)!.step + 1.5];
    points.push({
      from,
      to,
      step: Math.round((from + to) / 2),
      loss: mean('loss'),
      distillation: mean('distillation'),
      penalty: mean('penalty'),
    });
  }
  return points;
}

/** 1 and 3 times the powers of ten inside the domain. */
function chooseLogTicks(least: number, most: number): number[] {
  const powers = Array.from({ length: 40 }, (_, index) => 10 ** (index - 20));
  return powers.flatMap((power) => [power, 3 * power]).filter((tick) => tick >= least && tick <= most);
}

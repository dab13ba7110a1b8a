// Lines over one axis with their names at the right end: what the curves of budgets, of methods and of a comparison share, axes, bars and labels.
import * as Plot from '@observablehq/plot';
import { drawEndLabel, drawFigure, type Figure, isNarrow, spreadLabels, TIPS } from './figure.ts';

const COLOURS = 6;
/** Lines of one colour in turn: solid, dashed, dotted. */
const DASHES = ['none', '6,3', '2,3'];

export interface CurvePoint {
  readonly x: number;
  readonly y: number;
  /** ends of a bar about it */
  readonly low?: number;
  readonly high?: number;
  /** text shown on hover or focus; with it the point is drawn as a dot */
  readonly words?: string;
}

export interface Curve {
  /** at its right end; null where another curve of its colour is named */
  readonly name: string | null;
  readonly colour: string;
  /** of the name; default: as the line */
  readonly nameColour?: string;
  readonly points: readonly CurvePoint[];
  readonly dash?: string;
  /** true = broad and pale, under the others */
  readonly isGround?: boolean;
}

/** An axis whose numbers are shares is labelled in percent. */
export interface CurveAxis {
  readonly label: string;
  readonly domain: readonly [number, number];
  readonly isShare: boolean;
}

/** Colour of the family at `index` of those that are coloured. */
export function seriesColour(index: number): string {
  return `var(--series-${(index % COLOURS) + 1})`;
}

/** Dash of the line that is the `turn`-th of its family, counted from 0. */
export function dashOf(turn: number): string {
  return DASHES[turn % DASHES.length] as string;
}

/** Draw the curves. @param options.level a dashed line across, where there is one.  @param options.marks on top of the curves. */
export function drawCurves(options: {
  readonly name: string;
  readonly title: string;
  readonly caption: string;
  readonly x: CurveAxis;
  readonly y: CurveAxis;
  readonly curves: readonly Curve[];
  readonly level?: number | null;
  readonly marks?: readonly Plot.Markish[];
  /** pixels; default 320 */
  readonly height?: number;
}): Figure {
  const { name, title, caption, x, y, curves, level = null, marks = [], height = 320 } = options;
  const top = 26;
  const bottom = height - 44;
  const [least, most] = y.domain;
  const place = (value: number): number => bottom - ((value - least) / (most - least)) * (bottom - top);
  const named = curves.filter((curve) => curve.name !== null);
  const longest = Math.max(...named.map((curve) => (curve.name as string).length));
  const wanted = named.map(({ points }) => place(points.at(-1)?.y ?? least));
  const ordered = [...curves].sort((a, b) => Number(b.isGround ?? false) - Number(a.isGround ?? false));
  return drawFigure({
    name,
    title,
    caption,
    draw: (width) => {
      const right = Math.min(isNarrow(width) ? 122 : 170, 16 + 7.6 * longest);
      const ends = spreadLabels(wanted, { top, bottom });
      return {
        plot: {
          height,
          marginTop: top,
          marginBottom: 44,
          marginLeft: 44,
          marginRight: right,
          x: { ...describeAxis(x), labelAnchor: 'center' },
          y: { ...describeAxis(y), grid: true },
          marks: [
            ...(level === null ? [] : [Plot.ruleY([level], { stroke: 'var(--ink)', strokeDasharray: '4,3' })]),
            ...ordered.flatMap(drawCurve),
            ...drawDots(curves),
            ...marks,
          ],
        },
        extra: named
          .map(({ name: text, colour, nameColour }, index) =>
            drawEndLabel({
              x: width - right + 8,
              y: ends[index] as number,
              text: text as string,
              colour: nameColour ?? colour,
            }),
          )
          .join(''),
      };
    },
  });
}

function describeAxis({ label, domain, isShare }: CurveAxis): Plot.ScaleOptions {
  const tickFormat = isShare ? (share: number) => String(Math.round(100 * share)) : 'd';
  return { domain: [...domain], label, labelArrow: 'none', ticks: 5, tickSize: 0, tickFormat };
}

function drawCurve({ colour, points, dash = 'none', isGround = false }: Curve): Plot.Markish[] {
  const bars = points.filter(({ low, high }) => low !== undefined && high !== undefined);
  return [
    ...(bars.length === 0
      ? []
      : [Plot.ruleX(bars, { x: 'x', y1: 'low', y2: 'high', stroke: colour, strokeOpacity: 0.45, strokeWidth: 2 })]),
    Plot.line(points, {
      x: 'x',
      y: 'y',
      stroke: colour,
      strokeDasharray: dash,
      ...(isGround ? { strokeWidth: 7, strokeOpacity: 0.45 } : { strokeWidth: 2 }),
    }),
  ];
}

/** Every point that says something, in one mark, so that the arrow keys go through all of them. */
function drawDots(curves: readonly Curve[]): Plot.Markish[] {
  const dots = curves.flatMap(({ points, colour }) =>
    points.flatMap((point) => (point.words === undefined ? [] : [{ ...point, colour }])),
  );
  if (dots.length === 0) return [];
  const fill = ({ colour }: { colour: string }): string => colour;
  return [Plot.dot(dots, { x: 'x', y: 'y', r: 4, fill, className: TIPS, ariaLabel: 'words' })];
}

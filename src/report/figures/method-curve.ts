// Recall against the number of streaming heads: one line a method that scores heads, greedy removal as the broad line beneath.
import * as Plot from '@observablehq/plot';
import { formatShare } from '../../core/words.ts';
import { type Comparison, GROUND_TRUTH } from '../../formats/comparison.ts';
import { drawEndLabel, drawFigure, type Figure, isNarrow, spreadLabels } from './figure.ts';
import { drawBins } from './gate-course.ts';

const COLOURS = 6;
/** Lines of one family in turn: solid, dashed, dotted. */
const DASHES = ['none', '6,3', '2,3'];

/** What lines of one colour share: `quadratic, finite, 2 rounds` is `quadratic, finite`; the engine in brackets is left out. */
function familyOf(name: string): string {
  return name.replace(/ \(.*\)$/, '').replace(/, \d+ rounds$/, '');
}

/** @param comparison as readComparison gives it: at least two budgets, greedy removal among the rows. */
export function drawMethodCurves({ budgets, rows, heldOut }: Comparison): Figure {
  const families = [...new Set(rows.map(({ name }) => familyOf(name)))];
  const coloured = families.filter((family) => family !== GROUND_TRUTH);
  const colour = (family: string): string =>
    family === GROUND_TRUTH ? 'var(--neutral)' : `var(--series-${(coloured.indexOf(family) % COLOURS) + 1})`;
  const lines = rows.map(({ name, recall }, index) => {
    const family = familyOf(name);
    const turn = rows.slice(0, index).filter((row) => familyOf(row.name) === family).length;
    const points = budgets.map((streaming, at) => ({ streaming, recall: recall[at] as number }));
    return { family, points, dash: DASHES[turn % DASHES.length] as string };
  });
  const order = [...lines].sort((a, b) => Number(b.family === GROUND_TRUTH) - Number(a.family === GROUND_TRUTH));
  const [first, last] = [budgets[0] as number, budgets.at(-1) as number];
  const bins = budgets.map((streaming, at) => ({
    from: at === 0 ? first : (streaming + (budgets[at - 1] as number)) / 2,
    to: at === budgets.length - 1 ? last : (streaming + (budgets[at + 1] as number)) / 2,
    words: `${streaming} streaming: ${rows.map(({ name, recall }) => `${name} ${formatShare(recall[at] as number)}`).join('; ')}`,
  }));
  const [top, height] = [26, 320];
  const bottom = height - 44;
  const longest = Math.max(...families.map((family) => family.length));
  return drawFigure({
    name: 'methods',
    title: 'Recall by number of streaming heads',
    caption: `Share of answer tokens right under each method's mask, ${heldOut} held-out samples. Broad grey: greedy removal, the ground truth. Lines of one colour are rounds of one method: solid, dashed, dotted.`,
    draw: (width) => {
      const right = Math.min(isNarrow(width) ? 122 : 170, 16 + 7.6 * longest);
      const ends = spreadLabels(
        families.map((family) => {
          const line = lines.find((one) => one.family === family);
          return bottom - (line?.points.at(-1)?.recall ?? 0) * (bottom - top);
        }),
        { top, bottom },
      );
      return {
        plot: {
          height,
          marginTop: top,
          marginBottom: 44,
          marginLeft: 44,
          marginRight: right,
          x: {
            domain: [first, last],
            label: 'streaming KV heads',
            labelArrow: 'none',
            labelAnchor: 'center',
            ticks: 5,
            tickSize: 0,
            tickFormat: 'd',
          },
          y: {
            domain: [0, 1],
            label: 'recall, %',
            labelArrow: 'none',
            grid: true,
            ticks: 5,
            tickSize: 0,
            tickFormat: (share: number) => String(Math.round(100 * share)),
          },
          marks: [
            ...order.map(({ family, points, dash }) =>
              Plot.line(points, {
                x: 'streaming',
                y: 'recall',
                stroke: colour(family),
                strokeDasharray: dash,
                ...(family === GROUND_TRUTH ? { strokeWidth: 7, strokeOpacity: 0.45 } : { strokeWidth: 1.75 }),
              }),
            ),
            drawBins(bins),
          ],
        },
        extra: families
          .map((text, index) =>
            drawEndLabel({
              x: width - right + 8,
              y: ends[index] as number,
              text,
              colour: text === GROUND_TRUTH ? 'var(--soft)' : colour(text),
            }),
          )
          .join(''),
      };
    },
  });
}

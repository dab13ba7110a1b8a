// Recall against the number of streaming heads: one line per method that scores heads, greedy removal as the broad line beneath.
import { formatShare } from '../../core/words.ts';
import { type Comparison, GROUND_TRUTH } from '../../formats/comparison.ts';
import { type Curve, dashOf, drawCurves, seriesColour } from './curves.ts';
import type { Figure } from './figure.ts';
import { drawBins } from './gate-course.ts';

/** What lines of one colour share: `quadratic, finite, 2 rounds` is `quadratic, finite`; the engine in brackets is left out. */
function familyOf(name: string): string {
  return name.replace(/ \(.*\)$/, '').replace(/, \d+ rounds$/, '');
}

/** @param comparison as readComparison gives it: at least two budgets, greedy removal among the rows. */
export function drawMethodCurves({ budgets, rows, heldOut }: Comparison): Figure {
  const families = [...new Set(rows.map(({ name }) => familyOf(name)))];
  const coloured = families.filter((family) => family !== GROUND_TRUTH);
  const [first, last] = [budgets[0] as number, budgets.at(-1) as number];
  const bins = budgets.map((streaming, at) => ({
    from: at === 0 ? first : (streaming + (budgets[at - 1] as number)) / 2,
    to: at === budgets.length - 1 ? last : (streaming + (budgets[at + 1] as number)) / 2,
    words: `${streaming} streaming: ${rows.map(({ name, recall }) => `${name} ${formatShare(recall[at] as number)}`).join('; ')}`,
  }));
  const curves = rows.map(({ name, recall }, index): Curve => {
    const family = familyOf(name);
    const turn = rows.slice(0, index).filter((row) => familyOf(row.name) === family).length;
    const isGround = family === GROUND_TRUTH;
    return {
      name: turn === 0 ? family : null,
      colour: isGround ? 'var(--neutral)' : seriesColour(coloured.indexOf(family)),
      ...(isGround && { nameColour: 'var(--soft)', isGround }),
      dash: dashOf(turn),
      points: budgets.map((streaming, at) => ({ x: streaming, y: recall[at] as number })),
    };
  });
  return drawCurves({
    name: 'methods',
    title: 'Recall by number of streaming heads',
    caption: `Share of answer tokens right under each method's mask, ${heldOut} held-out samples. Broad grey: greedy removal, the ground truth. Lines of one colour are rounds of one method: solid, dashed, dotted.`,
    x: { label: 'streaming KV heads', domain: [first, last], isShare: false },
    y: { label: 'recall, %', domain: [0, 1], isShare: true },
    curves,
    marks: [drawBins(bins)],
  });
}

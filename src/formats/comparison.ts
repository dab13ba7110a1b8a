// comparison.json of a run folder: what scripts/compare-methods.ts measured of the ways to score heads, read and checked.
import { z } from 'zod';
import { FormatError } from '../errors/errors.ts';
import { checkJson, finiteNumber, formatFound, readJson, textUpTo, unitNumber } from './read-json.ts';

/** A comparison of eleven methods at 65 budgets is 30 KB. */
const MAX_COMPARISON_BYTES = 16 * 2 ** 20;
/** The method that the others' recall is compared with. */
export const GROUND_TRUTH = 'greedy removal';

const rowSchema = z.looseObject({
  name: textUpTo(80),
  seconds: finiteNumber,
  /** null where the method reads attention instead of distilling */
  forwards: finiteNumber.nullable(),
  /** null where the method has no gates, only a ranking */
  meanGateDifference: finiteNumber.nullable(),
  largestGateDifference: finiteNumber.nullable(),
  /** one per budget */
  recall: z.array(unitNumber),
  meanRecall: unitNumber,
  belowGatesBeyondInterval: finiteNumber,
  /** null where greedy removal finds no budget at which heads differ */
  sameLabelsAsGreedy: unitNumber.nullable(),
});
const stabilitySchema = z.looseObject({
  step: textUpTo(80),
  rounds: finiteNumber,
  samples: finiteNumber,
  meanOverlap: unitNumber.nullable(),
  leastOverlap: unitNumber.nullable(),
  gateDifference: finiteNumber,
});
const comparisonSchema = z.looseObject({
  model: z.string(),
  preset: z.string(),
  shape: z.looseObject({
    architecture: z.string(),
    layers: finiteNumber,
    heads: finiteNumber,
    kvHeads: finiteNumber,
    headDim: finiteNumber,
  }),
  engine: z.string(),
  device: z.string(),
  cpu: z.string(),
  tokens: finiteNumber,
  lambda: finiteNumber,
  heldOut: finiteNumber,
  /** hash of the mask of the run it belongs to; absent where it was written outside a run */
  maskHash: z.string().nullable().optional(),
  /** numbers of streaming heads, rising */
  budgets: z.array(finiteNumber),
  rows: z.array(rowSchema),
  stability: z.array(stabilitySchema).optional(),
});
export type Comparison = z.infer<typeof comparisonSchema>;
export type ComparisonRow = Comparison['rows'][number];

/** Read comparison.json.
 * @throws {FileError} unreadable; {FormatError} malformed, budgets that do not rise within the model's heads, a recall that is not
 *   one number per budget, a name twice, or no row of greedy removal. */
export function readComparison(path: string): Comparison {
  const comparison = checkJson(comparisonSchema, { value: readJson(path, MAX_COMPARISON_BYTES), path });
  const { budgets, rows, shape } = comparison;
  const expect = (isMet: boolean, expected: { place: string; words: string; found: unknown }): void => {
    const { place, words, found } = expected;
    if (!isMet)
      throw new FormatError(`Expected \`${place}\` in ${path} to be ${words}, got \`${formatFound(found)}\`.`);
  };
  const heads = shape.layers * shape.kvHeads;
  expect(budgets.length >= 2, { place: 'budgets', words: 'at least two numbers of heads', found: budgets });
  budgets.forEach((budget, index) => {
    const least = index === 0 ? 0 : (budgets[index - 1] as number) + 1;
    const words = `an integer from ${least} to ${heads}`;
    const isMet = Number.isInteger(budget) && budget >= least && budget <= heads;
    expect(isMet, { place: `budgets[${index}]`, words, found: budget });
  });
  const names = rows.map(({ name }) => name);
  rows.forEach(({ name, recall }, index) => {
    const words = `${budgets.length} numbers, one per budget`;
    expect(recall.length === budgets.length, { place: `rows[${index}].recall`, words, found: recall.length });
    const isFirst = names.indexOf(name) === index;
    expect(isFirst, { place: `rows[${index}].name`, words: 'a method not named before', found: name });
  });
  expect(names.includes(GROUND_TRUTH), {
    place: 'rows',
    words: `rows with \`${GROUND_TRUTH}\` among them`,
    found: names,
  });
  return comparison;
}

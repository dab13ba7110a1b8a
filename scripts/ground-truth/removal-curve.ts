// Recall at every budget when heads are removed in a given order: what greedy removal, gates and random orders are compared by.
import { makeHeadMask } from '../../src/core/head-mask.ts';
import { makeRandom } from '../../src/core/random.ts';
import type { Sample, Window } from '../../src/core/shapes.ts';
import { measureMeanFootprint } from '../../src/eval/footprint.ts';
import {
  bootstrapInterval,
  computeWilsonInterval,
  countEffectiveSamples,
  type Interval,
} from '../../src/eval/metrics/confidence.ts';
import { type HeadPlace, makeRemovedMask } from './ground-truth.ts';
import type { MaskScores } from './mask-scores.ts';

/** What is left when the first `streaming` heads of an order stream. */
export interface BudgetRow {
  readonly streaming: number;
  /** time-integrated KV footprint, share of full */
  readonly footprint: number;
  readonly accuracy: number;
  /** 95 %, Wilson over samples */
  readonly accuracyInterval: Interval;
  /** accuracy less that of full, 95 %, paired bootstrap over samples */
  readonly lossInterval: Interval;
  readonly logProb: number;
}

export interface BudgetCurve {
  readonly task: string;
  /** of the order */
  readonly name: string;
  /** 0 streaming heads first, all last */
  readonly rows: readonly BudgetRow[];
}

/** What a curve says in a few numbers: each the most streaming heads up to which something holds at every smaller number too. */
export interface CurveSummary {
  readonly name: string;
  /** accuracy of full attention */
  readonly full: number;
  /** the paired interval of the difference to full reaches 0 */
  readonly equal: number;
  /** accuracy at one streaming head more than `equal`; null where all heads stream */
  readonly afterEqual: number | null;
  /** 0.99 of full is kept */
  readonly keeps99: number;
  /** 0.9 of full is kept */
  readonly keeps90: number;
}

/** Measure an order's masks, from none streaming to all. @throws as MaskScores.read. */
export async function measureCurve(options: {
  readonly task: string;
  readonly name: string;
  /** all heads, the first to stream first */
  readonly order: readonly HeadPlace[];
  readonly scores: MaskScores;
  /** those of `scores` */
  readonly samples: readonly Sample[];
  readonly window: Window;
}): Promise<BudgetCurve> {
  const { task, name, order, scores, samples, window } = options;
  const { weights, model } = scores;
  const runs = samples.map((sample) => ({ promptTokens: sample.tokens.length, outputTokens: 0 }));
  const full = await scores.read(makeRemovedMask([], model));
  const rows: BudgetRow[] = [];
  for (let streaming = 0; streaming <= order.length; streaming++) {
    const mask = makeRemovedMask(order.slice(0, streaming), model);
    const { accuracy, logProb } = await scores.read(mask);
    const mean = Math.min(1, scores.mean(accuracy));
    const differences = accuracy.map((value, index) => value - (full.accuracy[index] as number));
    rows.push({
      streaming,
      footprint: measureMeanFootprint(runs, makeHeadMask(mask, window)).integrated,
      accuracy: mean,
      accuracyInterval: computeWilsonInterval(mean, countEffectiveSamples(weights)),
      lossInterval: bootstrapInterval(differences, { weights, random: makeRandom(0, 'bootstrap') }),
      logProb: scores.mean(logProb),
    });
  }
  return { task, name, rows };
}

/** How far a curve's order may be followed. */
export function summariseCurve({ name, rows }: BudgetCurve): CurveSummary {
  const full = (rows[0] as BudgetRow).accuracy;
  const findLast = (holds: (row: BudgetRow) => boolean): number => {
    const first = rows.findIndex((row) => !holds(row));
    return (first < 0 ? rows.length : first) - 1;
  };
  const equal = findLast(({ lossInterval: [, high] }) => high >= 0);
  return {
    name,
    full,
    equal,
    afterEqual: rows[equal + 1]?.accuracy ?? null,
    keeps99: findLast(({ accuracy }) => accuracy >= 0.99 * full),
    keeps90: findLast(({ accuracy }) => accuracy >= 0.9 * full),
  };
}

const COLUMNS = [
  'task',
  'order',
  'streaming',
  'footprint',
  'accuracy',
  'accuracyLow',
  'accuracyHigh',
  'lossLow',
  'lossHigh',
  'logProb',
];

/** Curves as CSV (LF), a line per budget; shares with four decimals. */
export function formatCurvesCsv(curves: readonly BudgetCurve[]): string {
  const lines = curves.flatMap(({ task, name, rows }) =>
    rows.map(({ streaming, footprint, accuracy, accuracyInterval, lossInterval, logProb }) =>
      [
        task,
        name,
        streaming,
        ...[footprint, accuracy, ...accuracyInterval, ...lossInterval, logProb].map((value) => value.toFixed(4)),
      ].join(','),
    ),
  );
  return `${[COLUMNS.join(','), ...lines].join('\n')}\n`;
}

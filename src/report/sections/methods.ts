// The ways to score heads side by side: recall of their masks against greedy removal, agreement with the optimised gates, cost,
// and how far the quadratic's masks depend on samples.

import { formatSeconds, formatShare } from '../../core/words.ts';
import { type Comparison, type ComparisonRow, GROUND_TRUTH } from '../../formats/comparison.ts';
import { drawMethodCurves } from '../figures/method-curve.ts';
import type { RunData } from '../run-data.ts';
import { makeTable, type Table } from '../table.ts';
import type { SectionResult } from './section.ts';

export function buildMethodsSection({ comparison, ofAnotherMask }: RunData): SectionResult {
  const title = 'Methods compared';
  if (!comparison) {
    return {
      title,
      reason: ofAnotherMask.includes('comparison.json')
        ? 'comparison.json was made with another mask'
        : 'no comparison.json, which scripts/compare-methods.ts of the repository writes',
      command: null,
    };
  }
  return {
    id: 'methods',
    title,
    figures: [drawMethodCurves(comparison)],
    tables: [
      makeLossTable(comparison),
      makeAgreementTable(comparison),
      ...makeStabilityTable(comparison),
      makeRecallTable(comparison),
    ],
  };
}

/** Four columns, so that it fits next to the figure, whose lines often overlap. */
function makeLossTable({ rows, budgets }: Comparison): Table {
  const truth = findTruth(rows);
  const lossOf = ({ recall }: ComparisonRow): number =>
    Math.max(...recall.map((value, index) => (truth.recall[index] as number) - value));
  return makeTable({
    name: 'methods-loss',
    title: 'Recall over all budgets',
    rows,
    columns: [
      { label: 'method', value: (row) => row.name },
      { label: 'mean', value: (row) => row.meanRecall, show: (row) => formatShare(row.meanRecall) },
      { label: 'most below greedy', value: lossOf, show: (row) => formatShare(lossOf(row)) },
      {
        label: 'times below gates',
        value: (row) => row.belowGatesBeyondInterval,
        show: (row) => `${row.belowGatesBeyondInterval} of ${budgets.length}`,
      },
    ],
  });
}

function makeAgreementTable({ rows, model, preset, engine, device, cpu, tokens, lambda }: Comparison): Table {
  return makeTable({
    name: 'methods',
    title: `${model}, preset ${preset}: ${engine} on ${device}, ${cpu}, samples of ${tokens} tokens; gates at λ = ${lambda}`,
    rows,
    columns: [
      { label: 'method', value: (row) => row.name },
      { label: 'time', value: (row) => row.seconds, show: (row) => formatSeconds(row.seconds) },
      { label: 'forward passes', value: (row) => row.forwards },
      {
        label: 'off the optimised gates, mean',
        value: (row) => row.meanGateDifference,
        show: (row) => (row.meanGateDifference ?? 0).toFixed(3),
      },
      {
        label: 'at most',
        value: (row) => row.largestGateDifference,
        show: (row) => (row.largestGateDifference ?? 0).toFixed(3),
      },
      {
        label: 'labels as greedy',
        value: (row) => row.sameLabelsAsGreedy,
        show: (row) => formatShare(row.sameLabelsAsGreedy ?? 0),
      },
    ],
  });
}

/** Overlap of masks from two disjoint sets of samples; [] where it was not measured. */
function makeStabilityTable({ stability = [] }: Comparison): Table[] {
  if (stability.length === 0) return [];
  return [
    makeTable({
      name: 'methods-stability',
      title:
        'Quadratic: labels shared by masks of two disjoint sample sets, where greedy removal says that heads differ',
      rows: stability,
      columns: [
        { label: 'step', value: (row) => row.step },
        { label: 'rounds', value: (row) => row.rounds },
        { label: 'samples', value: (row) => row.samples },
        {
          label: 'shared labels, mean',
          value: (row) => row.meanOverlap,
          show: (row) => formatShare(row.meanOverlap ?? 0),
        },
        { label: 'least', value: (row) => row.leastOverlap, show: (row) => formatShare(row.leastOverlap ?? 0) },
        {
          label: 'difference of a gate, mean',
          value: (row) => row.gateDifference,
          show: (row) => row.gateDifference.toFixed(3),
        },
      ],
    }),
  ];
}

/** The figure's numbers: a row per budget, a column per method. */
function makeRecallTable({ budgets, rows }: Comparison): Table {
  return makeTable({
    name: 'methods-recall',
    title: 'Recall at every budget',
    isFolded: true,
    rows: budgets.map((_, index) => index),
    columns: [
      { label: 'streaming heads', value: (index) => budgets[index] as number },
      ...rows.map(({ name, recall }) => ({
        label: name,
        value: (index: number) => recall[index] as number,
        show: (index: number) => formatShare(recall[index] as number),
      })),
    ],
  });
}

/** readComparison made sure that it is there. */
function findTruth(rows: readonly ComparisonRow[]): ComparisonRow {
  return rows.find(({ name }) => name === GROUND_TRUTH) as ComparisonRow;
}

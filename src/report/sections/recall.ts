// What the mask keeps: the closing table of identify, and the tasks of `duo eval` as grids, budget curves and rows.

import { join } from 'node:path';
import { formatBytes, formatSeconds, formatShare, formatShareInterval, formatTokens } from '../../core/words.ts';
import { findCriticalRows } from '../../formats/critical-footprints.ts';
import type { EvalRow, Results } from '../../formats/results.ts';
import { isCut } from '../../formats/row-origin.ts';
import { formatCommand } from '../commands.ts';
import { drawBudgetCurves } from '../figures/budget-curve.ts';
import type { Figure } from '../figures/figure.ts';
import { drawNeedleMaps } from '../figures/needle-map.ts';
import { drawRecallDots } from '../figures/recall-dots.ts';
import { isOfGain, type Measured, nameMeasure, readMeasure } from '../measure.ts';
import type { RunData } from '../run-data.ts';
import { type Column, makeTable, type Table } from '../table.ts';
import { makePredictionTable } from './predictions.ts';
import type { SectionResult } from './section.ts';

/** Tasks beyond this number are only in the table. */
const MAX_TASK_FIGURES = 24;

export function buildClosingSection({ heldOut, keptGain, path, model }: RunData): SectionResult {
  const title = 'Held-out recall';
  if (heldOut.length === 0) {
    return {
      title,
      reason: 'run.json has no closing table',
      command: formatCommand([
        'duo',
        'identify',
        '--model',
        model,
        '--out',
        path,
        '--held-out-samples',
        '10',
        '--resume',
      ]),
    };
  }
  return {
    id: 'recall',
    title,
    figures: [
      drawRecallDots(heldOut, { name: 'recall', title: 'Answer tokens right, by mask' }),
      ...(isMeasured(keptGain)
        ? [drawRecallDots(keptGain, { name: 'kept-gain', title: 'Kept gain on held-out documents, by mask' })]
        : []),
    ],
    tables: [
      makeRowTable(heldOut, { name: 'recall', title: 'Closing table', isFolded: false }),
      ...(keptGain.length > 0
        ? [makeRowTable(keptGain, { name: 'kept-gain', title: 'Kept gain on held-out documents', isFolded: false })]
        : []),
    ],
  };
}

export function buildTasksSection({ results, predictions = [], path, model, ofAnotherMask }: RunData): SectionResult {
  const title = 'Held-out tasks';
  if (!results || results.rows.length === 0) {
    return {
      title,
      reason: 'no results.json',
      command: formatCommand([
        ...['duo', 'eval', '--model', model, '--mask', join(path, 'mask.json'), '--tasks', 'niah,multi-passkey'],
        ...['--lengths', '1k,4k', '--depths', '5', '--out', path],
      ]),
    };
  }
  const { rows } = results;
  const maps = drawNeedleMaps(rows);
  const curves = drawBudgetCurves(rows);
  const critical = makeCriticalTable(results);
  const answers = makePredictionTable(predictions);
  return {
    id: 'tasks',
    title,
    figures: [...maps, ...curves, ...drawSingleCuts(rows)].slice(0, MAX_TASK_FIGURES),
    tables: [
      ...(critical ? [critical] : []),
      ...(answers ? [answers] : []),
      makeRowTable(rows, {
        name: 'results',
        title: ofAnotherMask.includes('results.json')
          ? 'Every row; `another mask` is not the mask of this run'
          : 'Every row',
        isFolded: rows.length > 12,
      }),
    ],
  };
}

const isMeasured = (rows: readonly EvalRow[]): boolean => rows.some((row) => readMeasure(row) !== null);

/** Dots for tasks that were measured under one cut only, where there is no curve to draw. */
function drawSingleCuts(rows: readonly EvalRow[]): Figure[] {
  const keys = new Set(rows.filter((row) => row.depth === null).map((row) => JSON.stringify([row.task, row.length])));
  return [...keys].flatMap((key) => {
    const own = rows.filter((row) => row.depth === null && JSON.stringify([row.task, row.length]) === key);
    if (own.length < 2 || !isMeasured(own) || own.some(isCut)) return [];
    const { task, length } = own[0] as EvalRow;
    const at = length === null ? '' : `, ${formatTokens(length)} tokens`;
    const slug = `scores-${task}${length === null ? '' : `-${length}`}`.replace(/[^a-zA-Z0-9-]+/g, '-');
    return [drawRecallDots(own, { name: slug, title: `${task}${at}: ${nameMeasure(own[0] as EvalRow)} by mask` })];
  });
}

function makeRowTable(rows: readonly EvalRow[], options: { name: string; title: string; isFolded: boolean }): Table {
  const has = (key: 'length' | 'depth' | 'logProb'): boolean => rows.some((row) => row[key] !== null);
  const hasTasks = new Set(rows.map((row) => row.task)).size > 1;
  const when = (isShown: boolean, column: Column<EvalRow>): Column<EvalRow>[] => (isShown ? [column] : []);
  return makeTable({
    ...options,
    rows,
    columns: [
      ...when(hasTasks, { label: 'task', value: (row) => row.task }),
      { label: 'mask', value: (row) => row.mask },
      ...when(has('length'), {
        label: 'tokens',
        value: (row) => row.length,
        show: (row) => formatTokens(row.length ?? 0),
      }),
      ...when(has('depth'), { label: 'depth', value: (row) => row.depth, show: (row) => formatShare(row.depth ?? 0) }),
      ...when(!rows.every(isOfGain), {
        label: 'accuracy',
        value: (row) => (isOfGain(row) ? null : row.accuracy),
        show: (row) => formatShare(row.accuracy),
      }),
      ...when(rows.some(isOfGain), {
        label: 'kept gain',
        value: (row) => row.keptGain ?? null,
        show: (row) => formatShare(row.keptGain ?? 0),
      }),
      {
        label: '95 % interval',
        value: (row) => joinBounds(readMeasure(row)),
        show: (row) => {
          const { low, high } = readMeasure(row) as Measured;
          return formatShareInterval([low, high]);
        },
      },
      ...when(has('logProb'), {
        label: 'log-prob',
        value: (row) => row.logProb,
        show: (row) => (row.logProb ?? 0).toFixed(4),
      }),
      { label: 'samples', value: (row) => row.samples },
      {
        label: 'heads streaming',
        value: (row) => row.streamingFraction,
        show: (row) => formatShare(row.streamingFraction),
      },
      {
        label: 'KV at peak',
        value: (row) => row.kvBytes,
        show: (row) => `${formatBytes(row.kvBytes)} ${row.kvDtype}${row.kvRotation === true ? ' rotated' : ''}`,
      },
      { label: 'KV footprint', value: (row) => row.footprint, show: (row) => formatShare(row.footprint) },
      { label: 'prefill', value: (row) => row.prefill },
      { label: 'time', value: (row) => row.seconds, show: (row) => formatSeconds(row.seconds) },
    ],
  });
}

const joinBounds = (measured: Measured | null): string | null =>
  measured === null ? null : `${measured.low} to ${measured.high}`;

/** Smallest KV footprint that keeps a share of full attention's score, where `duo eval` found it. */
function makeCriticalTable(results: Results): Table | null {
  const critical = findCriticalRows(results);
  if (critical.length === 0) return null;
  return makeTable({
    name: 'critical-footprint',
    title: 'Smallest budget that keeps full accuracy',
    rows: critical,
    columns: [
      { label: 'task', value: (row) => row.task },
      { label: 'tokens', value: (row) => row.length, show: (row) => formatTokens(row.length ?? 0) },
      { label: 'method', value: (row) => row.method },
      { label: 'keeps', value: (row) => row.keep, show: (row) => `${Math.round(100 * row.keep)} % of full` },
      {
        label: 'critical KV footprint',
        value: (row) => row.footprint,
        show: (row) => `${row.isUpperBound ? '≤ ' : ''}${formatShare(row.footprint)}`,
      },
    ],
  });
}

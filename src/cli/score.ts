// duo score: kept predictions scored again, without a model.
import { type Command, Option } from 'commander';
import { refuseIdle } from '../config/idle.ts';
import { type ScoreRow, scorePredictions } from '../eval/score-predictions.ts';
import { PREDICTION_SUITES } from '../eval/suites/prediction-files.ts';
import { listGivenFlags } from './idle-flags.ts';
import { addLongbenchOptions, type LongbenchFlags, listLongbenchFlagUses } from './longbench-flags.ts';
import { formatTable, printJson, printResult } from './terminal.ts';

interface ScoreFlags extends LongbenchFlags {
  readonly suite?: string;
  readonly json?: boolean;
}

export function defineScoreCommand(command: Command): void {
  addLongbenchOptions(command)
    .argument(
      '<predictions...>',
      "predictions.jsonl of duo eval, an official project's prediction file, or a folder of them and of further folders",
    )
    .addOption(
      new Option('--suite <name>', 'whose scores; the name of an official file is its set or task').choices([
        ...PREDICTION_SUITES,
      ]),
    )
    .option('--json', "print the rows as JSON; scores are on the suites' own scale of 0 to 100")
    .action((paths: string[], flags: ScoreFlags) => score(paths, { flags, given: listGivenFlags(command) }));
}

function score(paths: readonly string[], options: { flags: ScoreFlags; given: ReadonlySet<string> }): void {
  const { flags, given } = options;
  const rows = scorePredictions(paths, flags);
  const names = rows.map(({ task }) => task);
  refuseIdle(given, listLongbenchFlagUses(names));
  if (flags.json) printJson({ rows });
  else printResult(formatScores(rows));
}

function formatScores(rows: readonly ScoreRow[]): string {
  const isOwn = rows.some((row) => row.mask !== undefined);
  const tasks = rows.map(({ task, mask, length, depth }) => JSON.stringify([task, mask, length, depth]));
  // where one task comes from several files, only the file says which row is which
  const isMixed = new Set(tasks).size < rows.length;
  const lead = (row: ScoreRow | null, task: string): string[] => [
    ...(isMixed ? [row?.file ?? ''] : []),
    task,
    ...(isOwn ? [String(row?.length ?? ''), row?.mask ?? ''] : []),
  ];
  const header = [
    ...(isMixed ? ['file'] : []),
    'task',
    ...(isOwn ? ['tokens', 'mask'] : []),
    ...['samples', 'score', '95 % interval', 'by'],
  ];
  const lines = rows.flatMap((row) => [
    [
      ...lead(row, row.task),
      String(row.samples),
      row.score.toFixed(2),
      row.interval.map((bound) => bound.toFixed(1)).join(' to '),
      row.metric,
    ],
    ...Object.entries(row.buckets ?? {}).map(([name, { score, samples }]) => [
      ...lead(null, `  ${name}`),
      String(samples),
      score.toFixed(2),
    ]),
    ...Object.entries(row.others ?? {}).map(([name, mean]) => [...lead(null, ''), '', mean.toFixed(2), '', name]),
  ]);
  const notes = [...new Set(rows.flatMap((row) => (row.note === undefined ? [] : [`${row.task}: ${row.note}`])))];
  return [formatTable([header, ...lines]), ...notes].join('\n');
}

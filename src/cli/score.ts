// duo score: kept predictions scored again, without a model.
import { type Command, Option } from 'commander';
import { CODE_SIMILARITIES, type CodeSimilarity } from '../eval/metrics/edit-similarity.ts';
import { type ScoreRow, scorePredictions } from '../eval/score-predictions.ts';
import { ANSWER_CUTS, type AnswerCut } from '../eval/suites/longbench-score.ts';
import { PREDICTION_SUITES } from '../eval/suites/prediction-files.ts';
import { formatTable, printJson, printResult } from './terminal.ts';

interface ScoreFlags {
  readonly suite?: string;
  readonly codeSimilarity: CodeSimilarity;
  readonly answerCut: AnswerCut;
  readonly json?: boolean;
}

export function defineScoreCommand(command: Command): void {
  command
    .argument(
      '<predictions...>',
      "predictions.jsonl of duo eval, an official project's prediction file, or a folder of them and of further folders",
    )
    .addOption(
      new Option('--suite <name>', 'whose scores; the name of an official file is its set or task').choices([
        ...PREDICTION_SUITES,
      ]),
    )
    .addOption(
      new Option('--code-similarity <how>', 'score of lcc and repobench-p; difflib is that of the published tables')
        .choices([...CODE_SIMILARITIES])
        .default('difflib'),
    )
    .addOption(
      new Option('--answer-cut <where>', "end of LongBench answers: whole, or llama-3 as in DuoAttention's tables")
        .choices([...ANSWER_CUTS])
        .default('whole'),
    )
    .option('--json', "print the rows as JSON; scores are on the suites' own scale of 0 to 100")
    .action((paths: string[], flags: ScoreFlags) => score(paths, flags));
}

function score(paths: readonly string[], flags: ScoreFlags): void {
  const rows = scorePredictions(paths, flags);
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

// duo score: kept predictions scored again, without a model.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { FormatError } from '../errors/errors.ts';
import { CODE_SIMILARITIES, type CodeSimilarity } from '../eval/metrics/edit-similarity.ts';
import { type ScoreRow, scorePredictions } from '../eval/score-predictions.ts';
import { ANSWER_CUTS, type AnswerCut } from '../eval/suites/longbench-score.ts';
import { PREDICTION_SUITES } from '../eval/suites/prediction-files.ts';
import { fileErrorOf } from '../formats/atomic-file.ts';
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
      "predictions.jsonl of duo eval, an official project's prediction file, or a folder of them",
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
  const rows = paths.flatMap(listFiles).flatMap((path) => scorePredictions(path, flags));
  if (flags.json) printJson({ rows });
  else printResult(formatScores(rows));
}

/** A file itself, or the .jsonl files of a folder by name. @throws {FileError}; {FormatError} a folder without any. */
function listFiles(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    const names = readdirSync(path).filter((name) => name.endsWith('.jsonl'));
    if (names.length > 0) return names.sort().map((name) => join(path, name));
  } catch (cause) {
    throw fileErrorOf('read', path, cause);
  }
  throw new FormatError(`Expected ${path} to hold .jsonl files of predictions, found none.`);
}

function formatScores(rows: readonly ScoreRow[]): string {
  const isOwn = rows.some((row) => row.mask !== undefined);
  const header = ['task', ...(isOwn ? ['tokens', 'mask'] : []), 'samples', 'score', '95 % interval', 'by'];
  const lines = rows.flatMap((row) => [
    [
      row.task,
      ...(isOwn ? [String(row.length ?? ''), row.mask ?? ''] : []),
      String(row.samples),
      row.score.toFixed(2),
      row.interval.map((bound) => bound.toFixed(1)).join(' to '),
      row.metric,
    ],
    ...Object.entries(row.buckets ?? {}).map(([name, { score, samples }]) => [
      `  ${name}`,
      ...(isOwn ? ['', ''] : []),
      String(samples),
      score.toFixed(2),
    ]),
    ...Object.entries(row.others ?? {}).map(([name, mean]) => [
      '',
      ...(isOwn ? ['', ''] : []),
      '',
      mean.toFixed(2),
      '',
      name,
    ]),
  ]);
  const notes = [...new Set(rows.flatMap((row) => (row.note === undefined ? [] : [`${row.task}: ${row.note}`])))];
  return [formatTable([header, ...lines]), ...notes].join('\n');
}

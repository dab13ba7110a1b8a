// duo eval: what a mask keeps, compared with baselines, on any samples file, on held-out tasks and on suites.
import { join } from 'node:path';
import type { Command } from 'commander';
import { limitsOf } from '../../identify/sample-source.ts';
import { refuseIdle } from '../config/idle.ts';
import { readVersion } from '../core/package.ts';
import type { Sample } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { ConfigError } from '../errors/errors.ts';
import type { NamedMask } from '../eval/baselines.ts';
import { evaluateSamples } from '../eval/evaluate-samples.ts';
import { countNextPass } from '../eval/next-pass.ts';
import { listCriticalFootprints, summariseRandomMasks } from '../eval/summarise-rows.ts';
import { makeFolder, writeFileAtomic } from '../formats/atomic-file.ts';
import { writePredictions } from '../formats/predictions.ts';
import { type EvalRow, type FailedRow, formatRowsCsv, writeResults } from '../formats/results.ts';
import { findRunFile } from '../formats/run-file.ts';
import { readSamples } from '../formats/samples.ts';
import type { ModelFolder } from '../model/folder.ts';
import { listEvalFlagUses } from './eval-flag-uses.ts';
import { joinEvaluation } from './eval-join.ts';
import { listEvalMasks, type MaskFlags } from './eval-masks.ts';
import { formatCriticalTable, formatFailedTable, formatTaskTable } from './eval-table.ts';
import {
  addTaskOptions,
  asksForTasks,
  evaluateTasks,
  type PreparedTasks,
  prepareTasks,
  type TaskFlags,
} from './eval-tasks.ts';
import { listGivenFlags } from './idle-flags.ts';
import { addEngineOptions, addWeightsOption, type EngineFlags, openEngine, openModel } from './open.ts';
import { checkOutput, checkOutputFolder } from './outputs.ts';
import { addProgressOption, makeProgress } from './progress.ts';
import { formatRecallTable } from './recall-table.ts';
import { withTimeToStop } from './stopping.ts';
import { printJson, printResult, say } from './terminal.ts';

/** Set where a row failed while the others were computed. */
const EXIT_FAILED = 1;

interface EvalFlags extends EngineFlags, MaskFlags, TaskFlags {
  readonly samples?: string;
  readonly seed: string;
  readonly join?: boolean;
  readonly json?: boolean;
}

export function defineEvalCommand(command: Command, signal: AbortSignal): void {
  const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];
  command
    .requiredOption('--model <dir|demo>', 'model folder')
    .option('--mask <file>', 'mask.json to measure, or a run folder that has one; its row is called given')
    .option(
      '--other-mask <file>',
      'another mask.json or run folder, repeat for more; its row has the name of the file or folder',
      collect,
    )
    .option(
      '--gates <file>',
      'gates.json, or a run folder, to cut at each of --fractions and --kv-shares, repeat for more; rows are method@fraction and method-windows@share',
      collect,
    )
    .option('--fractions <0.5,0.75>', 'shares of KV heads that stream, for --gates')
    .option(
      '--kv-shares <0.33,0.24>',
      'shares of a full KV cache, each head with the window it needs, for --gates with a ladder',
    )
    .option('--at <n>', 'context length at which --kv-shares count; default: the longest sample that was measured')
    .option('--sink <n>', 'window of --gates: first tokens always seen; default: as in the gates file')
    .option('--recent <n>', 'window of --gates: nearest tokens seen; default: as in the gates file')
    .option(
      '--samples <file>',
      'samples.jsonl, - for standard input: answer accuracy and log-probability, a row per mask',
    )
    .option(
      '--baselines <a,b>',
      'full, streaming, random, inverted, layer-uniform; all with the window of --mask or --gates',
      'full',
    )
    .option('--random-masks <n>', 'random masks of the same size', '3')
    .option('--seed <n>', 'decides the random masks and the prompts of tasks', '42')
    .option('--allow-other-model', 'accept a mask made for another model of the same shape')
    .option(
      '--join',
      'divide the cells of --out with other processes, on any machine that sees the folder; all must ask for the same',
    )
    .option('--json', 'print the rows as JSON');
  addProgressOption(addWeightsOption(addEngineOptions(addTaskOptions(command)))).action((flags: EvalFlags) =>
    evaluate(flags, { given: listGivenFlags(command), signal }),
  );
}

async function evaluate(
  flags: EvalFlags,
  { given, signal }: { readonly given: ReadonlySet<string>; readonly signal: AbortSignal },
): Promise<void> {
  if (flags.samples === undefined && !asksForTasks(flags)) {
    throw new ConfigError('Expected --samples, --tasks or --suite to say what to evaluate on, got none.');
  }
  refuseIdle(given, listEvalFlagUses(flags));
  if (flags.join && (flags.out === undefined || !asksForTasks(flags))) {
    throw new ConfigError('Expected --join with --out and with --tasks or --suite, whose cells it divides.');
  }
  if (flags.out !== undefined) enterOutputFolder(flags.out, flags);
  const folder = await openModel(flags.model, { signal });
  try {
    const masks = listEvalMasks(flags, folder);
    const samples = flags.samples === undefined ? [] : [...readSamples(flags.samples, limitsOf(folder))];
    const prepared = asksForTasks(flags) ? await prepareTasks(flags, { folder, given }) : null;
    const next = countNextPass({ samples, ...prepared, masks, model: folder.config.shape });
    const engine = await openEngine(folder, flags, { next });
    try {
      if (flags.join) joinEvaluation(flags.out as string, { flags, folder, engine, masks });
      const found: Found = { rows: [], failed: [], predictions: [] };
      try {
        await withTimeToStop(() => evaluateAll({ flags, folder, engine, masks, signal, samples, prepared, found }));
      } catch (error) {
        // Finished rows are printed and written, whatever ended the rest.
        if (found.rows.length > 0) {
          handOut(found, { flags, folder, engine });
          say(`duo eval: ended early; the ${found.rows.length} rows that were finished are above.`);
        }
        throw error;
      }
      handOut(found, { flags, folder, engine });
      if (found.failed.length > 0) {
        say(`duo eval: ${found.failed.length} rows could not be computed: ${found.failed[0]?.error}`);
        process.exitCode = EXIT_FAILED;
      }
    } finally {
      await engine.close();
    }
  } finally {
    folder.close();
  }
}

/** What an evaluation has found so far. */
interface Found {
  readonly rows: EvalRow[];
  /** rows that cannot be computed */
  readonly failed: FailedRow[];
  /** the generated texts, in the order of the rows */
  readonly predictions: object[];
}

/** Write the files of --out and print the rows. */
function handOut(found: Found, parts: { flags: EvalFlags; folder: ModelFolder; engine: Engine }): void {
  const { rows, failed, predictions } = found;
  const { flags, folder, engine } = parts;
  const critical = listCriticalFootprints(rows);
  const random = summariseRandomMasks(rows);
  if (flags.out !== undefined) {
    const about = {
      tool: `duo ${readVersion()}`,
      engine: engine.name,
      device: engine.device,
      weights: flags.weights ?? 'stored',
      model: folder.fingerprint,
    };
    writeResults(join(flags.out, 'results.json'), [...rows, ...failed], { ...about, critical, random });
    writeFileAtomic(join(flags.out, 'results.csv'), formatRowsCsv([...rows, ...failed]));
    if (predictions.length > 0) writePredictions(join(flags.out, 'predictions.jsonl'), predictions);
  }
  const summaries = critical.length + random.length > 0 ? { critical, random } : {};
  if (flags.json) printJson({ rows: [...rows, ...failed], ...summaries });
  else printRows(rows, failed);
}

/** Make the folder of --out. @throws {ConfigError} it holds files that are not ours under the names of ours, or inputs. */
function enterOutputFolder(out: string, flags: EvalFlags): void {
  checkOutputFolder(out);
  const masks = [...(flags.mask === undefined ? [] : [flags.mask]), ...(flags.otherMask ?? [])];
  const gates = (flags.gates ?? []).map((path) => findRunFile(path, 'gates.json'));
  const inputs = [flags.samples, ...masks.map((path) => findRunFile(path, 'mask.json')), ...gates];
  checkOutput(join(out, 'results.json'), { kind: 'results', inputs, overwrite: null });
  checkOutput(join(out, 'results.csv'), { kind: 'results-table', inputs, overwrite: null });
  makeFolder(out);
}

/** Tasks and suites, whose prompts are all built before the first is run, then samples, whose rows come first. */
async function evaluateAll(parts: {
  readonly flags: EvalFlags;
  readonly folder: ModelFolder;
  readonly engine: Engine;
  readonly masks: readonly NamedMask[];
  readonly signal: AbortSignal;
  readonly samples: readonly Sample[];
  readonly prepared: PreparedTasks | null;
  readonly found: Found;
}): Promise<void> {
  const { flags, folder, engine, masks, signal, samples, prepared, found } = parts;
  const where = `${masks.length} masks, engine ${engine.name} on ${engine.device}`;
  if (prepared !== null) {
    say(`duo eval: tasks × ${where}, prefill ${flags.prefill}.`);
    await evaluateTasks({
      prepared,
      flags,
      folder,
      engine,
      masks,
      signal,
      onRows: (rows) => found.rows.push(...rows),
      onFailed: (row) => found.failed.push(row),
      onPredictions: (row, made) => {
        const { mask, length, depth } = row;
        found.predictions.push(...made.map((prediction) => ({ mask, length, depth, ...prediction })));
      },
    });
  }
  if (samples.length === 0) return;
  say(`duo eval: ${samples.length} samples × ${where}.`);
  const progress = makeProgress('evaluations');
  const { update: onProgress } = progress;
  let numRows = 0;
  const onRow = (row: EvalRow): void => void found.rows.splice(numRows++, 0, row);
  try {
    await evaluateSamples({ engine, samples, masks, signal, onProgress, onRow });
  } finally {
    progress.finish();
  }
}

function printRows(rows: readonly EvalRow[], failed: readonly FailedRow[]): void {
  const samples = rows.filter((row) => row.task === 'samples');
  const tasks = rows.filter((row) => row.task !== 'samples');
  if (samples.length > 0) printResult(formatRecallTable(samples));
  if (samples.length > 0 && tasks.length > 0) printResult('\n');
  if (tasks.length > 0) printResult(formatTaskTable(tasks));
  if (failed.length > 0) printResult(`\n${formatFailedTable(failed)}`);
  const critical = listCriticalFootprints(rows);
  if (critical.length > 0) printResult(`\n${formatCriticalTable(critical)}`);
}

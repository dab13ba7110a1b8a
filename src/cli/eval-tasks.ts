// The tasks and suites of `duo eval`: reads their flags, builds the groups of a sweep and runs it.
import { createHash } from 'node:crypto';
import { type Command, Option } from 'commander';
import { openHaystack } from '../../data-gen/haystack.ts';
import { parseCount } from '../config/flags.ts';
import { refuseIdle } from '../config/idle.ts';
import { isDemoName } from '../core/package.ts';
import { formatSeconds } from '../core/words.ts';
import type { Engine } from '../engine/engine.ts';
import { ConfigError } from '../errors/errors.ts';
import type { NamedMask } from '../eval/baselines.ts';
import { evaluateLongRange, LONG_RANGE_TASK } from '../eval/evaluate-long-range.ts';
import type { RunSettings } from '../eval/evaluate-task.ts';
import { readSuite, SUITE_KINDS } from '../eval/suites/read-suite.ts';
import { runSweep, type SweepGroup } from '../eval/sweep.ts';
import { type ChatUse, makeSuiteGroups, makeTaskGroups } from '../eval/sweep-groups.ts';
import { adaptTokenizer } from '../eval/tasks/adapt-tokenizer.ts';
import { wrapInChat } from '../eval/tasks/chat-tokenizer.ts';
import { listDepths } from '../eval/tasks/niah.ts';
import type { Wording } from '../eval/tasks/task.ts';
import { hashTaskFiles, openTaskFiles } from '../eval/tasks/task-files.ts';
import { EVAL_TASKS, findTasks } from '../eval/tasks/task-list.ts';
import type { Prediction } from '../formats/predictions.ts';
import type { EvalRow, FailedRow } from '../formats/results.ts';
import type { ModelFolder } from '../model/folder.ts';
import { hasChatTemplate, renderChat } from '../text/chat-template.ts';
import { hashTokenizer, openTokenizer } from '../text/tokenizer.ts';
import { type LongRangeTexts, takeLongRangeTexts } from './eval-long-range.ts';
import { addKvOptions, readKvFlags } from './kv-flags.ts';
import { addLongbenchOptions, type LongbenchFlags, listLongbenchFlagUses } from './longbench-flags.ts';
import { readIntegerFlag } from './numbers.ts';
import { makeProgress } from './progress.ts';
import { say } from './terminal.ts';

export interface TaskFlags extends LongbenchFlags {
  readonly model: string;
  readonly tasks?: string;
  readonly lengths: string;
  readonly depths?: string;
  readonly taskSamples?: string;
  readonly measure: EvalRow['measure'];
  readonly wording?: Wording;
  readonly suite?: readonly string[];
  readonly maxLength?: string;
  readonly haystack?: string;
  readonly documents?: string;
  readonly heldOutDocuments?: string;
  readonly essays?: string;
  readonly squad?: string;
  readonly hotpotqa?: string;
  readonly prefill: 'exact' | 'chunked';
  readonly chunkTokens?: string;
  readonly kvDtype?: string;
  readonly kvRotation?: string;
  readonly chat: ChatUse;
  readonly concurrent: string;
  readonly seed: string;
  readonly out?: string;
}

const DEFAULT_TASK_SAMPLES = 10;

/** Add the flags of tasks, suites and sessions to `eval`. */
export function addTaskOptions(command: Command): Command {
  const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];
  const names = EVAL_TASKS.map((task) => task.name).join(', ');
  return addLongbenchOptions(addKvOptions(command))
    .option(
      '--tasks <a,b>',
      `tasks run through sessions: ${names}; or ruler for the thirteen in its manner; long-range: kept gain on documents`,
    )
    .option('--lengths <1k,4k>', 'tokens of prompt and answer together', '1k')
    .option('--depths <n>', 'needles at n depths from start to end, one row per depth; default: drawn')
    .option('--task-samples <n>', 'prompts per task, length and depth; default 10, of a suite all')
    .addOption(
      new Option('--measure <how>', 'score generated text, or answer tokens fed one by one')
        .choices(['generated', 'teacher-forced'])
        .default('generated'),
    )
    .addOption(
      new Option('--wording <name>', 'wording of the tasks; default plain, for the demo small-vocabulary').choices([
        'plain',
        'small-vocabulary',
      ]),
    )
    .option('--suite <kind:path>', `file of a suite, repeat for more; kinds: ${SUITE_KINDS.join(', ')}`, collect)
    .option(
      '--max-length <n>',
      "most tokens of a suite's prompt, where the suite cuts its middle; else of prompt and answer; default: what the model allows",
    )
    .option('--haystack <path>', 'text around the needles; default: generated prose')
    .option('--documents <path>', 'running text of task long-range (as --haystack); its held-out part is scored')
    .option('--held-out-documents <path>', 'instead of --documents: all of this text is scored')
    .option('--essays <path>', 'essays (.txt, folder, or JSON with text) for the niah tasks that hide needles in them')
    .option('--squad <file>', 'SQuAD for qa_1, such as dev-v2.0.json')
    .option('--hotpotqa <file>', 'HotpotQA for qa_2, such as hotpot_dev_distractor_v1.json')
    .addOption(
      new Option('--prefill <how>', 'how streaming heads see a prompt: token by token, or chunk by chunk')
        .choices(['exact', 'chunked'])
        .default('exact'),
    )
    .option('--chunk-tokens <n>', "tokens of a prefill chunk; default: the engine's")
    .addOption(
      new Option(
        '--chat <use>',
        "prompts of suites and tasks through the model's chat template; auto: where the suite does so, tasks plain",
      )
        .choices(['auto', 'on', 'off'])
        .default('auto'),
    )
    .option('--concurrent <n>', 'cells of a sweep that run at once', '1')
    .option(
      '--out <folder>',
      'keep finished cells, results.json and results.csv there; the same command continues with them',
    );
}

/** True where the flags ask for tasks or suites. */
export function asksForTasks(flags: TaskFlags): boolean {
  return flags.tasks !== undefined || (flags.suite ?? []).length > 0;
}

/** What `evaluateTasks` needs: all of it is read and checked before anything is computed. */
export interface PreparedTasks {
  readonly groups: readonly SweepGroup[];
  readonly longRange: LongRangeTexts;
  readonly settings: RunSettings;
  readonly concurrent: number;
}

/** Read the flags and the files they name. @throws {ConfigError}, {FileError}, {FormatError} the first that is wrong. */
export async function prepareTasks(
  flags: TaskFlags,
  { folder, given }: { readonly folder: ModelFolder; readonly given: ReadonlySet<string> },
): Promise<PreparedTasks> {
  return {
    settings: readSettings(flags),
    concurrent: readIntegerFlag('--concurrent', { text: flags.concurrent, least: 1 }),
    groups: [...(await listTaskGroups(flags, folder)), ...(await listSuiteGroups(flags, { folder, given }))],
    longRange: listTaskNames(flags).includes(LONG_RANGE_TASK)
      ? await takeLongRangeTexts(flags, {
          folder,
          lengths: readLengths(flags, folder, 2),
          numTexts: readTaskSamples(flags) ?? DEFAULT_TASK_SAMPLES,
          seed: readIntegerFlag('--seed', { text: flags.seed, least: 0 }),
        })
      : [],
  };
}

/** Run the tasks and suites under every mask: tasks × lengths × depths, then suites, then long-range; masks within each.
 * @param options.onRows given finished rows, also where the rest is not reached. */
export async function evaluateTasks(options: {
  readonly prepared: PreparedTasks;
  readonly flags: TaskFlags;
  readonly folder: ModelFolder;
  readonly engine: Engine;
  readonly masks: readonly NamedMask[];
  readonly signal: AbortSignal;
  readonly onRows: (rows: readonly EvalRow[]) => void;
  readonly onFailed: (row: FailedRow) => void;
  readonly onPredictions: (row: EvalRow, predictions: readonly Prediction[]) => void;
}): Promise<void> {
  const { prepared, flags, folder, engine, masks, signal, onRows, onFailed, onPredictions } = options;
  const { kvDtype = 'f32' } = prepared.settings;
  if (engine.name === 'tensorflow' && kvDtype !== 'f32') {
    throw new ConfigError(`Expected --kv-dtype f32 on the tensorflow engine, got ${kvDtype}; --engine native has it.`);
  }
  const tokenizer = openTokenizer(folder.path);
  if (prepared.groups.length > 0) {
    const progress = makeProgress('cells');
    try {
      const rows = await runSweep({
        engine,
        model: folder.fingerprint ?? folder.path,
        tokenizer,
        stopTokens: [...new Set([...tokenizer.eosTokenIds, ...folder.config.eosTokenIds])],
        groups: prepared.groups,
        masks,
        settings: prepared.settings,
        folder: flags.out ?? null,
        concurrent: prepared.concurrent,
        signal,
        onFailed,
        onPredictions,
        onStopped: onRows,
        onUnbuilt: ({ task, length }, { message }) =>
          say(`duo eval: ${task}${length === null ? '' : ` at ${length} tokens`} is left out: ${message}`),
        onProgress: ({ done, total, secondsLeft }) =>
          progress.update(done, total, secondsLeft === null ? '' : `(${formatSeconds(secondsLeft)} by work)`),
      });
      onRows(rows);
    } finally {
      progress.finish();
    }
  }
  for (const { length, texts } of prepared.longRange) {
    const progress = makeProgress('texts');
    const { update: onProgress } = progress;
    const onRow = (row: EvalRow): void => onRows([row]);
    try {
      await evaluateLongRange({ engine, texts, masks, length, signal, onProgress, onRow });
    } finally {
      progress.finish();
    }
  }
}

/** Names of --tasks as given. */
export function listTaskNames({ tasks }: Pick<TaskFlags, 'tasks'>): string[] {
  return tasks === undefined ? [] : tasks.split(',').map((name) => name.trim());
}

/** @throws {ConfigError} a length that is no count of at least `least`, or more than the model allows. */
function readLengths(flags: TaskFlags, folder: ModelFolder, least: number): number[] {
  const { maxPositions } = folder.config.shape;
  const lengths = flags.lengths.split(',').map((text) => readIntegerFlag('--lengths', { text, least }));
  const tooLong = lengths.find((length) => length > maxPositions);
  if (tooLong !== undefined) {
    throw new ConfigError(
      `Expected --lengths of at most the ${maxPositions} tokens that the model allows, got \`${tooLong}\`.`,
    );
  }
  return lengths;
}

async function listTaskGroups(flags: TaskFlags, folder: ModelFolder): Promise<SweepGroup[]> {
  if (flags.tasks === undefined) return [];
  const tasks = findTasks(listTaskNames(flags).filter((name) => name !== LONG_RANGE_TASK));
  if (tasks.length === 0) return [];
  const lengths = readLengths(flags, folder, 1);
  const tokenizer = openTokenizer(folder.path);
  const plain = adaptTokenizer(tokenizer);
  const wording = flags.wording ?? (isDemoName(flags.model) ? 'small-vocabulary' : 'plain');
  const renderChat = flags.chat === 'on' ? findChat(flags, folder) : null;
  if (renderChat !== null && wording !== 'plain') {
    throw new ConfigError(`Expected --chat on with --wording plain for tasks, got it with ${wording}.`);
  }
  const haystack = await openHaystack({ path: flags.haystack ?? null, tokenizer });
  const paths = {
    ...(flags.essays === undefined ? {} : { essays: flags.essays }),
    ...(flags.squad === undefined ? {} : { squad: flags.squad }),
    ...(flags.hotpotqa === undefined ? {} : { hotpotqa: flags.hotpotqa }),
  };
  return makeTaskGroups({
    tasks,
    lengths,
    ...(flags.depths === undefined
      ? {}
      : { depths: listDepths(readIntegerFlag('--depths', { text: flags.depths, least: 1 })) }),
    samples: readTaskSamples(flags) ?? DEFAULT_TASK_SAMPLES,
    seed: readIntegerFlag('--seed', { text: flags.seed, least: 0 }),
    measure: flags.measure,
    wording,
    tokenizer: renderChat === null ? plain : wrapInChat(plain, renderChat),
    isChat: renderChat !== null,
    haystack,
    files: openTaskFiles(paths),
    inputsHash: hashText([hashTokenizer(folder.path), haystack.hash, hashTaskFiles(paths)].join('\n')),
  });
}

async function listSuiteGroups(
  flags: TaskFlags,
  { folder, given }: { readonly folder: ModelFolder; readonly given: ReadonlySet<string> },
): Promise<SweepGroup[]> {
  const { maxPositions } = folder.config.shape;
  const parsed = flags.maxLength === undefined ? undefined : parseCount(flags.maxLength);
  if (parsed === null || (parsed !== undefined && (!Number.isInteger(parsed) || parsed < 1 || parsed > maxPositions))) {
    throw new ConfigError(
      `Expected --max-length to be an integer from 1 to ${maxPositions}, got \`${flags.maxLength}\`.`,
    );
  }
  const limit = readTaskSamples(flags);
  const groups: SweepGroup[] = [];
  for (const spec of flags.suite ?? []) {
    const items = (await readSuite(spec, flags)).slice(0, limit);
    const cuts = items.every((item) => item.tooLong !== 'refuse');
    groups.push(
      ...makeSuiteGroups({
        items,
        // a suite that cuts means the prompt alone, and its answer comes on top
        maxTokens: cuts ? maxPositions : (parsed ?? maxPositions),
        ...(cuts && parsed !== undefined ? { maxPromptTokens: parsed } : {}),
        tokenizer: adaptTokenizer(openTokenizer(folder.path)),
        renderChat: findChat(flags, folder),
        chat: flags.chat,
        inputsHash: hashTokenizer(folder.path),
      }),
    );
  }
  if (groups.length > 0) {
    const names = groups.map(({ task }) => task);
    refuseIdle(given, listLongbenchFlagUses(names));
  }
  return groups;
}

/** The model's chat template round one user's message; null where it has none. @throws {ConfigError} none, and --chat on. */
function findChat(flags: TaskFlags, folder: ModelFolder): ((message: string) => string) | null {
  if (flags.chat === 'off') return null;
  if (hasChatTemplate(folder.path)) return (content) => renderChat(folder.path, [{ role: 'user', content }]);
  if (flags.chat === 'auto') return null;
  throw new ConfigError(`Expected a chat template in ${folder.path} for --chat on, found none; use --chat off.`);
}

function readTaskSamples(flags: TaskFlags): number | undefined {
  return flags.taskSamples === undefined
    ? undefined
    : readIntegerFlag('--task-samples', { text: flags.taskSamples, least: 1 });
}

function readSettings(flags: TaskFlags): RunSettings {
  const chunk =
    flags.chunkTokens === undefined
      ? {}
      : { chunkTokens: readIntegerFlag('--chunk-tokens', { text: flags.chunkTokens, least: 1 }) };
  if (flags.prefill === 'chunked' && flags.chunkTokens === undefined) {
    throw new ConfigError('Expected --chunk-tokens with --prefill chunked, got none; the result depends on it.');
  }
  return { prefill: flags.prefill, ...chunk, ...readKvFlags(flags) };
}

function hashText(data: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

// duo identify: score the heads of a model, write gates.json, mask.json, metrics.jsonl and run.json, show what the mask keeps.
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { buildMask, describeCut } from '../../export/build-mask.ts';
import { type Cut, chooseCut, cutGates } from '../../export/cut.ts';
import { drawGates, drawMask } from '../../export/picture.ts';
import { fitToCpu } from '../../train/cpu-budget.ts';
import { buildGates } from '../../train/gates-file.ts';
import { findMethod } from '../../train/methods/index.ts';
import type { HeadMethod, ScoreOptions } from '../../train/methods/method.ts';
import { enterRunFolder, type RunEntry, type RunFolder } from '../../train/run-folder.ts';
import type { Config } from '../config/config.ts';
import { listChanges } from '../config/fit.ts';
import type { Window } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError, ConfigError } from '../errors/errors.ts';
import { listBaselines } from '../eval/baselines.ts';
import { evaluateSamples } from '../eval/evaluate-samples.ts';
import { writeGates } from '../formats/gates.ts';
import { type MaskFile, toHeadMask, writeMask } from '../formats/mask.ts';
import type { JsonRecord } from '../formats/read-json.ts';
import type { EvalRow } from '../formats/results.ts';
import { type RunFile, writeRun } from '../formats/run.ts';
import { readSamples } from '../formats/samples.ts';
import type { ModelFolder } from '../model/folder.ts';
import { addConfigOptions, type ReadSettings, readConfigFlags, sayChanges } from './config-flags.ts';
import { announceEstimate } from './identify-estimate.ts';
import { describeIdentity, describeProvenance, type RecordParts, startRecord } from './identify-record.ts';
import { addEngineOptions, type EngineFlags, openEngine, openModel } from './open.ts';
import { addProgressOption, makeProgress } from './progress.ts';
import { describeSavings, formatRecallTable, listSavings } from './recall-table.ts';
import {
  limitsOf,
  makeHeldOutSamples,
  openFileSource,
  openGeneratedSource,
  type SampleSource,
} from './sample-source.ts';
import { withTimeToStop } from './stopping.ts';
import { isColourful, printJson, printResult, say } from './terminal.ts';

interface IdentifyFlags extends EngineFlags {
  readonly model: string;
  readonly samples?: string;
  readonly haystack?: string;
  readonly heldOut?: string;
  readonly out?: string;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

const RANDOM_MASKS = 3;
/** About a hundred points of a gate's course, whatever the number of steps. */
const COURSE_POINTS = 100;

export function addIdentifyCommand(program: Command, signal: AbortSignal): void {
  const command = program
    .command('identify')
    .description('find the retrieval heads of a model: gates.json, mask.json and a table of what the mask keeps')
    .requiredOption('--model <dir|demo>', 'Hugging Face model folder, or demo for the one that ships with duo')
    .option('--samples <file>', 'samples.jsonl to learn from instead of generated ones')
    .option('--haystack <path>', 'text file, folder, JSONL, JSONL.gz or JSONL.zst; default: generated prose')
    .option('--held-out <file>', 'samples.jsonl for the closing table instead of generated ones')
    .option('--out <dir>', 'run folder; default: runs/<model>-<seed>')
    .option('--resume', 'continue the run in --out from its last checkpoint')
    .option('--overwrite', 'start the run in --out anew')
    .option('--json', 'print the result as JSON');
  addProgressOption(addEngineOptions(addConfigOptions(command))).action(
    (flags: IdentifyFlags & Record<string, unknown>) => identify(flags, signal),
  );
}

async function identify(flags: IdentifyFlags & Record<string, unknown>, signal: AbortSignal): Promise<void> {
  const entry = readEntry(flags);
  if (flags.samples !== undefined && flags.haystack !== undefined) {
    throw new ConfigError('Expected --samples or --haystack, got both; samples from a file need no haystack.');
  }
  const folder = await openModel(flags.model, { signal });
  try {
    const { shape } = folder.config;
    const read = readConfigFlags(flags, { name: flags.model, shape });
    const engine = await openEngine(folder, chooseEngineFlags(flags, findMethod(read.config.method)));
    try {
      const { source, config, fitted } = await openSource({ flags, folder, read, engine });
      const method = findMethod(config.method);
      const cut = chooseCut({
        streamingFraction: config.streamingFraction ?? undefined,
        threshold: config.threshold ?? undefined,
        model: shape,
      });
      try {
        await source.sampleAt(0);
        await runIdentify({ flags, folder, config, fitted, method, cut, source, engine, entry, signal });
      } finally {
        source.close();
      }
    } finally {
      await engine.close();
    }
  } finally {
    folder.close();
  }
}

/** The samples, with the settings fitted to what computes them: on a CPU fewer and shorter ones, by the tokenizer as long as they must be. */
async function openSource(options: {
  flags: IdentifyFlags;
  folder: ModelFolder;
  read: ReadSettings;
  engine: Engine;
}): Promise<{ source: SampleSource; config: Config; fitted: string[] }> {
  const { flags, folder, read, engine } = options;
  const { asked, given } = read;
  if (flags.samples !== undefined) {
    return { source: openFileSource(flags.samples, folder), config: read.config, fitted: [] };
  }
  const isGpu = engine.device.startsWith('cuda');
  const canProbe = engine.probe !== undefined && engine.computeHidden !== undefined;
  const config = isGpu ? read.config : fitToCpu(read.config, { model: folder.config, given, canProbe });
  const isCut = read.isCut || config.maxTokens < read.config.maxTokens;
  const source = await openGeneratedSource({
    folder,
    config,
    haystackPath: flags.haystack,
    given,
    isCut,
    split: 'train',
  });
  const fitted = listChanges(asked, source.config);
  sayChanges(fitted, `the model, its tokenizer and ${engine.device}`);
  return { source, config: source.config, fitted };
}

interface Parts {
  readonly flags: IdentifyFlags;
  readonly folder: ModelFolder;
  readonly config: Config;
  /** changes of the preset, as clauses */
  readonly fitted: readonly string[];
  readonly method: HeadMethod;
  readonly cut: Cut;
  readonly source: SampleSource;
  readonly engine: Engine;
  readonly entry: RunEntry;
  readonly signal: AbortSignal;
}

function recordPartsOf({ config, fitted, engine, folder, source, flags }: Parts): RecordParts {
  return { config, fitted, engine, folder, source, heldOutPath: flags.heldOut };
}

async function runIdentify(parts: Parts): Promise<void> {
  const { flags, folder, config } = parts;
  const identity = describeIdentity(recordPartsOf(parts));
  const outPath = resolve(flags.out ?? join('runs', `${folder.name}-${config.seed}`));
  const runFolder = enterRunFolder({ path: outPath, entry: parts.entry, identity });
  try {
    const previousPath = runFolder.isResumed ? runFolder.file('run.json') : null;
    const record = startRecord(recordPartsOf(parts), { previousPath, identity });
    writeRun(runFolder.file('run.json'), record);
    try {
      const results = await scoreAndReport({ parts, runFolder, identity, record });
      writeRun(runFolder.file('run.json'), { ...record, status: 'done', endedAt: new Date().toISOString(), results });
    } catch (error) {
      const status = error instanceof AbortedError ? 'stopped' : 'failed';
      const message = error instanceof Error ? error.message : String(error);
      writeRun(runFolder.file('run.json'), { ...record, status, endedAt: new Date().toISOString(), error: message });
      if (error instanceof AbortedError)
        say(`Stopped; continue with the same command and --resume (${runFolder.path}).`);
      throw error;
    }
  } finally {
    runFolder.close();
  }
}

async function scoreAndReport(options: {
  parts: Parts;
  runFolder: RunFolder;
  identity: JsonRecord;
  record: RunFile;
}): Promise<JsonRecord> {
  const { parts, runFolder, identity } = options;
  const { flags, folder, config, cut, engine, source, method, signal } = parts;
  const window: Window = { sinkTokens: config.sinkTokens, recentTokens: config.recentTokens };
  const { layers, kvHeads } = folder.config.shape;
  say(
    `duo identify: ${folder.name}, ${layers} layers × ${kvHeads} KV heads, engine ${engine.name} on ${engine.device}.`,
  );
  const progress = makeProgress(config.method);
  const score: ScoreOptions = {
    engine,
    sampleAt: (step) => source.sampleAt(step),
    settings: {
      steps: config.steps,
      lr: config.lr,
      lambda: config.lambda,
      window,
      supervise: config.supervise,
      fullBranch: config.fullBranch,
      checkpointEvery: config.checkpointEvery,
      gatesEvery: Math.max(1, Math.ceil(config.steps / COURSE_POINTS)),
      stableSteps: config.earlyStopSteps,
    },
    quadratic: { samples: config.quadraticSamples, rounds: config.quadraticRounds, step: config.quadraticStep },
    files: { metrics: runFolder.file('metrics.jsonl'), checkpoint: runFolder.file('checkpoint.json') },
    identity,
    resume: runFolder.isResumed,
    cut: (gates) => cutGates(gates, cut),
    signal,
    ...(method.isStepwise
      ? { onStep: (line) => progress.update(line.step + 1, config.steps, `loss ${line.loss.toFixed(4)}`) }
      : { onProgress: (fraction) => progress.update(Math.round(100 * fraction), 100) }),
  };
  await announceEstimate({ method, config, source, score });
  const startMs = performance.now();
  const scored = await withTimeToStop(() => method.score(score));
  progress.finish();
  const scoreSeconds = (performance.now() - startMs) / 1000;

  const gates = buildGates({
    model: folder.config.shape,
    fingerprint: folder.fingerprint,
    window,
    method: config.method,
    scored,
    provenance: describeProvenance(recordPartsOf(parts)),
  });
  const built = buildMask({ gates, cut, window });
  writeGates(runFolder.file('gates.json'), gates);
  writeMask(runFolder.file('mask.json'), built.file);

  if (!flags.json) printPicture({ gates: gates.gates, file: built.file });
  say(describeCut(built.cut));
  const heldOut = await closeWithTable({ parts, mask: built.file });
  const results: JsonRecord = {
    method: config.method,
    steps: scored.stepsDone,
    scoreSeconds,
    streamingHeads: built.cut.streamingHeads,
    retrievalHeads: built.cut.retrievalHeads,
    tieDecided: built.cut.tieDecided,
    savings: listSavings(toHeadMask(built.file)).map(({ tokens, saved }) => ({ tokens, saved })),
    heldOut: (heldOut ?? []) as unknown as JsonRecord[],
  };
  if (flags.json) printJson({ out: runFolder.path, ...results, mask: built.file.mask, gates: gates.gates });
  else {
    if (heldOut) printResult(`\n${formatRecallTable(heldOut)}`);
    printResult(describeSavings(toHeadMask(built.file)));
    const names = ['gates.json', 'mask.json', ...(method.isStepwise ? ['metrics.jsonl'] : []), 'run.json'];
    printResult(`Written to ${runFolder.path}: ${names.join(', ')}.`);
  }
  return results;
}

/** Rows of the closing table, or null with a word on stderr; a failure here never fails the run, whose files are written. */
async function closeWithTable({ parts, mask }: { parts: Parts; mask: MaskFile }): Promise<EvalRow[] | null> {
  const { flags, folder, config, engine, signal } = parts;
  if (flags.heldOut === undefined && config.heldOutSamples === 0) return null;
  try {
    const samples = flags.heldOut
      ? [...readSamples(flags.heldOut, limitsOf(folder))]
      : await makeHeldOutSamples({ folder, config, haystackPath: flags.haystack });
    const given = toHeadMask(mask);
    const baselines = listBaselines({
      names: ['full', 'streaming', 'random', 'inverted'],
      model: folder.config.shape,
      given,
      randomMasks: RANDOM_MASKS,
      seed: config.seed,
    });
    const [full, ...others] = baselines;
    const masks = [full!, { name: 'given', mask: given }, ...others];
    const progress = makeProgress('held-out recall');
    try {
      return await evaluateSamples({
        engine,
        samples,
        masks,
        signal,
        onProgress: (done, total) => progress.update(done, total),
      });
    } finally {
      progress.finish();
    }
  } catch (error) {
    if (error instanceof AbortedError) throw error;
    say(`duo: no closing table: ${error instanceof Error ? error.message : String(error)}`);
    return null;
  }
}

function printPicture({ gates, file }: { gates: number[][]; file: MaskFile }): void {
  const colour = isColourful(process.stdout);
  printResult(`\n${drawGates(gates, { colour })}\n\n${drawMask(toHeadMask(file), { colour })}\n`);
}

function readEntry(flags: IdentifyFlags): RunEntry {
  if (flags.resume && flags.overwrite) {
    throw new ConfigError(
      'Expected --resume or --overwrite, got both; --resume continues a run, --overwrite starts it anew.',
    );
  }
  return flags.resume ? 'resume' : flags.overwrite ? 'overwrite' : 'fresh';
}

/** The engine flags with what the method asks for. @throws {ConfigError} flags that ask for an engine it cannot run on. */
function chooseEngineFlags(flags: EngineFlags, method: HeadMethod): EngineFlags {
  const { name, onlyEngine } = method;
  if (onlyEngine === undefined || onlyEngine === flags.engine) return flags;
  const asked = (['engine', 'device', 'threads', 'backend'] as const).find((flag) => flags[flag] !== undefined);
  if (asked !== undefined && asked !== 'backend') {
    throw new ConfigError(
      `Expected --engine ${onlyEngine} for --method ${name}, which no other engine can run, got --${asked} \`${flags[asked]}\`.`,
    );
  }
  if (asked === undefined) say(`duo: the ${onlyEngine} engine computes, because --method ${name} runs on no other.`);
  return { ...flags, engine: onlyEngine };
}

// duo bench: prefill, decode and memory of a model folder or a named shape, under a mask beside full attention.
import { arch, cpus, platform } from 'node:os';
import type { Command } from 'commander';
import { randomMask } from '../core/masks.ts';
import { makeRandom } from '../core/random.ts';
import type { KvDtype } from '../core/session.ts';
import type { HeadMask, ModelShape, Window } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { openRandomNativeEngine } from '../engine/native/native-engine.ts';
import { ConfigError, EngineError } from '../errors/errors.ts';
import { countKvBytes } from '../eval/footprint.ts';
import type { ModelConfig } from '../model/config.ts';
import { measureDevice } from '../native/devices.ts';
import {
  type Comparison,
  type ContextFigures,
  compareMasks,
  measureContext,
  median,
} from '../runtime/session-bench.ts';
import { checkSessions, type SessionCheck } from '../runtime/session-checks.ts';
import { countDecodeWeights, findShape, NAMED_SHAPES } from '../runtime/shapes.ts';
import { readChoiceFlag, readIntegerFlag, readNumberFlag } from './numbers.ts';
import { addEngineOptions, type EngineFlags, openEngine, openModel } from './open.ts';
import { KV_DTYPES, readMaskFlag } from './run.ts';
import { formatBytes, formatPercent, formatTable, printJson, printResult, say } from './terminal.ts';

interface BenchFlags extends EngineFlags {
  readonly model?: string;
  readonly shape?: string;
  readonly layers?: string;
  readonly weights: string;
  readonly mask?: string;
  readonly streamingFraction?: string;
  readonly sink: string;
  readonly recent: string;
  readonly contexts: string;
  readonly prefillUpTo: string;
  readonly chunk?: string;
  readonly steps: string;
  readonly batch: string;
  readonly kvDtype: string;
  readonly seed: string;
  readonly allowOtherModel?: boolean;
  readonly json?: boolean;
}

export function addBenchCommand(program: Command, signal: AbortSignal): void {
  const command = program
    .command('bench')
    .description('measure prefill, decode and memory under a mask beside full attention')
    .option('--model <dir|demo>', 'model folder')
    .option('--shape <name>', `random weights of a shape: ${Object.keys(NAMED_SHAPES).join(', ')}`)
    .option('--layers <n>', 'with --shape: keep this many layers')
    .option('--weights <dtype>', 'with --shape: bf16 or f32', 'bf16')
    .option('--mask <file>', 'mask.json of the model')
    .option(
      '--streaming-fraction <f>',
      'instead of a mask: this share of KV heads streams, drawn by --seed; default 0.5',
    )
    .option('--sink <n>', 'with --streaming-fraction: first tokens always seen', '128')
    .option('--recent <n>', 'with --streaming-fraction: nearest tokens seen', '256')
    .option('--contexts <a,b>', 'tokens before the timed steps, such as 2k,8k', '2k')
    .option('--prefill-up-to <n>', 'contexts up to this are prefilled and timed; longer ones are filled directly', '4k')
    .option('--chunk <n>', 'tokens of one internal prefill chunk')
    .option('--steps <n>', 'timed decode steps of each', '16')
    .option('--batch <n>', 'texts decoded together', '1')
    .option('--kv-dtype <dtype>', `store the cache as ${KV_DTYPES.join(', ')}`, 'bf16')
    .option('--seed <n>', 'decides random weights, mask and text', '42')
    .option('--allow-other-model', 'accept a mask made for another model of the same shape')
    .option('--json', 'print everything as JSON');
  addEngineOptions(command).action((flags: BenchFlags) => bench(flags, signal));
}

/** What is measured: an open engine, its config, the bytes of a weight, and the mask. */
interface Subject {
  readonly name: string;
  readonly engine: Engine;
  readonly config: ModelConfig;
  readonly weightBytes: number;
  readonly mask: HeadMask;
  close(): Promise<void>;
}

interface ContextReport {
  readonly context: number;
  readonly figures: { full: ContextFigures; masked: ContextFigures };
  readonly expectedKvBytes: { full: number; masked: number };
  readonly readBytes: { full: number; masked: number };
  readonly comparison: Comparison;
}

async function bench(flags: BenchFlags, signal: AbortSignal): Promise<void> {
  const contexts = flags.contexts.split(',').map((text) => readIntegerFlag('--contexts', { text, least: 1 }));
  const kvDtype = readChoiceFlag('--kv-dtype', { text: flags.kvDtype, names: KV_DTYPES });
  const steps = readIntegerFlag('--steps', { text: flags.steps, least: 1 });
  const batch = readIntegerFlag('--batch', { text: flags.batch, least: 1 });
  const seed = readIntegerFlag('--seed', { text: flags.seed, least: 0 });
  const prefillUpTo = readIntegerFlag('--prefill-up-to', { text: flags.prefillUpTo, least: 0 });
  const chunkTokens =
    flags.chunk === undefined ? undefined : readIntegerFlag('--chunk', { text: flags.chunk, least: 1 });
  const subject = await openSubject(flags, seed);
  try {
    const { engine, mask } = subject;
    say(`duo bench: ${subject.name}, ${engine.name} on ${engine.device}, KV ${kvDtype}; checking before timing.`);
    const checks = await checkSessions(engine, { mask: mask.mask, kvDtype });
    requireHolding(checks);
    const rates = [await measureBandwidth(engine, flags)];
    const reports: ContextReport[] = [];
    for (const context of contexts) {
      say(`duo bench: ${context} tokens.`);
      const figures = await measureContext(engine, {
        context,
        masks: { full: 'full', masked: mask },
        kvDtype,
        steps,
        batch,
        seed,
        signal,
        feedsContext: context <= prefillUpTo,
        ...(chunkTokens !== undefined && { chunkTokens }),
      });
      reports.push(makeReport({ subject, context, figures, kvDtype, steps, batch }));
      rates.push(await measureBandwidth(engine, flags));
    }
    const bandwidth = rates.every((rate) => rate !== null) ? Math.max(...(rates as number[])) : null;
    const { window } = mask;
    const machine = { cpu: cpus()[0]?.model ?? 'unknown', platform: platform(), arch: arch() };
    const settings = {
      model: subject.name,
      engine: engine.name,
      device: engine.device,
      kvDtype,
      steps,
      batch,
      seed,
      window,
    };
    if (flags.json) printJson({ ...settings, machine, readBandwidth: bandwidth, checks, contexts: reports });
    else printResult(formatReport({ reports, checks, bandwidth, batch }));
  } finally {
    await subject.close();
  }
}

async function openSubject(flags: BenchFlags, seed: number): Promise<Subject> {
  if ((flags.model === undefined) === (flags.shape === undefined)) {
    throw new ConfigError(`Expected --model or --shape, got ${flags.model === undefined ? 'neither' : 'both'}.`);
  }
  if (flags.mask !== undefined && flags.streamingFraction !== undefined) {
    throw new ConfigError('Expected --mask or --streaming-fraction, got both.');
  }
  return flags.model === undefined ? openShape(flags, seed) : openFolder(flags, seed);
}

async function openShape(flags: BenchFlags, seed: number): Promise<Subject> {
  if (flags.mask !== undefined) throw new ConfigError('Expected --mask only with --model, got it with --shape.');
  if (flags.engine === 'tensorflow' || flags.backend !== undefined) {
    throw new ConfigError('Expected the native engine with --shape; the tensorflow engine needs a model folder.');
  }
  const layers =
    flags.layers === undefined ? {} : { layers: readIntegerFlag('--layers', { text: flags.layers, least: 1 }) };
  const config = findShape(flags.shape as string, layers);
  const weightDtype = readChoiceFlag('--weights', { text: flags.weights, names: ['bf16', 'f32'] });
  const { device, threads } = flags;
  const engine = await openRandomNativeEngine(config, {
    seed,
    weightDtype,
    ...(device !== undefined && { device }),
    ...(threads !== undefined && { threads }),
  });
  const mask = drawMask(flags, { shape: config.shape, seed });
  const name = `${flags.shape}, ${config.shape.layers} layers, random ${weightDtype} weights`;
  const close = (): Promise<void> => engine.close();
  return { name, engine, config, weightBytes: weightDtype === 'bf16' ? 2 : 4, mask, close };
}

async function openFolder(flags: BenchFlags, seed: number): Promise<Subject> {
  if (flags.layers !== undefined) throw new ConfigError('Expected --layers only with --shape, got it with --model.');
  const folder = openModel(flags.model as string);
  try {
    const { config } = folder;
    const given = readMaskFlag(flags, folder);
    const mask = given === 'full' ? drawMask(flags, { shape: config.shape, seed }) : given;
    const engine = await openEngine(folder, flags);
    const info = folder.weights?.info('model.layers.0.self_attn.q_proj.weight');
    const close = async (): Promise<void> => {
      await engine.close();
      folder.close();
    };
    return { name: folder.name, engine, config, weightBytes: info?.dtype === 'F32' ? 4 : 2, mask, close };
  } catch (error) {
    folder.close();
    throw error;
  }
}

function drawMask(flags: BenchFlags, options: { shape: ModelShape; seed: number }): HeadMask {
  const { layers, kvHeads } = options.shape;
  const fraction = readNumberFlag('--streaming-fraction', {
    text: flags.streamingFraction ?? '0.5',
    least: 0,
    most: 1,
  });
  const retrievalHeads = layers * kvHeads - Math.floor(fraction * layers * kvHeads + 0.5);
  const window: Window = {
    sinkTokens: readIntegerFlag('--sink', { text: flags.sink, least: 0 }),
    recentTokens: readIntegerFlag('--recent', { text: flags.recent, least: 1 }),
  };
  return { mask: randomMask({ layers, kvHeads, retrievalHeads, random: makeRandom(options.seed, 'bench') }), window };
}

function requireHolding(checks: readonly SessionCheck[]): void {
  const broken = checks.find(({ holds }) => !holds);
  if (broken === undefined) return;
  throw new EngineError(
    `Expected that ${broken.law} within ${broken.limit}, got ${broken.error.toExponential(1)}; nothing was timed.`,
  );
}

/** Bytes read a second, null where only the tensorflow engine computes. */
async function measureBandwidth(engine: Engine, flags: BenchFlags): Promise<number | null> {
  if (engine.name !== 'native') return null;
  const { device, threads } = flags;
  return measureDevice('read-bandwidth', {
    ...(device !== undefined && { device }),
    ...(threads !== undefined && { threads }),
  });
}

function makeReport(run: {
  subject: Subject;
  context: number;
  figures: { full: ContextFigures; masked: ContextFigures };
  kvDtype: KvDtype;
  steps: number;
  batch: number;
}): ContextReport {
  const { subject, context, figures, kvDtype, steps, batch } = run;
  const model = subject.config.shape;
  const count = (tokens: number): { full: number; masked: number } => ({
    full: countKvBytes({ model, mask: 'full', tokens, dtype: kvDtype }),
    masked: countKvBytes({ model, mask: subject.mask, tokens, dtype: kvDtype }),
  });
  const maxTokens = Math.round(figures.full.fullKvBytes / count(1).full);
  const entries = count(context + Math.ceil(steps / 2));
  const weights = countDecodeWeights(subject.config) * subject.weightBytes;
  const readBytes = { full: weights + batch * entries.full, masked: weights + batch * entries.masked };
  return {
    context,
    figures,
    expectedKvBytes: count(maxTokens),
    readBytes,
    comparison: compareMasks(figures, readBytes),
  };
}

function formatReport(found: {
  reports: readonly ContextReport[];
  checks: readonly SessionCheck[];
  bandwidth: number | null;
  batch: number;
}): string {
  const header = [
    'context',
    'heads',
    'prefill s',
    'decode ms',
    'best ms',
    'tokens/s',
    'KV cache',
    'read GB/s',
    'of bandwidth',
  ];
  const rows = found.reports.flatMap((report) =>
    (['full', 'masked'] as const).map((side) => formatRow(report, { side, ...found })),
  );
  const lines = found.reports.map(({ context, comparison }) => {
    const { prefillSpeedup, decodeSpeedup, kvShare, savingShare } = comparison;
    const prefill = prefillSpeedup === null ? '' : `prefill ${prefillSpeedup.toFixed(2)}×, `;
    const saving = savingShare === null ? '' : `, ${formatPercent(savingShare)} of the saving its bytes promise`;
    return `${context} tokens, mask against full: ${prefill}decode ${decodeSpeedup.toFixed(2)}×${saving}, KV cache ${formatPercent(kvShare)}`;
  });
  const worst = Math.max(...found.checks.map(({ error, limit }) => error / limit));
  const bandwidth =
    found.bandwidth === null ? '' : `, read bandwidth measured in this run ${(found.bandwidth / 1e9).toFixed(2)} GB/s`;
  return [
    formatTable([header, ...rows]),
    '',
    ...lines,
    `${found.checks.length} laws checked before, ${formatPercent(worst)} of their tolerance used${bandwidth}`,
  ].join('\n');
}

function formatRow(
  report: ContextReport,
  view: { side: 'full' | 'masked'; bandwidth: number | null; batch: number },
): string[] {
  const figures = report.figures[view.side];
  const typical = median(figures.stepSeconds);
  const best = Math.min(...figures.stepSeconds);
  const rate = report.readBytes[view.side] / best;
  const isExact = figures.kvBytes === report.expectedKvBytes[view.side];
  return [
    `${report.context}`,
    view.side,
    figures.prefillSeconds === null ? '–' : figures.prefillSeconds.toFixed(2),
    (1000 * typical).toFixed(1),
    (1000 * best).toFixed(1),
    (view.batch / typical).toFixed(1),
    `${formatBytes(figures.kvBytes)}${isExact ? '' : ' (differs from the formula)'}`,
    (rate / 1e9).toFixed(2),
    view.bandwidth === null ? '–' : formatShare(rate / view.bandwidth),
  ];
}

/** A model that is read faster than memory can be lies in a cache, where the share says nothing. */
function formatShare(share: number): string {
  return share > 1.25 ? 'in cache' : formatPercent(share);
}

// duo bench: prefill, decode, identification steps and memory of a model folder or a named shape, under masks and under full attention.

import { arch, cpus, platform } from 'node:os';
import type { Command } from 'commander';
import { checkDistill, type DistillFigures, measureDistill } from '../bench/distill-bench.ts';
import {
  type Comparison,
  type ContextFigures,
  compareMasks,
  isOutOfMemory,
  measureContext,
} from '../bench/session-bench.ts';
import { checkSessions, type SessionCheck } from '../bench/session-checks.ts';
import { countDecodeWeights, NAMED_SHAPES } from '../bench/shapes.ts';
import { refuseIdle } from '../config/idle.ts';
import { findNarrowestWindow } from '../core/head-mask.ts';
import { countKvBytes } from '../core/kv-cost.ts';
import { isQuantizedKv, KV_DTYPES, type KvDtype } from '../core/session.ts';
import type { HeadMask } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { EngineError } from '../errors/errors.ts';
import { hashMask } from '../formats/mask-hash.ts';
import { listDevices, type Measure, measureDevice } from '../native/devices.ts';
import { countPrefillOperations } from '../runtime/operations.ts';
import { type BenchFlags, openSubject, type Subject } from './bench-subject.ts';
import { type CapacityReport, type ContextReport, formatReport } from './bench-table.ts';
import { listGivenFlags } from './idle-flags.ts';
import { addKvOptions, describeKv, readKvFlags } from './kv-flags.ts';
import { readIntegerFlag } from './numbers.ts';
import { addActivationsOption, addEngineOptions } from './open.ts';
import { printJson, printResult, say } from './terminal.ts';

/** Timed identification steps of each length. */
const DISTILL_REPEATS = 2;

export function defineBenchCommand(command: Command, signal: AbortSignal): void {
  command
    .option('--model <dir|demo>', 'model folder')
    .option('--shape <name>', `random weights of a shape: ${Object.keys(NAMED_SHAPES).join(', ')}`)
    .option('--layers <n>', 'with --shape: keep this many layers')
    .option(
      '--distinct-layers <n>',
      "with --shape: layers have the weights of the first n by turns, held once in host memory, for shapes that it doesn't hold",
    )
    .option(
      '--weights <storage>',
      'with --shape: bf16 (default), f32, or on a GPU int8 or int4; with --model on a GPU: stored (default), bf16, int8, int4',
    )
    .option(
      '--mask <file>',
      'mask.json of the model, or, with --shape, of a model with the same number of layers and heads',
    )
    .option(
      '--streaming-fraction <f,g>',
      'instead of a mask: these shares of KV heads stream, drawn by --seed; default 0.5',
    )
    .option(
      '--windows-like <file>',
      'instead of a mask: sinks and windows of a mask of any model, each for its share of the heads, assigned by --seed; repeat for more',
      (value: string, before: string[] | undefined): string[] => [...(before ?? []), value],
    )
    .option('--sink <n>', 'with --streaming-fraction: first tokens always seen', '128')
    .option('--recent <n>', 'with --streaming-fraction: nearest tokens seen', '256')
    .option('--contexts <a,b>', 'tokens before the timed steps, such as 2k,8k', '2k')
    .option('--prefill-up-to <n>', 'contexts up to this are prefilled and timed; longer ones are filled directly', '4k')
    .option('--distill <a,b>', 'lengths of identification steps to time, such as 1k,8k')
    .option('--chunk <n>', 'tokens of one internal prefill chunk')
    .option('--steps <n>', 'timed decode steps of each', '16')
    .option(
      '--batch <a,b>',
      'texts decoded together, such as 1,8,32; most: for each mask as many as fit on the device, up to 64',
      '1',
    )
    .option('--seed <n>', 'decides random weights, mask and text', '42')
    .option('--allow-other-model', 'accept a mask made for another model of the same shape')
    .option('--json', 'print everything as JSON');
  addKvOptions(command, 'bf16');
  addActivationsOption(addEngineOptions(command)).action((flags: BenchFlags) =>
    bench(flags, { given: listGivenFlags(command), signal }),
  );
}

async function bench(
  flags: BenchFlags,
  { given, signal }: { readonly given: ReadonlySet<string>; readonly signal: AbortSignal },
): Promise<void> {
  const contexts = flags.contexts.split(',').map((text) => readIntegerFlag('--contexts', { text, least: 1 }));
  const { kvDtype = 'bf16', kvRotation } = readKvFlags(flags);
  const kv = { kvDtype, ...(kvRotation !== undefined && { kvRotation }) };
  const steps = readIntegerFlag('--steps', { text: flags.steps, least: 1 });
  const batches = flags.batch.split(',').map(readBatch);
  const seed = readIntegerFlag('--seed', { text: flags.seed, least: 0 });
  const prefillUpTo = readIntegerFlag('--prefill-up-to', { text: flags.prefillUpTo, least: 0 });
  const chunkTokens =
    flags.chunk === undefined ? undefined : readIntegerFlag('--chunk', { text: flags.chunk, least: 1 });
  const distillLengths = (flags.distill ?? '')
    .split(',')
    .filter(Boolean)
    .map((text) => readIntegerFlag('--distill', { text, least: 2 }));
  const hasWindow = flags.mask !== undefined || flags.windowsLike !== undefined;
  const drawn = { isUsed: !hasWindow, needs: '--streaming-fraction; a mask has its own window' };
  const isFed = contexts.some((context) => context <= prefillUpTo);
  refuseIdle(given, [
    { flag: '--sink', ...drawn },
    { flag: '--recent', ...drawn },
    { flag: '--chunk', isUsed: isFed, needs: '--contexts of at most --prefill-up-to' },
  ]);
  const subject = await openSubject(flags, seed);
  try {
    const { engine, masks } = subject;
    say(
      `duo bench: ${subject.name}, ${engine.name} on ${engine.device}, KV ${describeKv(kvDtype, kvRotation)}; checking before timing.`,
    );
    const checks: SessionCheck[] = [];
    for (const [name, mask] of Object.entries(masks)) {
      const found = await checkSessions(engine, { mask, ...kv });
      checks.push(...(name === 'masked' ? found : found.map((check) => ({ ...check, law: `${name}: ${check.law}` }))));
    }
    if (distillLengths.length > 0) checks.push(await checkDistill(engine));
    requireHolding(checks);
    const measure = (name: Measure): Promise<number | null> => measureRate(engine, { name, flags });
    const isGpu = engine.device.startsWith('cuda');
    const copyBandwidth = isGpu ? await measure('copy-bandwidth') : null;
    const matrixRate = isGpu ? await measure('matmul-bf16') : null;
    const isStreamed = (engine.streamed?.() ?? null) !== null;
    const uploadBandwidth = isStreamed ? await measure('upload-bandwidth') : null;
    const rates = [await measure('read-bandwidth')];
    const reports: ContextReport[] = [];
    const cases = contexts.flatMap((context) => batches.map((batch) => ({ context, batch })));
    for (const { context, batch } of cases) {
      say(`duo bench: ${context} tokens${batches.length > 1 ? `, batch ${batch}` : ''}.`);
      const { figures, failed } = await measureWhatFits(engine, {
        context,
        masks: { full: 'full', ...masks },
        ...kv,
        steps,
        batch,
        seed,
        signal,
        feedsContext: context <= prefillUpTo,
        ...(chunkTokens !== undefined && { chunkTokens }),
      });
      reports.push(makeReport({ subject, context, figures, failed, kvDtype, steps }));
      rates.push(await measure('read-bandwidth'));
    }
    const distill: DistillFigures[] = [];
    const window = findNarrowestWindow(Object.values(masks)[0] as HeadMask);
    for (const tokens of distillLengths) {
      say(`duo bench: an identification step of ${tokens} tokens.`);
      distill.push(await measureDistill(engine, { tokens, window, repeats: DISTILL_REPEATS, seed, signal }));
    }
    const bandwidth = rates.every((rate) => rate !== null) ? Math.max(...(rates as number[])) : null;
    const machine = { cpu: cpus()[0]?.model ?? 'unknown', platform: platform(), arch: arch() };
    const settings = {
      model: subject.name,
      engine: engine.name,
      device: engine.device,
      activations: flags.activations ?? 'float32',
      weights: flags.weights ?? (flags.shape === undefined ? 'stored' : 'bf16'),
      weightsOn: isStreamed ? 'host' : 'device',
      distinctLayers: flags.distinctLayers === undefined ? null : Number(flags.distinctLayers),
      kvDtype,
      kvRotation: isQuantizedKv(kvDtype) ? kvRotation !== false : null,
      steps,
      batch: batches.length === 1 && batches[0] !== 'most' ? (batches[0] as number) : null,
      seed,
      window,
    };
    const measured = { readBandwidth: bandwidth, copyBandwidth, matrixRate, uploadBandwidth };
    const most = Math.max(...batches.map((batch) => (batch === 'most' ? 1 : batch)));
    const capacity = countCapacity({ subject, batch: most });
    const maskHash = hashMask(Object.values(masks)[0] as HeadMask);
    if (flags.json)
      printJson({ ...settings, maskHash, machine, ...measured, checks, contexts: reports, capacity, distill });
    else printResult(formatReport({ reports, capacity, distill, checks, rates: measured }));
  } finally {
    await subject.close();
  }
}

/** All masks side by side; if they do not fit in memory together, each alone, and for one that does not fit even alone, the reason.
 * @throws {EngineError} no mask fits; an error other than of memory; {AbortedError}. */
async function measureWhatFits(
  engine: Engine,
  options: Parameters<typeof measureContext<string>>[1],
): Promise<{ figures: Record<string, ContextFigures>; failed: Record<string, string> }> {
  try {
    if (options.batch === 'most') return await measureEach(engine, options);
    return { figures: await measureContext(engine, options), failed: {} };
  } catch (error) {
    if (!isOutOfMemory(error)) throw error;
    const alone = await measureEach(engine, options);
    if (Object.keys(alone.figures).length === 0) throw error;
    return alone;
  }
}

/** Each mask with the device's memory to itself. */
async function measureEach(
  engine: Engine,
  options: Parameters<typeof measureContext<string>>[1],
): Promise<{ figures: Record<string, ContextFigures>; failed: Record<string, string> }> {
  const figures: Record<string, ContextFigures> = {};
  const failed: Record<string, string> = {};
  for (const [name, mask] of Object.entries(options.masks)) {
    try {
      Object.assign(figures, await measureContext(engine, { ...options, masks: { [name]: mask } }));
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
      failed[name] = (error as Error).message;
    }
  }
  return { figures, failed };
}

function readBatch(text: string): number | 'most' {
  return text === 'most' ? text : readIntegerFlag('--batch', { text, least: 1 });
}

/** Most tokens, for each KV storage and mask, whose caches fit in addition to the weights, by the formula, with no scratch counted.
 * Null where the device's memory is not known. */
function countCapacity({ subject, batch }: { subject: Subject; batch: number }): CapacityReport | null {
  const { engine, config, masks } = subject;
  if (engine.name !== 'native') return null;
  const device = listDevices().find(({ name }) => engine.device.startsWith(name));
  if (device === undefined) return null;
  const room = device.memoryBytes - (engine.streamed?.()?.deviceBytes ?? subject.weightBytes.all);
  const rows = KV_DTYPES.map((dtype) => ({
    kvDtype: dtype,
    tokens: Object.fromEntries(
      Object.entries({ full: 'full' as const, ...masks }).map(([name, mask]) => [
        name,
        findMostTokens((tokens) => {
          const storage = { dtype, device: device.name };
          return batch * countKvBytes({ model: config.shape, mask, tokens, ...storage }) <= room;
        }),
      ]),
    ),
  }));
  return { memoryBytes: device.memoryBytes, weightBytes: device.memoryBytes - room, rows };
}

/** Above it a mask without retrieval heads fits any text. */
const MAX_TOKENS = 2 ** 40;

/** The largest number for which `fits` holds; null where that has no bound. */
function findMostTokens(fits: (tokens: number) => boolean): number | null {
  if (fits(MAX_TOKENS)) return null;
  let low = 0;
  let high = MAX_TOKENS;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

function requireHolding(checks: readonly SessionCheck[]): void {
  const broken = checks.find(({ holds }) => !holds);
  if (broken === undefined) return;
  throw new EngineError(
    `Expected that ${broken.law} within ${broken.limit}, got ${broken.error.toExponential(1)}; nothing was timed.`,
  );
}

/** Of the device, null where only the tensorflow engine computes. */
async function measureRate(engine: Engine, options: { name: Measure; flags: BenchFlags }): Promise<number | null> {
  if (engine.name !== 'native') return null;
  const { threads } = options.flags;
  // The engine's device begins with the name of one: `cuda:0 NVIDIA H100 …`, `cpu avx512`.
  const device = options.flags.device ?? engine.device.split(' ')[0];
  return measureDevice(options.name, {
    ...(device !== undefined && { device }),
    ...(threads !== undefined && { threads }),
  });
}

function makeReport(run: {
  subject: Subject;
  context: number;
  figures: Record<string, ContextFigures>;
  failed: Record<string, string>;
  kvDtype: KvDtype;
  steps: number;
}): ContextReport {
  const { subject, context, figures, failed, kvDtype, steps } = run;
  const model = subject.config.shape;
  const masks: Record<string, HeadMask | 'full'> = { full: 'full', ...subject.masks };
  const full = figures.full;
  const any = Object.values(figures)[0] as ContextFigures;
  const count = (mask: HeadMask | 'full', tokens: number): number =>
    countKvBytes({ model, mask, tokens, dtype: kvDtype, device: subject.engine.device });
  const maxTokens = Math.round(any.fullKvBytes / count('full', 1));
  const weights = subject.weightBytes.decode;
  const forEachMask = <Value>(get: (mask: HeadMask | 'full') => Value): Record<string, Value> =>
    Object.fromEntries(Object.entries(masks).map(([name, mask]) => [name, get(mask)]));
  const fromFigures = <Value>(get: (name: string, figures: ContextFigures) => Value): Record<string, Value> =>
    Object.fromEntries(Object.entries(figures).map(([name, found]) => [name, get(name, found)]));
  const entryBytes = fromFigures(
    (name, { batch }) => batch * count(masks[name] as HeadMask | 'full', context + Math.ceil(steps / 2)),
  );
  const readBytes = fromFigures((name) => weights + (entryBytes[name] as number));
  const comparisons: Record<string, Comparison> = {};
  for (const name of Object.keys(subject.masks)) {
    if (full === undefined || figures[name] === undefined) continue;
    comparisons[name] = compareMasks(
      { full, masked: figures[name] as ContextFigures },
      { full: readBytes.full as number, masked: readBytes[name] as number },
    );
  }
  return {
    context,
    figures,
    failed,
    expectedKvBytes: forEachMask((mask) => count(mask, maxTokens)),
    readBytes,
    weightReadBytes: weights,
    streamedBytes: subject.engine.streamed?.()?.passBytes ?? 0,
    weightOperations: fromFigures((_, { batch }) => 2 * batch * countDecodeWeights(subject.config)),
    prefillOperations: forEachMask((mask) => {
      const { linear, attention } = countPrefillOperations({ config: subject.config, mask, tokens: context });
      return linear + attention;
    }),
    comparison: Object.values(comparisons)[0] ?? null,
    comparisons,
  };
}

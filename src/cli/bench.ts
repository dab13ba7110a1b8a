// duo bench: prefill, decode and memory of a model folder or a named shape, under a mask beside full attention.
import { arch, cpus, platform } from 'node:os';
import type { Command } from 'commander';
import type { KvDtype } from '../core/session.ts';
import type { Engine } from '../engine/engine.ts';
import { EngineError } from '../errors/errors.ts';
import { countKvBytes } from '../eval/footprint.ts';
import { measureDevice } from '../native/devices.ts';
import { type ContextFigures, compareMasks, measureContext } from '../runtime/session-bench.ts';
import { checkSessions, type SessionCheck } from '../runtime/session-checks.ts';
import { countDecodeWeights, NAMED_SHAPES } from '../runtime/shapes.ts';
import { type BenchFlags, openSubject, type Subject } from './bench-subject.ts';
import { type ContextReport, formatReport } from './bench-table.ts';
import { readChoiceFlag, readIntegerFlag } from './numbers.ts';
import { addEngineOptions } from './open.ts';
import { KV_DTYPES } from './run.ts';
import { printJson, printResult, say } from './terminal.ts';

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

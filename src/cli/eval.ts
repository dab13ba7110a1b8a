// duo eval: what a mask keeps, beside baselines, on any samples file.
import type { Command } from 'commander';
import { parseCount } from '../config/flags.ts';
import type { HeadMask } from '../core/shapes.ts';
import { ConfigError } from '../errors/errors.ts';
import { listBaselines, type NamedMask } from '../eval/baselines.ts';
import { evaluateSamples } from '../eval/evaluate-samples.ts';
import { checkMaskFits, type MaskFile, readMask, toHeadMask } from '../formats/mask.ts';
import { readSamples } from '../formats/samples.ts';
import type { ModelFolder } from '../model/folder.ts';
import { addEngineOptions, type EngineFlags, openEngine, openModel } from './open.ts';
import { formatRecallTable } from './recall-table.ts';
import { limitsOf } from './sample-source.ts';
import { makeProgress, printJson, printResult, say } from './terminal.ts';

interface EvalFlags extends EngineFlags {
  readonly model: string;
  readonly mask?: string;
  readonly samples?: string;
  readonly baselines: string;
  readonly randomMasks: string;
  readonly seed: string;
  readonly allowOtherModel?: boolean;
  readonly json?: boolean;
}

export function addEvalCommand(program: Command, signal: AbortSignal): void {
  const command = program
    .command('eval')
    .description('measure what a mask keeps, beside full attention and other masks')
    .requiredOption('--model <dir|demo>', 'model folder')
    .option('--mask <file>', 'mask.json to measure; its row is called given')
    .option('--samples <file>', 'samples.jsonl: answer accuracy and log-probability, a row a mask')
    .option(
      '--baselines <a,b>',
      'full, streaming, random, inverted, layer-uniform; all with the window of --mask',
      'full',
    )
    .option('--random-masks <n>', 'random masks of the same size', '3')
    .option('--seed <n>', 'decides the random masks', '42')
    .option('--allow-other-model', 'accept a mask made for another model of the same shape')
    .option('--json', 'print the rows as JSON');
  addEngineOptions(command).action((flags: EvalFlags) => evaluate(flags, signal));
}

async function evaluate(flags: EvalFlags, signal: AbortSignal): Promise<void> {
  if (flags.samples === undefined) throw new ConfigError('Expected --samples to name a samples file, got none.');
  const folder = openModel(flags.model);
  try {
    const masks = listMasks(flags, folder);
    const samples = [...readSamples(flags.samples, limitsOf(folder))];
    const engine = await openEngine(folder, flags);
    try {
      say(`duo eval: ${samples.length} samples × ${masks.length} masks, engine ${engine.name} on ${engine.device}.`);
      const progress = makeProgress('evaluations');
      const rows = await evaluateSamples({
        engine,
        samples,
        masks,
        signal,
        onProgress: (done, total) => progress.update(done, total),
      });
      progress.finish();
      if (flags.json) printJson({ rows });
      else printResult(formatRecallTable(rows));
    } finally {
      await engine.close();
    }
  } finally {
    folder.close();
  }
}

/** The rows' masks in order: the baselines asked for, with `given` after `full`, or first where full was not asked for. */
function listMasks(flags: EvalFlags, folder: ModelFolder): NamedMask[] {
  const { shape } = folder.config;
  const file: MaskFile | null = flags.mask === undefined ? null : readMask(flags.mask);
  if (file !== null) {
    const model = { shape, fingerprint: folder.fingerprint };
    checkMaskFits(file, model, { path: flags.mask as string, allowOther: flags.allowOtherModel === true });
  }
  const given: HeadMask | null = file === null ? null : toHeadMask(file);
  const baselines = listBaselines({
    names: flags.baselines.split(',').map((name) => name.trim()),
    model: shape,
    given,
    ...(file === null ? {} : { gates: file.gates }),
    randomMasks: readInteger('--random-masks', { text: flags.randomMasks, least: 1 }),
    seed: readInteger('--seed', { text: flags.seed, least: 0 }),
  });
  if (given === null) return baselines;
  const full = baselines.filter(({ name }) => name === 'full');
  const others = baselines.filter(({ name }) => name !== 'full');
  return [...full, { name: 'given', mask: given }, ...others];
}

function readInteger(flag: string, options: { text: string; least: number }): number {
  const value = parseCount(options.text);
  if (value === null || !Number.isInteger(value) || value < options.least) {
    throw new ConfigError(`Expected ${flag} to be an integer of at least ${options.least}, got \`${options.text}\`.`);
  }
  return value;
}

// duo generate: write multi-passkey samples as JSONL, with their provenance beside them.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Split } from '../../data-gen/length.ts';
import { generateSamples, type PasskeySample, pickPasskeySettings } from '../../data-gen/passkey.ts';
import { listChanges } from '../config/fit.ts';
import { AbortedError, ConfigError } from '../errors/errors.ts';
import { isReplacedWhole } from '../formats/output.ts';
import type { JsonRecord } from '../formats/read-json.ts';
import { metaPathOf, streamSamples } from '../formats/samples.ts';
import type { ModelFolder } from '../model/folder.ts';
import { addConfigOptions, readConfigFlags, sayChanges } from './config-flags.ts';
import { readIntegerFlag } from './numbers.ts';
import { openModel } from './open.ts';
import { checkOutput, checkStdoutIsFree, nameOutput } from './outputs.ts';
import { addProgressOption, makeProgress } from './progress.ts';
import { checkIds, openOrigin } from './sample-source.ts';
import { stdoutClosed } from './stdout.ts';
import { printJson, say } from './terminal.ts';
import { readVersion } from './version.ts';

interface GenerateFlags {
  readonly model: string;
  readonly out: string;
  readonly haystack?: string;
  readonly count?: string;
  readonly split: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

export function addGenerateCommand(program: Command, signal: AbortSignal): void {
  const command = program
    .command('generate')
    .description('write multi-passkey samples for a model as JSONL')
    .requiredOption('--model <dir|demo>', 'model folder; only config.json and the tokenizer are read')
    .requiredOption(
      '--out <file>',
      'samples file to write, - for standard output; provenance goes to <file without .jsonl>.meta.json',
    )
    .option('--overwrite', 'replace a file of another kind at --out')
    .option('--count <n>', 'number of samples; default: the steps of the preset')
    .option('--split <name>', 'train or held-out: two sets that share no text and no draw', 'train')
    .option('--haystack <path>', 'text file, folder, JSONL, JSONL.gz or JSONL.zst; default: generated prose')
    .option('--json', 'print what was written as JSON');
  addProgressOption(addConfigOptions(command)).action((flags: GenerateFlags & Record<string, unknown>) =>
    generate(flags, signal),
  );
}

async function generate(flags: GenerateFlags & Record<string, unknown>, signal: AbortSignal): Promise<void> {
  if (flags.split !== 'train' && flags.split !== 'held-out') {
    throw new ConfigError(`Expected --split to be train or held-out, got \`${flags.split}\`.`);
  }
  const split: Split = flags.split;
  checkOutputs(flags);
  const folder = await openModel(flags.model, { weights: 'optional', signal });
  try {
    const { asked, config: read, ...fit } = readConfigFlags(flags, { name: flags.model, shape: folder.config.shape });
    const count = readIntegerFlag('--count', { text: flags.count ?? String(read.steps), least: 1 });
    const opened = await openOrigin({ folder, config: read, haystackPath: flags.haystack, ...fit });
    const { hash, inputs, config, ...origin } = opened;
    sayChanges(listChanges(asked, config), 'the model and its tokenizer');
    const progress = makeProgress('samples');
    const { haystackHash, tokenizerHash } = inputs as { haystackHash: string; tokenizerHash: string };
    const meta = await streamSamples(flags.out, {
      samples: untilAborted(withCheckedIds(generateSamples({ ...origin, split, count }), folder), signal),
      provenance: {
        tool: `duo ${readVersion()}`,
        seed: config.seed,
        split,
        origin: hash,
        settings: pickPasskeySettings(config) as unknown as JsonRecord,
        haystack: haystackHash,
        tokenizer: tokenizerHash,
      },
      onWritten: (written) => progress.update(written, count),
    });
    if (flags.json) printJson({ out: resolve(flags.out), count: meta.count, samples: meta.samples });
    else say(`Wrote ${meta.count} samples to ${nameOutput(flags.out)} (${meta.samples}).`);
  } finally {
    folder.close();
  }
}

/** @throws {ConfigError} an output that would destroy something. */
function checkOutputs(flags: GenerateFlags): void {
  const options = { inputs: [flags.haystack], overwrite: flags.overwrite === true };
  checkStdoutIsFree(flags.out, flags);
  checkOutput(flags.out, { ...options, kind: 'samples' });
  if (isReplacedWhole(flags.out)) checkOutput(metaPathOf(flags.out), { ...options, kind: 'samples-meta' });
}

/** The items one by one, with a turn for signals and timers before each. @throws {AbortedError} before the next one. */
async function* untilAborted<Item>(items: Iterable<Item>, signal: AbortSignal): AsyncGenerator<Item> {
  for (const item of items) {
    await new Promise((turn) => setImmediate(turn));
    if (signal.aborted || stdoutClosed.aborted)
      throw new AbortedError('The samples were not written; generation was stopped.');
    yield item;
  }
}

function* withCheckedIds(samples: Iterable<PasskeySample>, folder: ModelFolder): Generator<PasskeySample> {
  for (const sample of samples) yield checkIds(sample, folder);
}

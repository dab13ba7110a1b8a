// duo generate: write samples as JSONL, with their provenance in a file next to them: passkeys in a haystack, windows of running text with their
// long-range tokens as answers, or the two by turns.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { PASSKEY_KEYS, pickPasskeySettings } from '../../data-gen/passkey.ts';
import { findDocuments } from '../../identify/documents.ts';
import { describeCounts, LONG_RANGE_KEYS, pickLongRangeSettings } from '../../identify/long-range-source.ts';
import type { Objective } from '../../identify/objective.ts';
import { type ObjectiveSource, openObjectiveSource } from '../../identify/objective-source.ts';
import { listChanges } from '../config/fit.ts';
import { listConfigKeys, resolveConfig } from '../config/flags.ts';
import { loadPreset } from '../config/presets.ts';
import { readVersion } from '../core/package.ts';
import type { Sample } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError, ConfigError } from '../errors/errors.ts';
import { isReplacedWhole } from '../formats/output.ts';
import type { JsonRecord } from '../formats/read-json.ts';
import { metaPathOf, streamSamples } from '../formats/samples.ts';
import type { ModelFolder } from '../model/folder.ts';
import { addConfigOptions, readConfigFlags, sayChanges } from './config-flags.ts';
import { readIntegerFlag } from './numbers.ts';
import { addDocumentOptions, type DocumentFlags, refuseFlags } from './objective-flags.ts';
import { addEngineOptions, type EngineFlags, openEngine, openModel } from './open.ts';
import { checkOutput, checkStdoutIsFree, nameOutput } from './outputs.ts';
import { addProgressOption, makeProgress } from './progress.ts';
import { stdoutClosed } from './stdout.ts';
import { printJson, say } from './terminal.ts';

/** Preset keys that samples depend on. */
const GENERATE_KEYS: readonly string[] = ['objective', 'seed', ...PASSKEY_KEYS, ...LONG_RANGE_KEYS];

interface GenerateFlags extends EngineFlags, DocumentFlags {
  readonly model: string;
  readonly out: string;
  readonly config?: string;
  readonly objective?: string;
  readonly haystack?: string;
  readonly count?: string;
  readonly split: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

export function defineGenerateCommand(command: Command, signal: AbortSignal): void {
  command
    .requiredOption('--model <dir|demo>', 'model folder; long-range samples need its weights, passkeys do not')
    .requiredOption(
      '--out <file>',
      'samples file to write, - for standard output; provenance goes to <file without .jsonl>.meta.json',
    )
    .option('--overwrite', 'replace a file of another kind at --out')
    .option('--count <n>', 'number of samples; default: the steps of the preset')
    .option('--split <name>', 'train or held-out: two sets that share no text and no draw', 'train')
    .option(
      '--haystack <path>',
      'text around passkeys: file, folder, JSONL, JSONL.gz or JSONL.zst; default: generated prose',
    )
    .option('--json', 'print what was written as JSON');
  addProgressOption(addEngineOptions(addConfigOptions(addDocumentOptions(command), GENERATE_KEYS))).action(
    (flags: GenerateFlags & Record<string, unknown>) => generate(flags, signal),
  );
}

async function generate(flags: GenerateFlags & Record<string, unknown>, signal: AbortSignal): Promise<void> {
  const { split } = flags;
  if (split !== 'train' && split !== 'held-out') {
    throw new ConfigError(`Expected --split to be train or held-out, got \`${split}\`.`);
  }
  checkOutputs(flags);
  const objective = readObjective(flags);
  const folder = await openModel(flags.model, { weights: objective === 'passkey' ? 'optional' : 'required', signal });
  let engine: Engine | null = null;
  try {
    const { asked, config: read, ...fit } = readConfigFlags(flags, { name: flags.model, shape: folder.config.shape });
    const count = readIntegerFlag('--count', { text: flags.count ?? String(read.steps), least: 1 });
    if (objective !== 'passkey') engine = await openEngine(folder, flags);
    const source = await openObjectiveSource({
      objective,
      folder,
      config: read,
      haystackPath: flags.haystack,
      documentsPath: objective === 'passkey' ? null : findDocuments(flags),
      heldOutPath: flags.heldOutDocuments,
      engine,
      split,
      signal,
      ...fit,
    });
    sayChanges(listChanges(asked, source.config), 'the model and its tokenizer');
    const progress = makeProgress('samples');
    const meta = await streamSamples(flags.out, {
      samples: makeSamples(source, { count, signal }),
      provenance: () => ({
        tool: `duo ${readVersion()}`,
        seed: source.config.seed,
        split,
        ...describeSamples({ source, objective, engine, folder }),
      }),
      onWritten: (written) => progress.update(written, count),
    });
    const { counts } = source;
    if (flags.json) {
      const found = counts === null ? {} : { found: counts };
      printJson({ out: resolve(flags.out), count: meta.count, samples: meta.samples, ...found });
      return;
    }
    say(`Wrote ${meta.count} samples to ${nameOutput(flags.out)} (${meta.samples}).`);
    if (counts !== null) say(describeCounts(counts));
  } finally {
    await engine?.close();
    folder.close();
  }
}

/** The objective asked for. What a shipped preset says is for identify; here it is passkeys unless a person asks for another.
 * @throws {ConfigError} an unknown objective, or flags that it has no use for. */
function readObjective(flags: GenerateFlags): Objective {
  const preset = loadPreset(flags.config ?? 'base');
  const isAsked = flags.objective !== undefined || preset.ownKeys.has('objective');
  const { objective: found } = resolveConfig({ preset, overrides: { objective: flags.objective } });
  const objective = isAsked ? found : 'passkey';
  const given = flags as unknown as Record<string, unknown>;
  if (objective === 'passkey') {
    const names = ['documents', 'heldOutDocuments', 'engine', 'device', 'backend', 'threads'];
    names.push(...listFlagsOnlyOf(LONG_RANGE_KEYS, PASSKEY_KEYS));
    refuseFlags(given, { names, objective, instead: 'long-range or both' });
  }
  if (objective === 'long-range') {
    const names = ['haystack', ...listFlagsOnlyOf(PASSKEY_KEYS, LONG_RANGE_KEYS)];
    refuseFlags(given, { names, objective, instead: 'passkey or both' });
  }
  return objective;
}

/** Flags of the preset keys that one objective has and the other has not. */
function listFlagsOnlyOf(keys: readonly string[], others: readonly string[]): string[] {
  const own = keys.filter((key) => !others.includes(key));
  return listConfigKeys().flatMap(({ key, name }) => (own.includes(name.split('.')[0] as string) ? [key] : []));
}

/** What decided the samples, for their provenance. */
function describeSamples(parts: {
  source: ObjectiveSource;
  objective: Objective;
  engine: Engine | null;
  folder: ModelFolder;
}): JsonRecord {
  const { source, objective, engine, folder } = parts;
  const { config, counts } = source;
  const { haystackHash, documentsHash, tokenizerHash } = source.inputs as Record<string, string>;
  const passkeys = { settings: pickPasskeySettings(config) as unknown as JsonRecord, haystack: haystackHash as string };
  const shared = { origin: source.hash, tokenizer: tokenizerHash as string };
  if (counts === null) return { ...shared, ...passkeys };
  const own = pickLongRangeSettings(config);
  return {
    ...shared,
    ...(objective === 'both' ? { ...passkeys, settings: { ...passkeys.settings, ...own } } : { settings: own }),
    objective,
    documents: documentsHash as string,
    model: folder.fingerprint,
    engine: engine?.name ?? null,
    found: { ...counts },
  };
}

/** @throws {ConfigError} an output that would destroy something. */
function checkOutputs(flags: GenerateFlags): void {
  const inputs = [flags.haystack, flags.documents, flags.heldOutDocuments];
  const options = { inputs, overwrite: flags.overwrite === true };
  checkStdoutIsFree(flags.out, flags);
  checkOutput(flags.out, { ...options, kind: 'samples' });
  if (isReplacedWhole(flags.out)) checkOutput(metaPathOf(flags.out), { ...options, kind: 'samples-meta' });
}

/** The samples one by one, with a turn for signals and timers before each. @throws {AbortedError} before the next one. */
async function* makeSamples(
  source: ObjectiveSource,
  { count, signal }: { count: number; signal: AbortSignal },
): AsyncGenerator<Sample> {
  for (let index = 0; index < count; index++) {
    await new Promise((turn) => setImmediate(turn));
    if (signal.aborted || stdoutClosed.aborted)
      throw new AbortedError('The samples were not written; generation was stopped.');
    yield await source.sampleAt(index);
  }
}

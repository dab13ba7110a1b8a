// Where identify's samples come from: a samples file, read in file order again and again, or the generator.

import { createHash } from 'node:crypto';
import { fitPasskeys } from '../data-gen/fit-passkeys.ts';
import { openHaystack } from '../data-gen/haystack.ts';
import { drawLength, heldOutLengths } from '../data-gen/length.ts';
import type { LongRangeCounts } from '../data-gen/long-range.ts';
import {
  generateSample,
  generateSamples,
  type PasskeySample,
  pickPasskeySettings,
  type SampleOrigin,
} from '../data-gen/passkey.ts';
import type { Config } from '../src/config/config.ts';
import type { Split } from '../src/core/haystack.ts';
import type { Sample } from '../src/core/shapes.ts';
import { ConfigError, ModelError } from '../src/errors/errors.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import { checkSample, openSamples, readSamples, type SampleLimits } from '../src/formats/samples.ts';
import type { ModelFolder } from '../src/model/folder.ts';
import { hashTokenizer, openTokenizer } from '../src/text/tokenizer.ts';

/** Samples by step, with what a resume and a record need to know of them. */
export interface SampleSource {
  sampleAt(step: number): Sample | Promise<Sample>;
  /** tokens of step `step`'s sample */
  lengthAt(step: number): number;
  /** a short sample, to measure the rate with */
  shortSample(): Sample | Promise<Sample>;
  /** `sha256:…` of the samples file, or of everything that decides the generated samples */
  readonly hash: string;
  /** for run.json: paths and hashes of what is read */
  readonly inputs: JsonRecord;
  /** long-range tokens found so far, where the objective asks for them */
  readonly counts?: LongRangeCounts | null;
  close(): void;
}

/** The longest sample and largest token id the model takes. */
export function limitsOf(folder: ModelFolder): SampleLimits {
  return { vocab: folder.config.shape.vocab, maxTokens: folder.config.shape.maxPositions };
}

/** Samples that the user gives, with their number and the tokens of the longest. */
export type GivenSource = SampleSource & { readonly count: number; readonly longest: number };

/** Samples from us or anybody, a file or a list; neither tokenizer nor haystack is read. @throws {FormatError}; {FileError}. */
export function openGivenSource(given: string | readonly Sample[], folder: ModelFolder): GivenSource {
  return typeof given === 'string' ? openFileSource(given, folder) : openListSource(given, folder);
}

/** All samples of a file or a list, checked. @throws {FormatError}; {FileError}. */
export function readGivenSamples(given: string | readonly Sample[], folder: ModelFolder): Sample[] {
  if (typeof given === 'string') return [...readSamples(given, limitsOf(folder))];
  return given.map((sample, index) => checkSample(sample, { ...limitsOf(folder), place: `sample ${index + 1}` }));
}

function openFileSource(path: string, folder: ModelFolder): GivenSource {
  const file = openSamples(path, limitsOf(folder));
  const shortest = file.lengths.indexOf(file.shortest);
  return {
    sampleAt: (step) => file.read(step % file.count),
    lengthAt: (step) => file.lengths[step % file.count] as number,
    shortSample: () => file.read(shortest),
    count: file.count,
    longest: file.lengths.reduce((most, length) => Math.max(most, length), 0),
    hash: file.hash,
    inputs: { samples: path, samplesHash: file.hash },
    close: () => file.close(),
  };
}

function openListSource(list: readonly Sample[], folder: ModelFolder): GivenSource {
  const samples = readGivenSamples(list, folder);
  const lengths = samples.map(({ tokens }) => tokens.length);
  const shortest = lengths.indexOf(Math.min(...lengths));
  if (shortest < 0) throw new ConfigError('Expected at least one sample in `samples`, got none.');
  // The bytes of the samples.jsonl that would hold them, so that both have the same hash.
  const hash = hashText(samples.map((sample) => `${JSON.stringify(sample)}\n`).join(''));
  return {
    sampleAt: (step) => samples[step % samples.length] as Sample,
    lengthAt: (step) => lengths[step % samples.length] as number,
    shortSample: () => samples[shortest] as Sample,
    count: samples.length,
    longest: lengths.reduce((most, length) => Math.max(most, length), 0),
    hash,
    inputs: { samples: null, samplesHash: hash },
    close: () => {},
  };
}

/** How generated samples are asked for: settings fitted to the model, and what of them may still change (`resolveSettings`). */
export interface OriginOptions {
  readonly folder: ModelFolder;
  readonly config: Config;
  readonly haystackPath: string | undefined;
  /** keys the person set; default: every key, so that nothing changes */
  readonly given?: ReadonlySet<string>;
  readonly isCut?: boolean;
}

/** Where generated samples come from, with the settings fitted to the tokenizer. @throws {FormatError} no tokenizer, malformed haystack; {FileError}. */
export async function openOrigin(
  options: OriginOptions,
): Promise<Omit<SampleOrigin, 'split'> & { config: Config; hash: string; inputs: JsonRecord }> {
  const { folder, haystackPath, given, isCut = false } = options;
  const { maxPositions } = folder.config.shape;
  const tokenizer = openTokenizer(folder.path);
  const haystack = await openHaystack({ path: haystackPath ?? null, tokenizer });
  const tokenizerHash = hashTokenizer(folder.path);
  // Where the CPU or the model cut the lengths, passkeys must fit into what is left.
  const longest = isCut ? Math.min(options.config.maxTokens, maxPositions) : maxPositions;
  const { config } = given
    ? fitPasskeys(options.config, { tokenizer, maxPositions: longest, given })
    : { config: options.config };
  const settings = pickPasskeySettings(config);
  const hash = hashText(JSON.stringify([settings, config.seed, haystack.hash, tokenizerHash, tokenizer.bosTokenId]));
  return {
    tokenizer,
    haystack,
    settings,
    seed: config.seed,
    maxPositions,
    config,
    hash,
    inputs: {
      haystack: haystackPath ?? haystack.description,
      haystackHash: haystack.hash,
      tokenizerHash,
      samplesHash: hash,
    },
  };
}

/** Passkey samples; each is made when its step asks for it. @throws {ConfigError} lengths that the model or the passkeys forbid. */
export async function openGeneratedSource(
  options: OriginOptions & { readonly split: Split },
): Promise<SampleSource & { config: Config }> {
  const { split } = options;
  const { config, ...origin } = await openOrigin(options);
  const maxPositions = options.folder.config.shape.maxPositions;
  if (config.maxTokens > maxPositions) {
    throw new ConfigError(
      `Expected --max-tokens of at most the ${maxPositions} tokens that the model allows, got \`${config.maxTokens}\`; lower --max-tokens.`,
    );
  }
  const generate = (index: number, lengthTokens?: number): Sample =>
    checkIds(
      generateSample({ ...origin, split, index, ...(lengthTokens === undefined ? {} : { lengthTokens }) }),
      options.folder,
    );
  const lengths = split === 'train' ? config : heldOutLengths(config, maxPositions);
  return {
    config,
    sampleAt: (index) => generate(index),
    lengthAt: (index) => drawLength(lengths, { seed: config.seed, split, index }),
    shortSample: () => generate(0, config.minTokens),
    hash: origin.hash,
    inputs: origin.inputs,
    close: () => {},
  };
}

/** The sample, if the model has a row for each of its ids: a tokenizer may have more ids than the model, as long as no text uses them.
 * @throws {ModelError} an id without a row. */
export function checkIds<Item extends Sample>(sample: Item, folder: ModelFolder): Item {
  const { vocab } = folder.config.shape;
  const id = sample.tokens.find((token) => token >= vocab);
  if (id === undefined) return sample;
  throw new ModelError(
    `Expected token ids below the model's ${vocab}, got \`${id}\` from the tokenizer of ${folder.path}; check that tokenizer.json belongs to these weights.`,
  );
}

/** Held-out samples: other draws, other text, lengths up to `heldOutLengthFactor` times the longest. */
export async function makeHeldOutSamples(options: OriginOptions): Promise<PasskeySample[]> {
  const origin = await openOrigin(options);
  const count = options.config.heldOutSamples;
  return Array.from(generateSamples({ ...origin, split: 'held-out', count }), (sample) =>
    checkIds(sample, options.folder),
  );
}

function hashText(data: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

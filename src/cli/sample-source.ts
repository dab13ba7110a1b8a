// Where identify's samples come from: a samples file, read in file order again and again, or the generator.
import { createHash } from 'node:crypto';
import { openHaystack } from '../../data-gen/haystack.ts';
import { drawLength } from '../../data-gen/length.ts';
import {
  generateSample,
  generateSamples,
  type PasskeySample,
  pickPasskeySettings,
  type SampleOrigin,
} from '../../data-gen/passkey.ts';
import type { Config } from '../config/config.ts';
import type { Sample } from '../core/shapes.ts';
import { ConfigError, ModelError } from '../errors/errors.ts';
import type { JsonRecord } from '../formats/read-json.ts';
import { openSamples, type SampleLimits } from '../formats/samples.ts';
import type { ModelFolder } from '../model/folder.ts';
import { hashTokenizer, openTokenizer } from '../text/tokenizer.ts';

/** Samples by step, with what a resume and a record need to know of them. */
export interface SampleSource {
  sampleAt(step: number): Sample;
  /** tokens of step `step`'s sample */
  lengthAt(step: number): number;
  /** a short sample, to measure the rate with */
  shortSample(): Sample;
  /** `sha256:…` of the samples file, or of everything that decides the generated samples */
  readonly hash: string;
  /** for run.json: paths and hashes of what is read */
  readonly inputs: JsonRecord;
  close(): void;
}

/** The longest sample and largest token id the model takes. */
export function limitsOf(folder: ModelFolder): SampleLimits {
  return { vocab: folder.config.shape.vocab, maxTokens: folder.config.shape.maxPositions };
}

/** Samples of a file, from us or anybody; neither tokenizer nor haystack is read. @throws {FormatError}; {FileError}. */
export function openFileSource(path: string, folder: ModelFolder): SampleSource {
  const file = openSamples(path, limitsOf(folder));
  const shortest = file.lengths.indexOf(file.shortest);
  return {
    sampleAt: (step) => file.read(step % file.count),
    lengthAt: (step) => file.lengths[step % file.count] as number,
    shortSample: () => file.read(shortest),
    hash: file.hash,
    inputs: { samples: path, samplesHash: file.hash },
    close: () => file.close(),
  };
}

/** Where generated samples come from. @throws {FormatError} no tokenizer, malformed haystack; {FileError}. */
export async function openOrigin(options: {
  folder: ModelFolder;
  config: Config;
  haystackPath: string | undefined;
}): Promise<Omit<SampleOrigin, 'split'> & { hash: string; inputs: JsonRecord }> {
  const { folder, config, haystackPath } = options;
  const tokenizer = openTokenizer(folder.path);
  const haystack = await openHaystack({ path: haystackPath ?? null, tokenizer });
  const tokenizerHash = hashTokenizer(folder.path);
  if (tokenizer.vocabSize > folder.config.shape.vocab) {
    throw new ModelError(
      `Expected the tokenizer of ${folder.path} to have at most the model's ${folder.config.shape.vocab} tokens, got \`${tokenizer.vocabSize}\`; check that tokenizer.json belongs to these weights.`,
    );
  }
  const settings = pickPasskeySettings(config);
  const hash = hashText(JSON.stringify([settings, config.seed, haystack.hash, tokenizerHash]));
  return {
    tokenizer,
    haystack,
    settings,
    seed: config.seed,
    maxPositions: folder.config.shape.maxPositions,
    hash,
    inputs: {
      haystack: haystackPath ?? haystack.description,
      haystackHash: haystack.hash,
      tokenizerHash,
      samplesHash: hash,
    },
  };
}

/** Generated samples; each is made when its step asks for it. @throws {ConfigError} lengths that the model or the passkeys forbid. */
export async function openGeneratedSource(options: {
  folder: ModelFolder;
  config: Config;
  haystackPath: string | undefined;
}): Promise<SampleSource> {
  const { config } = options;
  const origin = await openOrigin(options);
  const maxPositions = options.folder.config.shape.maxPositions;
  if (config.maxTokens > maxPositions) {
    throw new ConfigError(
      `Expected --max-tokens of at most the ${maxPositions} tokens that the model allows, got \`${config.maxTokens}\`; lower --max-tokens.`,
    );
  }
  return {
    sampleAt: (index) => generateSample({ ...origin, split: 'train', index }),
    lengthAt: (index) => drawLength(config, { seed: config.seed, split: 'train', index }),
    shortSample: () => generateSample({ ...origin, split: 'train', index: 0, lengthTokens: config.minTokens }),
    hash: origin.hash,
    inputs: origin.inputs,
    close: () => {},
  };
}

/** Held-out samples: other draws, other text, lengths up to `heldOutLengthFactor` times the longest. */
export async function makeHeldOutSamples(options: {
  folder: ModelFolder;
  config: Config;
  haystackPath: string | undefined;
}): Promise<PasskeySample[]> {
  const origin = await openOrigin(options);
  return [...generateSamples({ ...origin, split: 'held-out', count: options.config.heldOutSamples })];
}

function hashText(data: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

// Where the samples of the long-range objective come from: running text, whose tokens the engine scores with every head full and every head
// streaming. Each sample is made when it is asked for, and kept, because methods ask for the same one again and making it takes two passes.

import { createHash } from 'node:crypto';
import { openFileHaystack } from '../data-gen/file-haystack.ts';
import {
  checkLongRangeLengths,
  drawLongRangeLength,
  generateLongRange,
  type LongRangeCounts,
  type LongRangeOrigin,
  type LongRangeSample,
  type ScoreTokens,
} from '../data-gen/long-range.ts';
import type { Config } from '../src/config/config.ts';
import type { Split } from '../src/core/haystack.ts';
import { makeHeadMask } from '../src/core/head-mask.ts';
import { filledGrid } from '../src/core/shapes.ts';
import type { Engine } from '../src/engine/engine.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import type { ModelFolder } from '../src/model/folder.ts';
import { hashTokenizer, openTokenizer } from '../src/text/tokenizer.ts';
import { checkIds } from './sample-source.ts';

/** Tokens of samples that are kept, about 32 MB of ids. */
const KEPT_TOKENS = 2 ** 22;

export interface LongRangeOptions {
  readonly folder: ModelFolder;
  readonly engine: Engine;
  readonly config: Config;
  readonly documentsPath: string;
  /** documents of their own to hold out; default: a part of `documentsPath` */
  readonly heldOutPath?: string | undefined;
  readonly split: Split;
  readonly signal?: AbortSignal | undefined;
}

export interface LongRangeSource {
  /** @throws {ConfigError} no long-range token; {FormatError} too little text; {AbortedError}; {EngineError}. */
  sampleAt(index: number): Promise<LongRangeSample>;
  lengthAt(index: number): number;
  /** one of the shortest */
  shortSample(): Promise<LongRangeSample>;
  /** of the samples made so far */
  readonly counts: LongRangeCounts;
  /** `sha256:…` of everything but the engine that decides the samples */
  readonly hash: string;
  /** for run.json and provenance: paths and hashes of what is read */
  readonly inputs: JsonRecord;
}

/** Preset keys that long-range samples depend on, in addition to the seed; hashes depend on their order. */
export const LONG_RANGE_KEYS = [
  'minTokens',
  'maxTokens',
  'lengthCount',
  'lengthDraw',
  'heldOutSamples',
  'heldOutLengthFactor',
  'sinkTokens',
  'recentTokens',
  'longRangeGain',
  'longRangeProbability',
] as const satisfies readonly (keyof Config)[];

/** Those settings alone. */
export function pickLongRangeSettings(config: Config): JsonRecord {
  return Object.fromEntries(LONG_RANGE_KEYS.map((key) => [key, config[key]]));
}

/** @throws {ConfigError} an engine without log-probabilities by position, lengths that the model or the window forbid; {FormatError} no
 * tokenizer, no text; {FileError}. */
export async function openLongRangeSource(options: LongRangeOptions): Promise<LongRangeSource> {
  const { folder, config, documentsPath, heldOutPath, split } = options;
  const { maxPositions } = folder.config.shape;
  if (config.maxTokens > maxPositions) {
    throw new ConfigError(
      `Expected --max-tokens of at most the ${maxPositions} tokens that the model allows, got \`${config.maxTokens}\`; lower --max-tokens.`,
    );
  }
  const tokenizer = openTokenizer(folder.path);
  const documents = await openFileHaystack({ path: documentsPath, heldOutPath, tokenizer });
  const origin: LongRangeOrigin = {
    tokenizer,
    documents,
    score: makeScorer(options),
    model: folder.fingerprint,
    window: { sinkTokens: config.sinkTokens, recentTokens: config.recentTokens },
    thresholds: { leastGain: config.longRangeGain, leastLogProb: Math.log(config.longRangeProbability) },
    lengths: config,
    seed: config.seed,
    split,
    maxPositions,
  };
  checkLongRangeLengths(origin);
  const tokenizerHash = hashTokenizer(folder.path);
  const settings = pickLongRangeSettings(config);
  const decides = [settings, config.seed, documents.hash, tokenizerHash, tokenizer.bosTokenId, folder.fingerprint];
  const hash = `sha256:${createHash('sha256').update(JSON.stringify(decides)).digest('hex')}`;
  const store = new SampleStore(origin);
  return {
    sampleAt: (index) => store.take(index),
    lengthAt: (index) => drawLongRangeLength(origin, index),
    shortSample: () =>
      drawLongRangeLength(origin, 0) === config.minTokens ? store.take(0) : store.make(0, config.minTokens),
    get counts() {
      return store.counts;
    },
    hash,
    inputs: {
      documents: documentsPath,
      ...(heldOutPath === undefined ? {} : { heldOutDocuments: heldOutPath }),
      documentsHash: documents.hash,
      tokenizerHash,
      samplesHash: hash,
    },
  };
}

/** @throws {ConfigError} the engine has no log-probabilities by position. */
function makeScorer({ engine, folder, config, signal }: LongRangeOptions): ScoreTokens {
  const scoreTokens = engine.scoreTokens?.bind(engine);
  if (scoreTokens === undefined) {
    throw new ConfigError(
      `Expected an engine with log-probabilities by position for the long-range objective, got ${engine.name}.`,
    );
  }
  const { layers, kvHeads } = engine.model;
  const streaming = makeHeadMask(filledGrid(layers, kvHeads, 0), config);
  return (tokens, attention) => {
    checkIds({ tokens: [...tokens], answers: [] }, folder);
    return scoreTokens(tokens, attention === 'full' ? 'full' : streaming, signal ? { signal } : {});
  };
}

/** Makes samples, keeps the latest, and counts what each took once. */
class SampleStore {
  readonly #origin: LongRangeOrigin;
  readonly #kept = new Map<number, LongRangeSample>();
  readonly #counted = new Set<number>();
  #keptTokens = 0;
  counts: LongRangeCounts = { tokens: 0, longRange: 0, skipped: 0 };

  constructor(origin: LongRangeOrigin) {
    this.#origin = origin;
  }

  async take(index: number): Promise<LongRangeSample> {
    const known = this.#kept.get(index);
    if (known) return known;
    const sample = await this.make(index);
    for (const [oldest, { tokens }] of this.#kept) {
      if (this.#keptTokens + sample.tokens.length <= KEPT_TOKENS) break;
      this.#kept.delete(oldest);
      this.#keptTokens -= tokens.length;
    }
    this.#kept.set(index, sample);
    this.#keptTokens += sample.tokens.length;
    return sample;
  }

  async make(index: number, lengthTokens?: number): Promise<LongRangeSample> {
    const length = lengthTokens === undefined ? {} : { lengthTokens };
    const { sample, counts } = await generateLongRange({ ...this.#origin, index, ...length });
    if (lengthTokens === undefined && !this.#counted.has(index)) {
      this.#counted.add(index);
      const { tokens, longRange, skipped } = this.counts;
      this.counts = {
        tokens: tokens + counts.tokens,
        longRange: longRange + counts.longRange,
        skipped: skipped + counts.skipped,
      };
    }
    return sample;
  }
}

/** One sentence on what was found. */
export function describeCounts({ tokens, longRange, skipped }: LongRangeCounts): string {
  const share = ((100 * longRange) / tokens).toFixed(2);
  const windows = `${skipped} window${skipped === 1 ? '' : 's'} without any ${skipped === 1 ? 'was' : 'were'} skipped`;
  return `${longRange} of ${tokens} tokens (${share} %) are long-range; ${windows}.`;
}

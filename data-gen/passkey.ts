// Multi-passkey samples (arXiv 2410.10819, section 2.3): numbered word sequences hidden in a haystack and asked for at its end.
// Layout: BOS, head, haystack with needles, close, questions with their answers. The whole sample has exactly the length asked for.

import type { Config } from '../src/config/config.ts';
import type { HaystackSource, Split } from '../src/core/haystack.ts';
import { makeRandom, type Random } from '../src/core/random.ts';
import type { AnswerRange, Sample } from '../src/core/shapes.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { Tokenizer } from '../src/text/tokenizer.ts';
import { drawDepths, placeNeedles } from './depth.ts';
import { drawLength, heldOutLengths } from './length.ts';
import { encodePasskey, encodeTemplates, type TemplatePieces } from './template.ts';

/** Preset keys that passkey samples depend on, in addition to the seed. */
export const PASSKEY_KEYS = [
  'minTokens',
  'maxTokens',
  'lengthCount',
  'lengthDraw',
  'passkeys',
  'wordsPerPasskey',
  'depthMin',
  'depthMax',
  'depthCount',
  'questionOrder',
  'alphabet',
  'ordinals',
  'templates',
  'heldOutSamples',
  'heldOutLengthFactor',
] as const satisfies readonly (keyof Config)[];

/** The preset keys a sample depends on. */
export type PasskeySettings = Pick<Config, (typeof PASSKEY_KEYS)[number]>;

/** Those keys alone, for provenance: a change of any other key leaves the samples as they are. */
export function pickPasskeySettings(config: Config): PasskeySettings {
  return Object.fromEntries(PASSKEY_KEYS.map((key) => [key, config[key]])) as PasskeySettings;
}

/** A generated sample: the fields of every sample, and what it hides and where. */
export interface PasskeySample extends Sample {
  /** texts by ordinal, that is in order of depth */
  readonly passkeys: readonly string[];
  /** where each needle's passkey is, `[start, end)` in tokens, by ordinal */
  readonly needles: readonly AnswerRange[];
  /** drawn depths by ordinal, shares of the haystack; a needle is placed at the nearest sentence end */
  readonly depths: readonly number[];
  /** index of the ordinal each answer belongs to, in the order of the questions */
  readonly asked: readonly number[];
  /** tokens in all */
  readonly length: number;
  readonly seed: number;
  readonly split: Split;
  readonly index: number;
}

/** Where samples come from. */
export interface SampleOrigin {
  readonly tokenizer: Tokenizer;
  readonly haystack: HaystackSource;
  readonly settings: PasskeySettings;
  readonly seed: number;
  readonly split: Split;
  /** longest sample the model allows; default unbounded */
  readonly maxPositions?: number;
}

const MAX_DRAWS = 64; // redraws until no passkey occurs elsewhere by accident; a usual sample needs one

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

function countFixedTokens(pieces: TemplatePieces): number {
  const frames = [...pieces.needles, ...pieces.questions];
  return (
    pieces.head.length + pieces.close.length + sum(frames.map(({ before, after }) => before.length + after.length))
  );
}

interface Prepared {
  readonly pieces: TemplatePieces;
  readonly fixedTokens: number;
  /** mean and variance of the tokens of an alphabet word inside a passkey */
  readonly word: { readonly mean: number; readonly variance: number };
}

const prepared = new WeakMap<Tokenizer, WeakMap<PasskeySettings, Prepared>>();

/** What all samples of these settings share; kept by the identity of both objects, so settings must not change once in use. */
function prepare(tokenizer: Tokenizer, settings: PasskeySettings): Prepared {
  let known = prepared.get(tokenizer);
  if (!known) {
    known = new WeakMap();
    prepared.set(tokenizer, known);
  }
  let result = known.get(settings);
  if (!result) {
    const ordinals = settings.ordinals.slice(0, settings.passkeys);
    const pieces = encodeTemplates(tokenizer, { templates: settings.templates, ordinals });
    const fixedTokens = countFixedTokens(pieces);
    const lengths = settings.alphabet.map((word) => encodePasskey(tokenizer, [word]).length);
    const mean = sum(lengths) / lengths.length;
    const variance = sum(lengths.map((length) => (length - mean) ** 2)) / lengths.length;
    result = { pieces, fixedTokens, word: { mean, variance } };
    known.set(settings, result);
  }
  return result;
}

/** Standard deviations above the mean: one sample in a billion needs more. */
const ROOM_DEVIATIONS = 6;

/** A length in tokens that samples of these settings fit into: the templates, every passkey twice in words of the alphabet's mean length with room
 * for chance, and one haystack token before each needle and one after the last. */
export function neededTokens(options: { tokenizer: Tokenizer; settings: PasskeySettings }): number {
  const { settings } = options;
  const { fixedTokens, word } = prepare(options.tokenizer, settings);
  const words = settings.passkeys * settings.wordsPerPasskey;
  const drawn = words * word.mean + ROOM_DEVIATIONS * Math.sqrt(words * word.variance);
  return fixedTokens + 2 * Math.ceil(drawn) + settings.passkeys + 1;
}

/** Distinct passkeys; the preset's check has made sure that there are enough. */
function drawPasskeys(settings: PasskeySettings, random: Random): string[][] {
  const drawn = new Map<string, string[]>();
  while (drawn.size < settings.passkeys) {
    const words = Array.from({ length: settings.wordsPerPasskey }, () => random.pick(settings.alphabet));
    drawn.set(words.join(' '), words);
  }
  return [...drawn.values()];
}

/** How often `part` occurs in `tokens`, overlaps included. */
function countOccurrences(tokens: readonly number[], part: readonly number[]): number {
  let count = 0;
  for (let at = tokens.indexOf(part[0] as number); at >= 0; at = tokens.indexOf(part[0] as number, at + 1)) {
    if (part.every((id, offset) => tokens[at + offset] === id)) count++;
  }
  return count;
}

interface Parts {
  readonly pieces: TemplatePieces;
  readonly passkeys: readonly (readonly number[])[];
  readonly haystack: readonly number[];
  readonly positions: readonly number[];
  readonly asked: readonly number[];
}

function assemble(parts: Parts): { tokens: number[]; needles: AnswerRange[]; answers: AnswerRange[] } {
  const { pieces, passkeys, haystack, positions, asked } = parts;
  const tokens: number[] = [];
  const append = (ids: readonly number[]): AnswerRange => {
    const start = tokens.length;
    for (const id of ids) tokens.push(id);
    return [start, tokens.length];
  };
  append(pieces.head);
  let taken = 0;
  const needles = positions.map((position, ordinal): AnswerRange => {
    append(haystack.slice(taken, position));
    taken = position;
    append(pieces.needles[ordinal]!.before);
    const range = append(passkeys[ordinal]!);
    append(pieces.needles[ordinal]!.after);
    return range;
  });
  append(haystack.slice(taken));
  append(pieces.close);
  const answers = asked.map((ordinal): AnswerRange => {
    append(pieces.questions[ordinal]!.before);
    const range = append(passkeys[ordinal]!);
    append(pieces.questions[ordinal]!.after);
    return range;
  });
  return { tokens, needles, answers };
}

/** Sample `index`: a function of the seed, the split, the index, the settings, the tokenizer and the haystack, and of nothing else.
 * @param options.lengthTokens tokens in all; default drawn as the settings say (`drawLength`, for held-out samples `heldOutLengths`).
 * @throws {ConfigError} too short for its passkeys (names a length that holds them), longer than `maxPositions`, or passkeys that the haystack
 *   keeps repeating by itself. */
export function generateSample(options: SampleOrigin & { index: number; lengthTokens?: number }): PasskeySample {
  const { tokenizer, haystack, settings, seed, split, index, maxPositions = Number.POSITIVE_INFINITY } = options;
  const lengths = split === 'train' ? settings : heldOutLengths(settings, maxPositions);
  const length = options.lengthTokens ?? drawLength(lengths, { seed, split, index });
  const { pieces, fixedTokens } = prepare(tokenizer, settings);
  if (length > maxPositions) {
    throw new ConfigError(
      `Expected samples of at most the ${maxPositions} tokens that the model allows, got \`${length}\`; lower --max-tokens.`,
    );
  }
  const random = makeRandom(seed, 'sample', split, index);
  const room = length - fixedTokens;
  if (room <= 0) throw tooShort(options, length);
  const text = haystack.take({ tokens: room, random, split });
  for (let draw = 0; draw < MAX_DRAWS; draw++) {
    const words = drawPasskeys(settings, random);
    const passkeys = words.map((passkey) => encodePasskey(tokenizer, passkey));
    const hayTokens = room - 2 * sum(passkeys.map((ids) => ids.length));
    if (hayTokens < settings.passkeys + 1) throw tooShort(options, length);
    const hay = text.slice(0, hayTokens);
    const depths = drawDepths(settings, random);
    const positions = placeNeedles(hay, { depths, tokenizer });
    const inOrder = passkeys.map((_, ordinal) => ordinal);
    const asked = settings.questionOrder === 'random' ? random.shuffle(inOrder) : inOrder;
    const { tokens, needles, answers } = assemble({ pieces, passkeys, haystack: hay, positions, asked });
    if (passkeys.some((ids) => countOccurrences(tokens, ids) !== 2)) continue;
    return {
      tokens,
      answers,
      passkeys: words.map((passkey) => passkey.join(' ')),
      needles,
      depths,
      asked,
      length,
      seed,
      split,
      index,
    };
  }
  throw new ConfigError(
    `Expected passkeys that occur nowhere else in the text, got ${MAX_DRAWS} draws that do; raise --words-per-passkey or choose another --alphabet.`,
  );
}

function tooShort(origin: SampleOrigin, length: number): ConfigError {
  const { passkeys, wordsPerPasskey } = origin.settings;
  return new ConfigError(
    `Expected samples of at least ${neededTokens(origin)} tokens for ${passkeys} passkeys of ${wordsPerPasskey} words, got \`${length}\`; raise --min-tokens, or lower --passkeys or --words-per-passkey.`,
  );
}

/** Samples `start` … `start + count − 1`, made one by one as they are asked for. */
export function* generateSamples(options: SampleOrigin & { count: number; start?: number }): Generator<PasskeySample> {
  const { count, start = 0, ...origin } = options;
  for (let index = start; index < start + count; index++) yield generateSample({ ...origin, index });
}

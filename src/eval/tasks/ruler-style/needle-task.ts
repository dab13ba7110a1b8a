// Needles in a haystack with the parameters of RULER (arXiv 2404.06654, its scripts/synthetic.yaml) and our own wording:
// k keys hidden, v values for each, q keys asked. needle-tasks.ts lists the eight settings.
import type { Random } from '../../../core/random.ts';
import { type Filler, fillHaystack, makeLineFiller, makeNoiseFiller, makeProseFiller } from '../../haystack.ts';
import { scoreAllReferences } from '../../metrics/string-match.ts';
import { type AnswerPiece, countAnswerTokens, joinAnswers } from '../answer-text.ts';
import { completeSample } from '../complete-sample.ts';
import { fitPrompt } from '../fit-length.ts';
import { NOISE } from '../noise.ts';
import {
  type BuildOptions,
  chooseWording,
  type EvalTask,
  fillTemplate,
  makeSampleRandom,
  type TaskSample,
  type Wording,
} from '../task.ts';
import {
  drawDistinct,
  drawHyphenated,
  drawNumber,
  drawUuid,
  HYPHENATED_WORDS,
  SMALL_ANSWER_WORDS,
  SMALL_NAMES,
} from '../words.ts';

export interface NeedleSettings {
  readonly name: string;
  /** noise: a few sentences over and over; essays: the user's --essays; needles: other needles */
  readonly haystack: 'noise' | 'essays' | 'needles';
  readonly keyType: 'words' | 'uuids';
  readonly valueType: 'numbers' | 'uuids';
  /** k, keys hidden in addition to a `needles` haystack */
  readonly keys: number;
  /** v, values of a key */
  readonly values: number;
  /** q, keys asked for */
  readonly queries: number;
}

interface NeedleWording {
  readonly before: string;
  readonly needle: string;
  /** ends where the answer begins */
  readonly question: string;
  readonly between: string;
  readonly last: string;
}

const WORDINGS: Readonly<Record<Wording, NeedleWording>> = {
  plain: {
    before:
      'Read the text below with care. In it the secret {kinds} of certain names are given; you will be asked for them.\n\n',
    needle: 'Take note that a secret {kind} of {key} is {value}.',
    question:
      '\n\nQuestion: what {verb} the secret {asked} of {keys}, as the text gives {them}?\nAnswer: The secret {asked} of {keys} {verb}',
    between: ',',
    last: ', and',
  },
  'small-vocabulary': {
    before: '',
    needle: 'The magic word of {key} is: {value}.',
    question: '\nWhat is the magic word of {keys}? Answer: The magic word of {firstKey} is:',
    between: '. The magic word of {key} is:',
    last: '. The magic word of {key} is:',
  },
};

/** RULER's tokens_to_generate for needles. */
const MAX_NEW_TOKENS = 128;
/** RULER draws depths from 40 points between 0 and 100 %. */
const DEPTH_POINTS = 40;
const SMALL_VALUE_WORDS = 3;

/** A needle task of these settings. */
export function defineNeedleTask(settings: NeedleSettings): EvalTask {
  const { name, keys, values, queries } = settings;
  const isSmallPossible = settings.haystack !== 'needles';
  const task: EvalTask = {
    name,
    describe: `ruler-style: ${settings.valueType} under ${keys} ${settings.keyType} (${values} each, ${queries} asked) in ${settings.haystack}; share of values found`,
    wordings: isSmallPossible ? ['plain', 'small-vocabulary'] : ['plain'],
    ...(settings.haystack === 'essays' ? { reads: 'essays' as const } : {}),
    score: scoreAllReferences,
    hasDepth: values === 1 && queries === 1,
    build: (options) => buildNeedleSample(task, settings, options),
  };
  return task;
}

function buildNeedleSample(task: EvalTask, settings: NeedleSettings, options: BuildOptions): TaskSample {
  const { name, keys: numKeys, values: numValues, queries } = settings;
  const wording = chooseWording(task, options);
  const words = WORDINGS[wording];
  const random = makeSampleRandom(name, options);
  const running = readRunningText(settings, wording, options, random);
  const isFree = (value: string): boolean => !running.includes(value);
  const used = new Set<string>();
  const drawValue = (): string => {
    const [value] = drawDistinct({
      count: 1,
      draw: () => drawNeedleValue(settings, wording, random),
      isFree: (v) => isFree(v) && !used.has(v),
    });
    used.add(value as string);
    return value as string;
  };
  const drawKey = (): string =>
    wording === 'small-vocabulary'
      ? random.pick(SMALL_NAMES)
      : settings.keyType === 'uuids'
        ? drawUuid(random)
        : drawHyphenated(random, usedKeys.size > HYPHENATED_WORDS / 2 ? 2 : 1);
  const usedKeys = new Set<string>();
  const keys = drawDistinct({ count: numKeys, draw: drawKey });
  const valuesOf = new Map(keys.map((key) => [key, Array.from({ length: numValues }, drawValue)]));
  const kind = settings.valueType === 'numbers' ? 'number' : 'identifier';
  const write = (key: string, value: string): string => fillTemplate(words.needle, { kind, key, value });

  for (const key of keys) usedKeys.add(key);
  const distract = (): string => {
    const [key] = drawDistinct({ count: 1, draw: drawKey, isFree: (other) => !usedKeys.has(other) });
    usedKeys.add(key as string);
    return write(key as string, drawValue());
  };
  const filler = chooseFiller({ settings, wording, running, distract });
  // RULER puts needles between any two lines of noise, and at the points of a grid in essays only
  const grid =
    settings.haystack === 'essays'
      ? random.distinct(numKeys * numValues, DEPTH_POINTS).map((point) => point / (DEPTH_POINTS - 1))
      : Array.from({ length: numKeys * numValues }, () => random.uniform());
  const needles = random.shuffle(
    keys.flatMap((key) => (valuesOf.get(key) as string[]).map((value) => ({ key, value }))),
  );
  const asked = queries === 1 ? [options.depth === undefined ? random.pick(keys) : (needles[0]?.key as string)] : keys;
  const placed = needles.map(({ key, value }, index) => ({
    text: write(key, value),
    depth: index === 0 && options.depth !== undefined ? options.depth : (grid[index] as number),
  }));

  const references = asked.flatMap((key) => needlesInOrder(placed, needles, key));
  const slots = makeQuestionSlots({ kind, asked, numAnswers: references.length });
  const pieces = writeAnswer(words, { wording, asked, references });
  const answerTokens = countAnswerTokens(options.tokenizer, pieces);
  const maxNewTokens = wording === 'plain' ? Math.max(MAX_NEW_TOKENS, answerTokens + 8) : answerTokens + 4;
  const fitted = fitPrompt({
    task: name,
    tokenizer: options.tokenizer,
    lengthTokens: options.lengthTokens,
    reservedTokens: maxNewTokens,
    write: (units) =>
      fillTemplate(words.before, { kinds: `${kind}s` }) +
      fillHaystack(filler, units, placed) +
      fillTemplate(words.question, slots),
  });
  return completeSample({
    build: options,
    fitted,
    references,
    maxNewTokens,
    pieces,
    score: task.score,
    meta: { keys, asked, depths: placed.map((needle) => needle.depth) },
  });
}

/** Running text of an essay haystack; under the small vocabulary the data room's own prose replaces it. */
function readRunningText(settings: NeedleSettings, wording: Wording, options: BuildOptions, random: Random): string {
  if (settings.haystack !== 'essays') return '';
  if (wording === 'plain') return options.files.essays();
  return options.tokenizer.decode(options.haystack.take({ tokens: options.lengthTokens, random, split: 'held-out' }));
}

function chooseFiller(options: {
  readonly settings: NeedleSettings;
  readonly wording: Wording;
  readonly running: string;
  readonly distract: () => string;
}): Filler {
  const { settings, wording, running, distract } = options;
  if (settings.haystack === 'needles') return makeLineFiller(distract);
  if (settings.haystack === 'essays') return makeProseFiller(running);
  return makeNoiseFiller(NOISE[wording]);
}

function drawNeedleValue(settings: NeedleSettings, wording: Wording, random: Random): string {
  if (wording === 'small-vocabulary') {
    return Array.from({ length: SMALL_VALUE_WORDS }, () => random.pick(SMALL_ANSWER_WORDS)).join(' ');
  }
  return settings.valueType === 'numbers' ? drawNumber(random, 7) : drawUuid(random);
}

/** Values of `key` in the order in which a reader meets them. */
function needlesInOrder(
  placed: readonly { readonly depth: number }[],
  needles: readonly { readonly key: string; readonly value: string }[],
  key: string,
): string[] {
  return needles
    .map((needle, index) => ({ ...needle, depth: (placed[index] as { depth: number }).depth, index }))
    .filter((needle) => needle.key === key)
    .sort((a, b) => a.depth - b.depth || a.index - b.index)
    .map((needle) => needle.value);
}

function makeQuestionSlots(options: {
  readonly kind: string;
  readonly asked: readonly string[];
  readonly numAnswers: number;
}): Record<string, string> {
  const { kind, asked, numAnswers } = options;
  const isOne = numAnswers === 1;
  const keys = asked.length === 1 ? (asked[0] as string) : `${asked.slice(0, -1).join(', ')}, and ${asked.at(-1)}`;
  return {
    keys,
    firstKey: asked[0] as string,
    asked: isOne ? kind : `${kind}s`,
    verb: isOne ? 'is' : 'are',
    them: isOne ? 'it' : 'them',
  };
}

function writeAnswer(
  words: NeedleWording,
  options: { readonly wording: Wording; readonly asked: readonly string[]; readonly references: readonly string[] },
): AnswerPiece[] {
  const { wording, asked, references } = options;
  if (wording === 'plain') return joinAnswers(references, words);
  const perKey = references.length / asked.length;
  return references.flatMap((value, index): AnswerPiece[] => {
    const piece = { text: ` ${value}`, isAnswer: true };
    const key = asked[Math.floor(index / perKey)] as string;
    return index === 0 ? [piece] : [{ text: fillTemplate(words.between, { key }), isAnswer: false }, piece];
  });
}

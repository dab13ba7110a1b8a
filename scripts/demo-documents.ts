// Training documents of the small models: seeded prose with hidden facts (a key and a list of words) and, at the end, questions about them.
// The main wording is the passkey template of configs/demo.json; other wordings keep the match from key to words general.
import { ADJECTIVES, NAMES, NOUNS, PLACES } from '../data-gen/lexicon.ts';
import { writeParagraphs } from '../data-gen/prose.ts';
import type { Random } from '../src/core/random.ts';
import { BOS_ID, encodeTaskText, NATO_WORDS, ORDINALS } from './demo-tokenizer.ts';

interface Wording {
  readonly keys: readonly string[];
  /** with {key} and {words} */
  readonly fact: string;
  readonly question: string;
}

const PASSKEY: Wording = {
  keys: ORDINALS,
  fact: ' The {key} passkey is:{words}.',
  question: ' What is the {key} passkey? Answer:{words}.',
};

/** Other wordings. None is used to identify heads; a held-out task must not repeat them. */
const OTHER_WORDINGS: readonly Wording[] = [
  { keys: NOUNS, fact: ' {key}:{words}.', question: ' {key}:{words}.' },
  { keys: ORDINALS, fact: ' {key}:{words}.', question: ' {key}:{words}.' },
  { keys: NAMES, fact: ' {key} has the words{words}.', question: ' {key} has the words{words}.' },
  {
    keys: NAMES,
    fact: ' The secret word of {key} is:{words}.',
    question: ' What is the secret word of {key}? Answer:{words}.',
  },
  {
    keys: ADJECTIVES,
    fact: ' Remember the {key} code:{words}.',
    question: ' Tell me the {key} code. Answer:{words}.',
  },
  { keys: PLACES, fact: ' The {key} opens with{words}.', question: ' The {key} opens with{words}.' },
  { keys: ORDINALS, fact: ' The {key} code is:{words}.', question: ' Find the {key} code:{words}.' },
  { keys: ORDINALS, fact: ' {key} value:{words}.', question: ' {key} value:{words}.' },
];

/** Words an answer may hold in the other wordings: passkey words, or plain nouns and adjectives. */
const OTHER_ALPHABETS: readonly (readonly string[])[] = [NATO_WORDS, NOUNS, ADJECTIVES];

export interface DocumentOptions {
  /** tokens of the document, exactly */
  readonly length: number;
  readonly facts: readonly [least: number, most: number];
  readonly wordsPerFact: readonly [least: number, most: number];
  /** share of documents in other wordings than the passkey's, 0..1 */
  readonly otherShare: number;
  /** largest sum of position jumps, tokens; 0 = positions count up by one */
  readonly jump: number;
}

export interface TrainingDocument {
  /** [length] each; a weight belongs to predicting that token */
  readonly tokens: number[];
  readonly positions: number[];
  readonly weights: number[];
}

const FIRST_WORD_WEIGHT = 2;
const PROSE_WEIGHT = 0.2;

const draw = ([least, most]: readonly [number, number], random: Random): number =>
  least + random.integer(most - least + 1);

interface Piece {
  readonly tokens: number[];
  readonly weights: number[];
}

function writePiece(
  form: string,
  key: string,
  words: readonly string[],
  vocabulary: ReadonlyMap<string, number>,
): Piece {
  const [before, after] = form.replace('{key}', key).split('{words}') as [string, string];
  const answer = encodeTaskText(words.map((word) => ` ${word}`).join(''), vocabulary);
  const head = encodeTaskText(before, vocabulary);
  const tail = encodeTaskText(after, vocabulary);
  return {
    tokens: [...head, ...answer, ...tail],
    weights: [
      ...head.map(() => PROSE_WEIGHT),
      ...answer.map((_, index) => (index === 0 ? FIRST_WORD_WEIGHT : 1)),
      ...tail.map(() => PROSE_WEIGHT),
    ],
  };
}

/** Where a fact may stand in `prose` tokens: half the time at a sentence's end, half the time anywhere. */
function drawPlaces(prose: readonly number[], count: number, fullStop: number, random: Random): number[] {
  const ends = prose.flatMap((token, index) => (token === fullStop ? [index + 1] : []));
  return Array.from({ length: count }, () =>
    ends.length > 0 && random.uniform() < 0.5 ? random.pick(ends) : random.integer(prose.length + 1),
  ).sort((a, b) => a - b);
}

/** One document. As many facts are left out as do not fit, at least one stays.
 * @throws {RangeError} not even one fact and its question fit into `length`. */
export function writeDocument(
  options: DocumentOptions,
  vocabulary: ReadonlyMap<string, number>,
  random: Random,
): TrainingDocument {
  const isOther = random.uniform() < options.otherShare;
  const wording = isOther ? random.pick(OTHER_WORDINGS) : PASSKEY;
  const alphabet = isOther ? random.pick(OTHER_ALPHABETS) : NATO_WORDS;
  const wordsPerFact = draw(options.wordsPerFact, random);
  let numFacts = draw(options.facts, random);
  // Half of the passkeys are numbered in order of place, as data-gen does; elsewhere place says nothing about the key.
  const isNumbered = !isOther && random.uniform() < 0.5;
  const keys = isNumbered
    ? wording.keys.slice(0, numFacts)
    : random.distinct(numFacts, wording.keys.length).map((index) => wording.keys[index] as string);
  const facts = keys.map((key) => {
    // With replacement, as data-gen draws passkeys: a repeated word must not end the recall.
    const answer = Array.from({ length: wordsPerFact }, () => random.pick(alphabet));
    return {
      fact: writePiece(wording.fact, key, answer, vocabulary),
      question: writePiece(wording.question, key, answer, vocabulary),
    };
  });
  const lengthOf = (count: number): number =>
    facts.slice(0, count).reduce((sum, { fact, question }) => sum + fact.tokens.length + question.tokens.length, 1);
  while (numFacts > 1 && lengthOf(numFacts) > options.length) numFacts--;
  const proseLength = options.length - lengthOf(numFacts);
  if (proseLength < 0) throw new RangeError(`writeDocument: expected room for one fact in ${options.length} tokens`);

  const prose: number[] = [];
  const skipped = random.integer(12);
  const paragraphs = writeParagraphs(random);
  while (prose.length < proseLength + skipped)
    prose.push(...encodeTaskText(`${paragraphs.next().value}\n`, vocabulary));
  const filler = prose.slice(skipped, skipped + proseLength);
  const fullStop = vocabulary.get('.') as number;
  const places = drawPlaces(filler, numFacts, fullStop, random);
  const tokens = [BOS_ID];
  const weights = [0];
  const append = (piece: readonly number[], pieceWeights: readonly number[], isFact: boolean): void => {
    tokens.push(...piece);
    // The words of a fact cannot be predicted where they are first told.
    weights.push(...pieceWeights.map((weight) => (isFact && weight >= 1 ? 0 : weight)));
  };
  let from = 0;
  places.forEach((place, index) => {
    const part = filler.slice(from, place);
    append(
      part,
      part.map(() => PROSE_WEIGHT),
      false,
    );
    const { fact } = facts[index]!;
    append(fact.tokens, fact.weights, true);
    from = place;
  });
  const rest = filler.slice(from);
  append(
    rest,
    rest.map(() => PROSE_WEIGHT),
    false,
  );
  for (const { question } of random.shuffle(facts.slice(0, numFacts))) append(question.tokens, question.weights, false);
  return { tokens, weights, positions: drawPositions(tokens, options.jump, fullStop, random) };
}

/** Rotary positions: counting up, with up to four jumps after full stops that sum to at most `jump`. */
function drawPositions(tokens: readonly number[], jump: number, fullStop: number, random: Random): number[] {
  const jumps = new Map<number, number>();
  if (jump > 0 && random.uniform() < 0.75) {
    const ends = tokens.flatMap((token, index) => (token === fullStop ? [index + 1] : []));
    const total = random.integer(jump + 1);
    const count = 1 + random.integer(4);
    for (let index = 0; index < count && ends.length > 0; index++) {
      const at = random.pick(ends);
      jumps.set(at, (jumps.get(at) ?? 0) + Math.floor(total / count));
    }
  }
  let shift = 0;
  return tokens.map((_, index) => {
    shift += jumps.get(index) ?? 0;
    return index + shift;
  });
}

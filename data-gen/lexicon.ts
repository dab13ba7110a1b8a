// The closed vocabulary of the prose generator, by part of speech, and each word's preferences.
// Kept free of digits, hyphens, apostrophes, ordinals and the passkey alphabet, so that an answer occurs only where it was put
// and a small byte-level tokenizer can give every word one token. No slot word begins with a vowel: the article is always "a".
import { makeRandom } from '../src/core/random.ts';

export const WOMEN = [
  'Anna',
  'Clara',
  'Elena',
  'Greta',
  'Irene',
  'Karin',
  'Maria',
  'Nina',
  'Paula',
  'Sara',
  'Vera',
  'Rosa',
];
export const MEN = [
  'Boris',
  'Daniel',
  'Felix',
  'Henry',
  'Jonas',
  'Leo',
  'Martin',
  'Otto',
  'Robert',
  'Thomas',
  'Walter',
  'Emil',
];
export const NAMES = [...WOMEN, ...MEN];

const words = (text: string): string[] => text.trim().split(/\s+/);

/** Things people carry, sell and lose. */
export const NOUNS =
  words(`book lamp chair table boat letter basket coat clock map door window bell rope cart wheel knife cup plate
  box picture mirror ladder bread pear cheese fish stone flower candle hat shoe horse dog cat bird cow goat blanket violin`);

export const PLACES =
  words(`house garden village market river forest hill school church harbour mill kitchen street station library
  bakery barn field lake tower`);

export const ADJECTIVES =
  words(`dusty new small large red blue green white black warm cold heavy light quiet bright dark broken clean
  simple strange long short wooden round young tired happy sad kind brave gentle wet`);

/** Past tense, with an object. */
export const ACTIONS =
  words(`found carried sold bought painted mended cleaned saw lost kept hid moved opened closed dropped drew washed
  borrowed brought needed wanted liked made forgot watched lifted left took showed weighed`);

/** Past tense, without an object. */
export const DEEDS = words('walked waited slept worked sang rested stood ran sat played laughed talked');

export const ADVERBS = words('slowly quickly quietly often always never again soon later carefully happily alone');
export const WEATHERS = words('rain snow wind fog thunder sunlight frost');
export const SEASONS = words('spring summer autumn winter');
export const DAY_PARTS = words('morning noon evening night dawn dusk');
export const WEEKDAYS = words('Monday Tuesday Wednesday Thursday Friday Saturday Sunday');
export const POSITIONS = words('near behind beside under above');

/** Favourites of one word, the first the dearest. */
export interface NamePreference {
  readonly nouns: readonly string[];
  readonly actions: readonly string[];
  readonly deeds: readonly string[];
  readonly places: readonly string[];
}

const FAVOURITES = 3;

// Part of the language, not of a text: the same for every seed, so that a model can learn them.
const fixed = makeRandom(7, 'lexicon');
const favouritesOf = (pool: readonly string[]): string[] =>
  fixed.distinct(FAVOURITES, pool.length).map((index) => pool[index] as string);

export const NAME_PREFERENCES: ReadonlyMap<string, NamePreference> = new Map(
  NAMES.map((name) => [
    name,
    {
      nouns: favouritesOf(NOUNS),
      actions: favouritesOf(ACTIONS),
      deeds: favouritesOf(DEEDS),
      places: favouritesOf(PLACES),
    },
  ]),
);

/** Adjectives that usually come before a noun or place. */
export const ADJECTIVE_PREFERENCES: ReadonlyMap<string, readonly string[]> = new Map(
  [...NOUNS, ...PLACES].map((noun) => [noun, favouritesOf(ADJECTIVES)]),
);

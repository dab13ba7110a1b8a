// Seeded plain prose over a closed lexicon: the filler of samples when no --haystack is given, and the text the demo model learns from.
// Local choices follow fixed preferences of names and nouns, so that a small model can learn to predict them; who acts and where
// changes from scene to scene, so that long texts do not repeat.
import type { Random } from '../src/core/random.ts';
import {
  ACTIONS,
  ADJECTIVE_PREFERENCES,
  ADJECTIVES,
  ADVERBS,
  DAY_PARTS,
  DEEDS,
  MEN,
  NAME_PREFERENCES,
  NAMES,
  NOUNS,
  PLACES,
  POSITIONS,
  SEASONS,
  WEATHERS,
  WEEKDAYS,
  WOMEN,
} from './lexicon.ts';
import { FOLLOWING_FORMS, NAMED_FORMS } from './sentence-forms.ts';

const PRONOUNS = { woman: { He: 'She', he: 'she', his: 'her' }, man: { He: 'He', he: 'he', his: 'his' } };

const FREE_SLOTS: Readonly<Record<string, readonly string[]>> = {
  adverb: ADVERBS,
  weather: WEATHERS,
  season: SEASONS,
  daypart: DAY_PARTS,
  weekday: WEEKDAYS,
  position: POSITIONS,
};

interface Scene {
  readonly cast: readonly string[];
  readonly place: string;
}

const CAST_SIZE = 3;
const PARAGRAPHS_PER_SCENE = 6;

/** A favourite with weights .45 .25 .15, else any word of the pool. */
function pickPreferred(favourites: readonly string[], rest: { pool: readonly string[]; random: Random }): string {
  const { pool, random } = rest;
  const draw = random.uniform();
  if (draw < 0.45) return favourites[0] as string;
  if (draw < 0.7) return favourites[1] as string;
  if (draw < 0.85) return favourites[2] as string;
  return random.pick(pool);
}

/** Adjectives come before their noun: draw the noun that the next {noun}, {place} or {scene} slot will hold first. */
function fillForm(form: string, context: { actor: string; scene: Scene; random: Random }): string {
  const { actor, scene, random } = context;
  const preference = NAME_PREFERENCES.get(actor)!;
  const pronouns = WOMEN.includes(actor) ? PRONOUNS.woman : PRONOUNS.man;
  const other = random.pick(scene.cast.filter((name) => name !== actor));
  const pieces = form.split(/\{(\w+)\}/);
  let subject: string | null = null;
  const drawNoun = (slot: string): string =>
    slot === 'place'
      ? pickPreferred(preference.places, { pool: PLACES, random })
      : pickPreferred(preference.nouns, { pool: NOUNS, random });
  for (let index = 1; index < pieces.length; index += 2) {
    const slot = pieces[index] as string;
    if (slot === 'adjective') {
      const next = pieces[index + 2];
      const touching = pieces[index + 1] === ' ' && (next === 'noun' || next === 'place');
      if (touching) subject = drawNoun(next);
      const described = subject ?? scene.place;
      pieces[index] = pickPreferred(ADJECTIVE_PREFERENCES.get(described)!, { pool: ADJECTIVES, random });
      if (touching) {
        index += 2;
        pieces[index] = described;
      }
    } else if (slot === 'noun' || slot === 'place') {
      subject = drawNoun(slot);
      pieces[index] = subject;
    } else if (slot === 'scene') {
      subject = scene.place;
      pieces[index] = scene.place;
    } else if (slot === 'action') {
      pieces[index] = pickPreferred(preference.actions, { pool: ACTIONS, random });
    } else if (slot === 'deed') {
      pieces[index] = pickPreferred(preference.deeds, { pool: DEEDS, random });
    } else if (slot === 'name') {
      pieces[index] = actor;
    } else if (slot === 'other') {
      pieces[index] = other;
    } else if (slot === 'He' || slot === 'he' || slot === 'his') {
      pieces[index] = pronouns[slot];
    } else {
      pieces[index] = random.pick(FREE_SLOTS[slot]!);
    }
  }
  return pieces.join('');
}

function writeParagraph(scene: Scene, random: Random): string {
  const sentences: string[] = [];
  let actor = random.pick(scene.cast);
  const numSentences = 3 + random.integer(5);
  for (let index = 0; index < numSentences; index++) {
    const isFollowing = index > 0 && random.uniform() < 0.4;
    if (!isFollowing) actor = random.pick(scene.cast);
    sentences.push(fillForm(random.pick(isFollowing ? FOLLOWING_FORMS : NAMED_FORMS), { actor, scene, random }));
  }
  return ` ${sentences.join(' ')}`;
}

/** Endless paragraphs. Each begins with one space and ends with a sentence's last mark, so that every word follows a space
 * and needs one form only in a byte-level vocabulary. Same generator state, same text. */
export function* writeParagraphs(random: Random): Generator<string, never> {
  for (;;) {
    const scene = {
      cast: random.distinct(CAST_SIZE, NAMES.length).map((index) => NAMES[index] as string),
      place: random.pick(PLACES),
    };
    for (let count = 0; count < PARAGRAPHS_PER_SCENE; count++) yield writeParagraph(scene, random);
  }
}

/** Prose of at least `characters` characters: whole paragraphs, one per line, each line begun with a space. */
export function writeProse(random: Random, characters: number): string {
  const paragraphs: string[] = [];
  let length = 0;
  for (const paragraph of writeParagraphs(random)) {
    paragraphs.push(paragraph);
    length += paragraph.length + 1;
    if (length >= characters) break;
  }
  return paragraphs.join('\n');
}

/** Every word form prose can emit, each once, sorted: words only, marks (. , ?) are not among them. */
export function listLexicon(): string[] {
  const slots = [...NOUNS, ...PLACES, ...ADJECTIVES, ...ACTIONS, ...DEEDS, ...WOMEN, ...MEN];
  const free = Object.values(FREE_SLOTS).flat();
  const pronouns = Object.values(PRONOUNS).flatMap((forms) => Object.values(forms));
  const literal = [...NAMED_FORMS, ...FOLLOWING_FORMS].flatMap(
    (form) => form.replace(/\{\w+\}/g, ' ').match(/[A-Za-z]+/g) ?? [],
  );
  return [...new Set([...slots, ...free, ...pronouns, ...literal])].sort();
}

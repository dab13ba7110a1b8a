// Chinese text into words: a port of jieba 0.42.1's default `cut` (https://github.com/fxsjy/jieba, MIT). Words of its dictionary
// form a graph, the most probable path through it is taken, and runs of single characters are cut by a hidden Markov model.
// Dictionary and model are data of the optional package in packages/jieba.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

/** Cuts a text into words; together they are the text. */
export type Segmenter = (text: string) => string[];

const PACKAGE_NAME = 'duo-heads-jieba';
const CLONE_FOLDER = join('packages', 'jieba');
const DICTIONARY = 'dictionary.txt.gz';
const MODEL = 'hmm.json.gz';

/** What jieba adds for a transition or an emission that it does not know. */
const IMPOSSIBLE = -3.14e100;
const STATES = ['B', 'E', 'M', 'S'] as const;
type State = (typeof STATES)[number];
const BEFORE: Readonly<Record<State, readonly State[]>> = {
  B: ['E', 'S'],
  M: ['M', 'B'],
  S: ['S', 'E'],
  E: ['B', 'M'],
};

const WORD_BLOCK = /([\u4e00-\u9fd5a-zA-Z0-9+#&._%-]+)/;
const HAN_BLOCK = /([\u4e00-\u9fd5]+)/;
const LATIN_BLOCK = /([a-zA-Z0-9]+(?:\.\p{Nd}+)?%?)/u;

interface Model {
  readonly start: Readonly<Record<State, number>>;
  readonly transition: Readonly<Record<State, Partial<Record<State, number>>>>;
  readonly emission: Readonly<Record<string, readonly (number | null)[]>>;
}

let opened: Segmenter | null | undefined;

/** jieba's segmenter, null where its data is not installed. Read once, in about a second; 60 MB while it is used. */
export function openSegmenter(): Segmenter | null {
  if (opened === undefined) {
    const folder = findData();
    opened = folder === null ? null : makeSegmenter(folder);
  }
  return opened;
}

/** Folder of the data: the package installed with duo, else packages/jieba of the clone. */
function findData(): string | null {
  try {
    return dirname(createRequire(import.meta.url).resolve(`${PACKAGE_NAME}/package.json`));
  } catch {
    let folder = dirname(fileURLToPath(import.meta.url));
    for (;;) {
      if (existsSync(join(folder, CLONE_FOLDER, DICTIONARY))) return join(folder, CLONE_FOLDER);
      if (existsSync(join(folder, 'package.json')) || dirname(folder) === folder) return null;
      folder = dirname(folder);
    }
  }
}

function makeSegmenter(folder: string): Segmenter {
  const read = (name: string): string => gunzipSync(readFileSync(join(folder, name))).toString('utf8');
  const dictionary = new Dictionary(read(DICTIONARY));
  const model = JSON.parse(read(MODEL)) as Model;
  return (text) =>
    text.split(WORD_BLOCK).flatMap((block, index) => (index % 2 === 1 ? cutBlock(block) : cutRest(block)));

  /** The most probable path; single characters that follow each other are cut again by the model. */
  function cutBlock(block: string): string[] {
    const ends = dictionary.findPath(block);
    const words: string[] = [];
    let singles = '';
    for (let start = 0; start < block.length; start = ends[start] as number) {
      const end = ends[start] as number;
      if (end - start === 1) {
        singles += block[start];
        continue;
      }
      words.push(...cutSingles(singles), block.slice(start, end));
      singles = '';
    }
    return [...words, ...cutSingles(singles)];
  }

  function cutSingles(singles: string): string[] {
    if (singles.length < 2 || dictionary.countOf(singles) > 0) return [...singles];
    return singles
      .split(HAN_BLOCK)
      .flatMap((block, index) =>
        index % 2 === 1 ? cutByModel(block, model) : block.split(LATIN_BLOCK).filter((part) => part !== ''),
      );
  }
}

/** White space (CR LF as one) and every other character alone. */
function cutRest(block: string): string[] {
  const words: string[] = [];
  for (const character of block) {
    if (character === '\n' && words.at(-1) === '\r') words[words.length - 1] = '\r\n';
    else words.push(character);
  }
  return words;
}

/** jieba's prefix dictionary: every word with its frequency, and every beginning of a word with 0. */
class Dictionary {
  readonly #counts = new Map<string, number>();
  #logTotal = 0;

  constructor(text: string) {
    let total = 0;
    for (const line of text.split('\n')) {
      if (line === '') continue;
      const space = line.indexOf(' ');
      const word = line.slice(0, space);
      const count = Number(line.slice(space + 1));
      this.#counts.set(word, count);
      total += count;
      let prefix = '';
      for (const character of word) {
        prefix += character;
        if (!this.#counts.has(prefix)) this.#counts.set(prefix, 0);
      }
    }
    this.#logTotal = Math.log(total);
  }

  countOf(word: string): number {
    return this.#counts.get(word) ?? 0;
  }

  /** For each start of a word the end of the best one; of equal sums the longest, as Python's max over (sum, end) has it. */
  findPath(block: string): Uint32Array {
    const ends = new Uint32Array(block.length);
    const sums = new Float64Array(block.length + 1);
    for (let start = block.length - 1; start >= 0; start--) {
      let best = Number.NEGATIVE_INFINITY;
      const consider = (end: number, count: number): void => {
        const sum = Math.log(count || 1) - this.#logTotal + (sums[end] as number);
        if (sum < best) return;
        best = sum;
        ends[start] = end;
      };
      let found = false;
      for (let end = start + 1; end <= block.length; end++) {
        const count = this.#counts.get(block.slice(start, end));
        if (count === undefined) break;
        if (count === 0) continue;
        consider(end, count);
        found = true;
      }
      if (!found) consider(start + 1, this.countOf(block[start] as string));
      sums[start] = best;
    }
    return ends;
  }
}

/** Viterbi over begin, middle, end and single; ties go to the later letter, as Python's max over (probability, state) has it. */
function cutByModel(text: string, model: Model): string[] {
  const emit = (state: State, character: string): number =>
    model.emission[character]?.[STATES.indexOf(state)] ?? IMPOSSIBLE;
  let scores = {} as Record<State, number>;
  for (const state of STATES) scores[state] = model.start[state] + emit(state, text[0] as string);
  const origins: Record<State, State>[] = [];
  for (const character of text.slice(1)) {
    const next = {} as Record<State, number>;
    const origin = {} as Record<State, State>;
    for (const state of STATES) {
      const emitted = emit(state, character);
      const [score, from] = BEFORE[state]
        .map((before): [number, State] => [
          scores[before] + (model.transition[before][state] ?? IMPOSSIBLE) + emitted,
          before,
        ])
        .reduce(pickLater);
      next[state] = score;
      origin[state] = from;
    }
    scores = next;
    origins.push(origin);
  }
  let [, state] = pickLater([scores.E, 'E'], [scores.S, 'S']);
  const states: State[] = [state];
  for (const origin of origins.reverse()) {
    state = origin[state];
    states.push(state);
  }
  states.reverse();
  const words: string[] = [];
  let begin = 0;
  let next = 0;
  for (const [index, at] of states.entries()) {
    if (at === 'B') begin = index;
    if (at !== 'E' && at !== 'S') continue;
    words.push(text.slice(at === 'E' ? begin : index, index + 1));
    next = index + 1;
  }
  if (next < text.length) words.push(text.slice(next));
  return words;
}

const pickLater = (a: [number, State], b: [number, State]): [number, State] =>
  b[0] > a[0] || (b[0] === a[0] && b[1] > a[1]) ? b : a;

// A haystack of files: a text file, JSON lines (plain, .gz, .zst), or a folder of them. Keeps a tenth of the documents for held-out samples.
import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '../src/core/random.ts';
import { FormatError } from '../src/errors/errors.ts';
import { fileErrorOf } from '../src/formats/atomic-file.ts';
import type { Tokenizer } from '../src/text/tokenizer.ts';
import type { HaystackSource } from './haystack.ts';
import type { Split } from './length.ts';
import { isJsonLines, readDocuments } from './read-documents.ts';
import { encodePiece } from './template.ts';

/** Characters kept in memory at most, over all files: about 16m tokens, many samples of 1m tokens. The rest is not read. */
export const MAX_HAYSTACK_CHARACTERS = 64 * 1024 * 1024;
const MAX_FILES = 1_000_000;
const HELD_OUT_SHARE = 10; // one document in ten
const MAX_SEEK_CHARACTERS = 400; // to the next line or sentence after a drawn offset
const MIN_ENCODE_CHARACTERS = 256;

/** Text files under `path` in sorted order; a file stands for itself whatever its name. */
function listTextFiles(path: string): string[] {
  let isFolder: boolean;
  try {
    isFolder = statSync(path).isDirectory();
  } catch (cause) {
    throw fileErrorOf('read haystack', path, cause);
  }
  if (!isFolder) return [path];
  const files: string[] = [];
  const visit = (folder: string): void => {
    const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries) {
      const inner = join(folder, entry.name);
      if (entry.isDirectory()) visit(inner);
      else if (isJsonLines(inner) || /\.(txt|md)$/i.test(inner)) files.push(inner);
      if (files.length > MAX_FILES) throw new FormatError(`Expected at most ${MAX_FILES} text files under ${path}.`);
    }
  };
  try {
    visit(path);
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    throw fileErrorOf('read haystack', path, cause);
  }
  if (files.length === 0) {
    throw new FormatError(`Expected .txt, .md, .jsonl, .jsonl.gz or .jsonl.zst files under ${path}, found none.`);
  }
  return files;
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** First white space in reach at or after `at`; without one (text without spaces) `at` itself, never inside a surrogate pair. */
function boundaryAfter(text: string, at: number): number {
  const found = text.slice(at, at + MAX_SEEK_CHARACTERS).search(/\s/);
  return found < 0 ? alignToCharacter(text, at) : at + found;
}

/** Documents by split: by content hash one in ten is held out, at least one of several; of a single document the last tenth.
 * Equal documents count once, so that none is on both sides. */
export function splitDocuments(documents: readonly string[]): Record<Split, string[]> {
  const distinct = [...new Set(documents)];
  const [only] = distinct;
  if (only === undefined) return { train: [], 'held-out': [] };
  if (distinct.length === 1) {
    const cut = boundaryAfter(only, Math.floor((only.length * (HELD_OUT_SHARE - 1)) / HELD_OUT_SHARE));
    return { train: [only.slice(0, cut)], 'held-out': [only.slice(cut)] };
  }
  const numbered = distinct.map((text) => ({ text, number: digest(text).readUInt32BE(0) }));
  const isHeldOut = ({ number }: { number: number }): boolean => number % HELD_OUT_SHARE === 0;
  const lowest = numbered.reduce((a, b) => (b.number < a.number ? b : a), numbered[0]!);
  const heldOut = numbered.filter(isHeldOut);
  // With few documents chance may put none, or all, on one side.
  const kept = new Set(heldOut.length === 0 || heldOut.length === numbered.length ? [lowest] : heldOut);
  return {
    train: numbered.filter((document) => !kept.has(document)).map(({ text }) => text),
    'held-out': [...kept].map(({ text }) => text),
  };
}

/** A drawn start in `text` that leaves `characters` behind it where the text is long enough: after a line or sentence end, else at a word. */
function drawStart(text: string, options: { characters: number; random: Random }): number {
  const { characters, random } = options;
  const spare = text.length - characters - MAX_SEEK_CHARACTERS;
  const draw = random.uniform();
  if (spare <= 0) return 0;
  const at = Math.floor(draw * spare);
  if (at === 0) return 0;
  const near = text.slice(at, at + MAX_SEEK_CHARACTERS);
  const sentence = /\n+|[.!?]["')\]]*(?=\s)/.exec(near);
  if (sentence) return at + sentence.index + sentence[0].length;
  return boundaryAfter(text, at);
}

/** `at`, or one less where it would split a surrogate pair. */
function alignToCharacter(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code >= 0xdc00 && code <= 0xdfff ? at - 1 : at;
}

/** Consecutive text from offset `start` of document `first` on; goes on with the following documents and, after the last, from the first.
 * Each value is a function that takes the next piece: about `length` characters, ended at white space, within one document. */
function* walkText(
  documents: readonly string[],
  { first, start }: { first: number; start: number },
): Generator<(length: number) => string, never> {
  let text = (documents[first] as string).slice(start);
  for (let number = first; ; ) {
    let at = 0;
    while (at < text.length) {
      yield (length) => {
        const rough = Math.min(text.length, at + length);
        const end = rough === text.length ? rough : Math.max(at + 1, boundaryAfter(text, rough));
        const piece = text.slice(at, end);
        at = end;
        return piece;
      };
    }
    number = (number + 1) % documents.length;
    text = `\n\n${documents[number]}`;
  }
}

/** Open files as a haystack. Reads at most MAX_HAYSTACK_CHARACTERS, shared evenly among the files.
 * A split with less text than a sample needs repeats itself from its first document.
 * @throws {FileError} absent or unreadable; {FormatError} no text, not UTF-8, malformed line, broken compression. */
export async function openFileHaystack(options: {
  path: string;
  tokenizer: Tokenizer;
  maxCharacters?: number;
}): Promise<HaystackSource> {
  const { path, tokenizer, maxCharacters = MAX_HAYSTACK_CHARACTERS } = options;
  const files = listTextFiles(path);
  const documents: string[] = [];
  let room = maxCharacters;
  for (const [index, file] of files.entries()) {
    const share = Math.floor(room / (files.length - index));
    if (share === 0) continue;
    const read = await readDocuments(file, share);
    for (const document of read) documents.push(document);
    room -= read.reduce((total, document) => total + document.length, 0);
  }
  const splits = splitDocuments(documents);
  const count = (split: Split): number => splits[split].reduce((total, text) => total + text.trim().length, 0);
  for (const split of ['train', 'held-out'] as const) {
    if (count(split) === 0) {
      throw new FormatError(
        `Expected ${path} to hold enough text to keep a tenth for held-out samples, found ${documents.length === 0 ? 'none' : 'too little'}.`,
      );
    }
  }
  const hash = createHash('sha256');
  for (const document of documents) hash.update(digest(document));

  return {
    take({ tokens, random, split }) {
      const texts = splits[split];
      const first = random.integer(texts.length);
      // 6 characters a token is more than English needs; a sample that needs more goes on with the next document.
      const start = drawStart(texts[first] as string, { characters: tokens * 6, random });
      const ids: number[] = [];
      let charactersPerToken = 4.5;
      let taken = 0;
      for (const takeNext of walkText(texts, { first, start })) {
        const wanted = Math.max(MIN_ENCODE_CHARACTERS, Math.ceil((tokens - ids.length) * charactersPerToken));
        const piece = takeNext(wanted);
        for (const id of encodePiece(tokenizer, piece)) ids.push(id);
        taken += piece.length;
        if (ids.length >= tokens) return ids;
        if (ids.length > 0) charactersPerToken = Math.min(64, taken / ids.length);
        else if (taken > 2 * maxCharacters) throw new FormatError(`Expected tokens for the text of ${path}, got none.`);
      }
      return ids;
    },
    description: `${documents.length} document${documents.length === 1 ? '' : 's'}, ${count('train')} characters to learn from and ${count('held-out')} held out`,
    hash: `sha256:${hash.digest('hex')}`,
  };
}

// A haystack of files: a text file, JSON lines (plain, .gz, .zst), or a folder of them. Keeps a tenth of the documents for held-out samples.

import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { HaystackSource, Split } from '../src/core/haystack.ts';
import type { Random } from '../src/core/random.ts';
import { FormatError } from '../src/errors/errors.ts';
import { fileErrorOf } from '../src/formats/atomic-file.ts';
import type { Tokenizer } from '../src/text/tokenizer.ts';
import { isJsonLines, readDocuments } from './read-documents.ts';
import { encodePiece } from './template.ts';

/** Characters kept in memory at most, over all files: about 16m tokens, many samples of 1m tokens. The rest is not read. */
export const MAX_HAYSTACK_CHARACTERS = 64 * 1024 * 1024;
const MAX_FILES = 1_000_000;
const HELD_OUT_SHARE = 10; // one document in ten
const MAX_SEEK_CHARACTERS = 400; // to the next line or sentence after a drawn offset
const MIN_ENCODE_CHARACTERS = 256;
const JOINT = '\n\n'; // between documents of one sample

/** Text files under `path` in sorted order; a path that is a file gives that file, whatever its name. */
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

/** Documents to learn from and documents held out as two paths name them; those in both are held out. */
function separateDocuments(own: readonly string[], heldOut: readonly string[]): Record<Split, string[]> {
  const kept = new Set(heldOut);
  return { train: [...new Set(own)].filter((text) => !kept.has(text)), 'held-out': [...kept] };
}

/** Characters of a walk through all documents, with what joins them, before any text comes again. */
function countDistinct(documents: readonly string[]): number {
  return documents.reduce((total, text) => total + text.length, 0) + JOINT.length * (documents.length - 1);
}

function tooLittleText(parts: { path: string; split: Split; tokens: number; found: number }): FormatError {
  const { path, split, tokens, found } = parts;
  const part = split === 'train' ? 'to learn from' : 'held out';
  return new FormatError(
    `Expected ${tokens} tokens of text ${part} in ${path}, found ${found}; give more --documents or lower --max-tokens.`,
  );
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

/** Consecutive text from offset `start` of document `first` on; continues with the following documents and, after the last, from the first.
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
    text = `${JOINT}${documents[number]}`;
  }
}

/** Every document under `path`, until `maxCharacters` are read, shared evenly among the files. */
async function readAllDocuments(path: string, maxCharacters: number): Promise<string[]> {
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
  return documents;
}

/** Open files as a haystack. Reads at most MAX_HAYSTACK_CHARACTERS of each path.
 * A split with less text than a sample needs repeats itself from its first document.
 * @param options.path null: nothing to learn from; `heldOutPath` is given then.
 * @param options.heldOutPath documents that are held out; then all others of `path` are to learn from. Default: a part of `path`.
 * @throws {FileError} absent or unreadable; {FormatError} no text, not UTF-8, malformed line, broken compression. */
export async function openFileHaystack(
  options: { tokenizer: Tokenizer; maxCharacters?: number } & (
    | { path: string; heldOutPath?: string | undefined }
    | { path: null; heldOutPath: string }
  ),
): Promise<HaystackSource> {
  const { path, tokenizer, heldOutPath, maxCharacters = MAX_HAYSTACK_CHARACTERS } = options;
  const own = path === null ? [] : await readAllDocuments(path, maxCharacters);
  const heldOut = heldOutPath === undefined ? null : await readAllDocuments(heldOutPath, maxCharacters);
  const documents = heldOut === null ? own : [...own, ...heldOut];
  const splits = heldOut === null ? splitDocuments(own) : separateDocuments(own, heldOut);
  const pathOf = (split: Split): string =>
    split === 'held-out' && heldOutPath !== undefined ? heldOutPath : String(path);
  const count = (split: Split): number => splits[split].reduce((total, text) => total + text.trim().length, 0);
  if (heldOutPath !== undefined) {
    if (count('held-out') === 0) throw new FormatError(`Expected ${heldOutPath} to hold text, found none.`);
    if (path !== null && count('train') === 0) {
      throw new FormatError(
        `Expected ${path} to hold text that is not in ${heldOutPath}, found none; name other documents.`,
      );
    }
  }
  if (heldOutPath === undefined && (count('train') === 0 || count('held-out') === 0)) {
    throw new FormatError(
      `Expected ${path} to hold enough text to keep a tenth for held-out samples, found ${documents.length === 0 ? 'none' : 'too little'}.`,
    );
  }
  const hash = createHash('sha256');
  for (const document of documents) hash.update(digest(document));
  // Which documents are held out counts, where the path and not their text decides it.
  if (heldOut !== null) hash.update(`held out: ${heldOut.length}`);

  return {
    take({ tokens, random, split, repeats = true }) {
      const texts = splits[split];
      const first = random.integer(texts.length);
      // 6 characters per token is more than English needs; a sample that needs more continues with the next document.
      const start = drawStart(texts[first] as string, { characters: tokens * 6, random });
      const ids: number[] = [];
      let charactersPerToken = 4.5;
      let taken = 0;
      const mostCharacters = repeats ? Number.POSITIVE_INFINITY : countDistinct(texts);
      for (const takeNext of walkText(texts, { first, start })) {
        if (taken >= mostCharacters) throw tooLittleText({ path: pathOf(split), split, tokens, found: ids.length });
        const wanted = Math.max(MIN_ENCODE_CHARACTERS, Math.ceil((tokens - ids.length) * charactersPerToken));
        const piece = takeNext(Math.min(wanted, mostCharacters - taken));
        for (const id of encodePiece(tokenizer, piece)) ids.push(id);
        taken += piece.length;
        if (ids.length >= tokens) return ids;
        if (ids.length > 0) charactersPerToken = Math.min(64, taken / ids.length);
        else if (taken > 2 * maxCharacters)
          throw new FormatError(`Expected tokens for the text of ${pathOf(split)}, got none.`);
      }
      return ids;
    },
    description: `${documents.length} document${documents.length === 1 ? '' : 's'}, ${count('train')} characters to learn from and ${count('held-out')} held out`,
    hash: `sha256:${hash.digest('hex')}`,
  };
}

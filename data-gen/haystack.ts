// The text around the needles, as a source of token ids: one interface, two sources (generated prose; files, in file-haystack.ts).
import { createHash } from 'node:crypto';
import type { HaystackSource } from '../src/core/haystack.ts';
import type { Tokenizer } from '../src/text/tokenizer.ts';
import { openFileHaystack } from './file-haystack.ts';
import { listLexicon, writeProse } from './prose.ts';
import { FOLLOWING_FORMS, NAMED_FORMS } from './sentence-forms.ts';
import { encodePiece } from './template.ts';

const CHARACTERS_PER_TOKEN = 5; // about one English word and its space; a first guess, corrected by asking for more

/** Generated prose; needs no file. Train and held-out texts differ because their generators have other labels. */
export function openProseHaystack(tokenizer: Tokenizer): HaystackSource {
  const language = JSON.stringify([listLexicon(), NAMED_FORMS, FOLLOWING_FORMS]);
  return {
    take({ tokens, random }) {
      const ids: number[] = [];
      while (ids.length < tokens) {
        const missing = Math.max(64, tokens - ids.length);
        const lead = ids.length === 0 ? '' : '\n';
        for (const id of encodePiece(tokenizer, lead + writeProse(random, missing * CHARACTERS_PER_TOKEN)))
          ids.push(id);
      }
      return ids;
    },
    description: 'generated prose',
    hash: `sha256:${createHash('sha256').update(language).digest('hex')}`,
  };
}

/** Open the haystack of a run.
 * @param options.path text file, folder, JSONL, JSONL.gz or JSONL.zst; null = generated prose.
 * @throws {FileError} absent; {FormatError} no text, malformed line (with its number). */
export async function openHaystack(options: { path: string | null; tokenizer: Tokenizer }): Promise<HaystackSource> {
  return options.path === null
    ? openProseHaystack(options.tokenizer)
    : openFileHaystack({ path: options.path, tokenizer: options.tokenizer });
}

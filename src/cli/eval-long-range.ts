// The texts of task `long-range` of `duo eval`: held-out running text of the user's documents, at each length.
import { openFileHaystack } from '../../data-gen/file-haystack.ts';
import { takeRunningText } from '../../data-gen/running-text.ts';
import { makeRandom } from '../core/random.ts';
import { ConfigError } from '../errors/errors.ts';
import { LONG_RANGE_TASK } from '../eval/evaluate-long-range.ts';
import type { ModelFolder } from '../model/folder.ts';
import { openTokenizer } from '../text/tokenizer.ts';
import type { DocumentFlags } from './objective-flags.ts';

/** Texts of task long-range by length, in tokens. */
export type LongRangeTexts = readonly { readonly length: number; readonly texts: readonly number[][] }[];

/** Texts of --held-out-documents, else of the held-out part of --documents.
 * @throws {ConfigError} neither flag, or both; {FormatError} no text, or too little for a length; {FileError}. */
export async function takeLongRangeTexts(
  flags: DocumentFlags,
  options: {
    readonly folder: ModelFolder;
    readonly lengths: readonly number[];
    readonly numTexts: number;
    readonly seed: number;
  },
): Promise<LongRangeTexts> {
  const { folder, lengths, numTexts, seed } = options;
  const { documents: path, heldOutDocuments: heldOutPath } = flags;
  if (path === undefined && heldOutPath === undefined) {
    throw new ConfigError(
      `Expected --documents or --held-out-documents for task ${LONG_RANGE_TASK}: a text, a folder of texts, or JSONL.`,
    );
  }
  if (path !== undefined && heldOutPath !== undefined) {
    throw new ConfigError(
      `Expected --documents, whose held-out part is scored, or --held-out-documents, which is scored whole, got both; leave --documents out.`,
    );
  }
  const tokenizer = openTokenizer(folder.path);
  const documents = await openFileHaystack(
    path === undefined ? { path: null, heldOutPath: String(heldOutPath), tokenizer } : { path, tokenizer },
  );
  const start = tokenizer.encode('', { addSpecialTokens: true });
  return lengths.map((length) => ({
    length,
    texts: Array.from({ length: numTexts }, (_, index) => {
      const random = makeRandom(seed, 'eval', LONG_RANGE_TASK, length, index);
      return takeRunningText(documents, { start, tokens: length, random, split: 'held-out' });
    }),
  }));
}

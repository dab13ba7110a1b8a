// What a mask is tested on: samples that were not used to find the heads, and running text from the held-out part of the documents.
import { openFileHaystack } from '../data-gen/file-haystack.ts';
import { takeRunningText } from '../data-gen/running-text.ts';
import { makeRandom } from '../src/core/random.ts';
import type { Sample } from '../src/core/shapes.ts';
import { openTokenizer } from '../src/text/tokenizer.ts';
import { findDocuments } from './documents.ts';
import type { Parts } from './parts.ts';
import { makeHeldOutSamples, readGivenSamples } from './sample-source.ts';

/** The samples of `heldOut`, or freshly generated ones of the settings' number. @throws {FormatError}; {FileError}; {ConfigError}. */
export async function readHeldOut({ options, folder, config }: Parts): Promise<readonly Sample[]> {
  const { heldOut, haystack } = options;
  return heldOut === undefined
    ? makeHeldOutSamples({ folder, config, haystackPath: haystack })
    : readGivenSamples(heldOut, folder);
}

/** Running text of `maxTokens` tokens, from the held-out part of the documents, of the haystack, or of the small corpus that ships with duo.
 * @param leastTexts minimum number of texts; more where the closing table has more samples. Fewer than eight give no interval (metrics/kept-gain.ts).
 * @returns token ids. @throws {FormatError} no tokenizer, too little text; {FileError}. */
export async function takeHeldOutTexts(
  { options, folder, config }: Parts,
  { leastTexts }: { leastTexts: number },
): Promise<number[][]> {
  const tokenizer = openTokenizer(folder.path);
  const path = findDocuments({ documents: options.documents ?? options.haystack });
  const documents = await openFileHaystack({ path, heldOutPath: options.heldOutDocuments, tokenizer });
  const start = tokenizer.encode('', { addSpecialTokens: true });
  const tokens = Math.min(config.maxTokens, folder.config.shape.maxPositions);
  return Array.from({ length: Math.max(leastTexts, config.heldOutSamples) }, (_, index) => {
    const random = makeRandom(config.seed, 'promise', index);
    return takeRunningText(documents, { start, tokens, random, split: 'held-out' });
  });
}

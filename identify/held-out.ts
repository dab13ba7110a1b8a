// What a mask is held to: samples that the heads were not found by, and running text of the held-out part of the documents.
import { join } from 'node:path';
import { openFileHaystack } from '../data-gen/file-haystack.ts';
import { findPackageRoot } from '../src/core/package.ts';
import { makeRandom } from '../src/core/random.ts';
import type { Sample } from '../src/core/shapes.ts';
import { openTokenizer } from '../src/text/tokenizer.ts';
import type { Parts } from './parts.ts';
import { makeHeldOutSamples, readGivenSamples } from './sample-source.ts';

/** Texts of kept gain; fewer than eight tell nothing (metrics/kept-gain.ts). */
const LEAST_TEXTS = 16;

/** The samples of `heldOut`, or freshly generated ones of the settings' number. @throws {FormatError}; {FileError}; {ConfigError}. */
export async function readHeldOut({ options, folder, config }: Parts): Promise<readonly Sample[]> {
  const { heldOut, haystack } = options;
  return heldOut === undefined
    ? makeHeldOutSamples({ folder, config, haystackPath: haystack })
    : readGivenSamples(heldOut, folder);
}

/** Running text of `maxTokens` tokens, from the held-out part of the haystack or of the small corpus that ships with duo.
 * @returns token ids. @throws {FormatError} no tokenizer, no text; {FileError}. */
export async function takeHeldOutTexts({ options, folder, config }: Parts): Promise<number[][]> {
  const tokenizer = openTokenizer(folder.path);
  const path = options.haystack ?? join(findPackageRoot(), 'corpus', 'texts');
  const documents = await openFileHaystack({ path, tokenizer });
  const start = tokenizer.encode('', { addSpecialTokens: true });
  const tokens = Math.min(config.maxTokens, folder.config.shape.maxPositions);
  return Array.from({ length: Math.max(LEAST_TEXTS, config.heldOutSamples) }, (_, index) => {
    const random = makeRandom(config.seed, 'promise', index);
    return [...start, ...documents.take({ tokens, random, split: 'held-out' })].slice(0, tokens);
  });
}

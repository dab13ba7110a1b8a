// Fills a sample's templates and turns each piece into token ids on its own, so that a passkey has the same ids wherever it occurs.
import type { Templates } from '../src/config/config.ts';
import { FormatError } from '../src/errors/errors.ts';
import type { Tokenizer } from '../src/text/tokenizer.ts';

/** Token ids around one passkey. */
export interface FramedPieces {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** All pieces of a sample but the haystack and the passkeys. */
export interface TemplatePieces {
  /** BOS, if the tokenizer puts one before a text, and the head */
  readonly head: readonly number[];
  /** by ordinal */
  readonly needles: readonly FramedPieces[];
  readonly close: readonly number[];
  /** by ordinal */
  readonly questions: readonly FramedPieces[];
}

const ANCHOR = 'a';
const PROBE = ' b. A b, c?\n';
const anchored = new WeakMap<Tokenizer, readonly number[] | null>();

/** Token ids of the anchor, or null where the text after it cannot be separated from it: word-level vocabularies lose what they do not know. */
function findAnchor(tokenizer: Tokenizer): readonly number[] | null {
  let anchor = anchored.get(tokenizer);
  if (anchor !== undefined) return anchor;
  anchor = null;
  try {
    const ids = tokenizer.encode(ANCHOR);
    const isLossless = tokenizer.decode(tokenizer.encode(ANCHOR + PROBE)) === ANCHOR + PROBE;
    if (ids.length > 0 && isLossless) anchor = ids;
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
  }
  anchored.set(tokenizer, anchor);
  return anchor;
}

/** Token ids of `text` as part of a longer text: without special tokens and without the space that SentencePiece
 * tokenizers put before a text's first word. The plain encoding where `text` merges with what precedes it. */
export function encodePiece(tokenizer: Tokenizer, text: string): number[] {
  if (text === '') return [];
  const anchor = findAnchor(tokenizer);
  if (anchor !== null) {
    const ids = tokenizer.encode(ANCHOR + text);
    if (anchor.every((id, index) => ids[index] === id)) return ids.slice(anchor.length);
  }
  return tokenizer.encode(text);
}

function encodeFrame(tokenizer: Tokenizer, text: string): FramedPieces {
  const at = text.indexOf('{passkey}');
  return {
    before: encodePiece(tokenizer, text.slice(0, at)),
    after: encodePiece(tokenizer, text.slice(at + '{passkey}'.length)),
  };
}

/** Token ids of every piece of a sample that does not depend on the draw.
 * @param options.ordinals one for each passkey, in order of depth. */
export function encodeTemplates(
  tokenizer: Tokenizer,
  options: { templates: Templates; ordinals: readonly string[] },
): TemplatePieces {
  const { head, needle, close, question, separator } = options.templates;
  const frames = (template: string): FramedPieces[] =>
    options.ordinals.map((ordinal) => encodeFrame(tokenizer, template.replaceAll('{ordinal}', ordinal)));
  const bos = tokenizer.bosTokenId;
  const start = encodePiece(tokenizer, head);
  return {
    head: bos === null || start[0] === bos ? start : [bos, ...start],
    needles: frames(separator + needle + separator),
    close: encodePiece(tokenizer, close),
    questions: frames(question + separator),
  };
}

/** Token ids of one passkey, with the space that joins it to the text before. */
export function encodePasskey(tokenizer: Tokenizer, words: readonly string[]): number[] {
  return encodePiece(tokenizer, ` ${words.join(' ')}`);
}

/** Every word that templates, ordinals and alphabet can put into a sample, each once, sorted: what a closed vocabulary must hold in addition to the
 * haystack's words. */
export function listTemplateWords(config: {
  templates: Templates;
  ordinals: readonly string[];
  alphabet: readonly string[];
}): string[] {
  const { head, needle, close, question, separator } = config.templates;
  const text = [head, needle, close, question, separator].join(' ').replace(/\{(?:ordinal|passkey)\}/g, ' ');
  return [...new Set([...(text.match(/\p{L}+/gu) ?? []), ...config.ordinals, ...config.alphabet])].sort();
}

// Fills a sample's templates and turns each piece into token ids on its own, so that a passkey has the same ids wherever it stands.
import type { Templates } from '../src/config/config.ts';
import type { Tokenizer } from '../src/text/tokenizer.ts';

/** Token ids around one passkey. */
export interface FramedPieces {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** All pieces of a sample but the haystack and the passkeys. */
export interface TemplatePieces {
  /** BOS, if the model has one, and the head */
  readonly head: readonly number[];
  /** by ordinal */
  readonly needles: readonly FramedPieces[];
  readonly close: readonly number[];
  /** by ordinal */
  readonly questions: readonly FramedPieces[];
}

const ANCHOR = 'a';

/** Token ids of `text` as it stands inside a longer text: without special tokens and without the space that SentencePiece
 * tokenizers put before a text's first word. Falls back to the plain encoding where `text` merges with what precedes it. */
export function encodePiece(tokenizer: Tokenizer, text: string): number[] {
  if (text === '') return [];
  const anchor = Array.from(tokenizer.encode(ANCHOR, { addSpecialTokens: false }));
  const anchored = Array.from(tokenizer.encode(ANCHOR + text, { addSpecialTokens: false }));
  const isKept = anchor.length > 0 && anchor.every((id, index) => anchored[index] === id);
  return isKept ? anchored.slice(anchor.length) : Array.from(tokenizer.encode(text, { addSpecialTokens: false }));
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
  return {
    head: [...(bos === null ? [] : [bos]), ...encodePiece(tokenizer, head)],
    needles: frames(separator + needle + separator),
    close: encodePiece(tokenizer, close),
    questions: frames(question + separator),
  };
}

/** Token ids of one passkey, with the space that joins it to the text before. */
export function encodePasskey(tokenizer: Tokenizer, words: readonly string[]): number[] {
  return encodePiece(tokenizer, ` ${words.join(' ')}`);
}

/** Every word that templates, ordinals and alphabet can put into a sample, each once, sorted: what a closed vocabulary must hold beside the
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

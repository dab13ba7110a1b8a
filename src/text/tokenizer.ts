// Text to token ids and back, by the tokenizer.json of a model folder. BPE (also with `ignore_merges` and an empty merges list), Unigram
// and WordPiece are the library's; it knows no WordLevel but looks whole words up when handed the unknown token, which is all WordLevel does.
// What the library would let through as undefined (unknown words without an unknown token, foreign ids) is stopped here.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import { jsonText } from '../core/json-text.ts';
import { FormatError } from '../errors/errors.ts';
import { isGgufFile } from '../formats/gguf.ts';
import { readJson } from '../formats/read-json.ts';
import { checkMerges } from './check-merges.ts';
import { readGgufTokenizer } from './gguf-tokenizer.ts';
import { listSpecialTokens, readTokenizerConfig } from './special-tokens.ts';
import { splitWords } from './split-words.ts';
import { runWithin } from './time-limit.ts';
import { checkRules } from './untrusted-rules.ts';

/** A model's tokenizer. Deterministic. */
export interface Tokenizer {
  /** Token ids of `text`; special tokens written in the text count as such.
   * @param options.addSpecialTokens put BOS before it where the tokenizer does so and the text does not begin with it, default false.
   *   Nothing is put behind a text, because texts here are continued.
   * @throws {FormatError} a piece is not in a vocabulary without an unknown token; a regular expression of the file took too long. */
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[];
  /** The text of `tokens`; ids outside the vocabulary (padding of the embedding matrix) give nothing. Cut characters become U+FFFD.
   * @param options.skipSpecialTokens leave out special tokens, default false.
   * @throws {FormatError} a regular expression of the file took too long. */
  decode(tokens: ArrayLike<number>, options?: { skipSpecialTokens?: boolean }): string;
  /** one more than the highest id */
  readonly vocabSize: number;
  /** The token that precedes every text, null where the tokenizer puts none there, even if it names one (SmolLM2).
   * The rule: `add_bos_token` of tokenizer_config.json where given, else what the post-processor of tokenizer.json does. */
  readonly bosTokenId: number | null;
  /** of the tokenizer's own settings; a model's config may name more */
  readonly eosTokenIds: readonly number[];
  /** Id of the one token that is `text` (" the", "<eos>"), null where the text takes none or several. */
  tokenId(text: string): number | null;
}

const FILE_NAME = 'tokenizer.json';
/** Published files stay under 40 MB. */
const MAX_FILE_BYTES = 2 ** 27;
const MAX_VOCAB = 2 ** 24;
/** Processor time that rules which are not those of a published model may take, and more for each unit of what they work on: a token of the
 * vocabulary (published ones take up to 0.006 ms), a character of a text (up to 0.001 ms). */
const RULES_MS = 1000;
const UNIT_MS = 0.01;
const KNOWN_MODELS = ['BPE', 'Unigram', 'WordPiece', 'WordLevel'];

/** Load the tokenizer of a model folder, or of a GGUF file.
 * @throws {FormatError} tokenizer.json is absent, malformed or of a kind that is not supported; {FileError} reading failed. */
export function openTokenizer(modelFolder: string): Tokenizer {
  const isGguf = isGgufFile(modelFolder);
  const path = isGguf ? modelFolder : join(modelFolder, FILE_NAME);
  if (!existsSync(path)) {
    throw new FormatError(
      `Expected ${FILE_NAME} in ${modelFolder}, found none; download it as well, or convert the model's tokenizer with transformers' \`save_pretrained\`.`,
    );
  }
  const gguf = isGguf ? readGgufTokenizer(path) : null;
  const json = checkDescription(gguf?.json ?? readJson(path, MAX_FILE_BYTES), path);
  const config = gguf?.config ?? readTokenizerConfig(modelFolder);
  const specials = listSpecialTokens(config);
  if (json.model.type === 'BPE') checkMerges(json.model, path);
  // The WordLevel lookup takes its unknown token from here, the other models from tokenizer.json.
  const unknown = json.model.type === 'WordLevel' ? { unk_token: json.model.unk_token } : {};
  const { normalizer, pre_tokenizer, decoder } = json;
  const isTimed = checkRules({ normalizer, pre_tokenizer, decoder }, path);
  const vocabSize = countVocabulary(json, path);
  const limit = makeLimit(path, isTimed);
  const library = limit(
    vocabSize,
    () => new LibraryTokenizer({ ...json, pre_tokenizer: splitWords(json) }, { ...config, ...unknown }),
  );
  return new FolderTokenizer({ library, path, specials, addBos: config.add_bos_token, vocabSize, limit });
}

/** Runs work of the library: what it cannot do is an error of the file.
 * @param numUnits tokens or characters that it works on.
 * @throws {FormatError} with the library's reason, or because the work took too long. */
type Limit = <T>(numUnits: number, work: () => T) => T;

function makeLimit(path: string, isTimed: boolean): Limit {
  return (numUnits, work) => {
    const mostMs = Math.ceil(RULES_MS + UNIT_MS * numUnits);
    let done: { value: ReturnType<typeof work> } | null;
    try {
      done = isTimed ? runWithin(mostMs, work) : { value: work() };
    } catch (cause) {
      throw new FormatError(
        `Expected ${path} to describe a tokenizer that duo reads, but: ${(cause as Error).message}.`,
        { cause },
      );
    }
    if (done !== null) return done.value;
    throw new FormatError(
      `Expected the regular expressions of ${path} to be done within ${(mostMs / 1000).toFixed(1)} s, but they were not; download the file again from where the model was published.`,
    );
  };
}

/** `sha256:…` of what makes the tokenizer: the bytes of tokenizer.json, or the fields of a GGUF file. @throws as openTokenizer. */
export function hashTokenizer(modelFolder: string): string {
  const data = isGgufFile(modelFolder)
    ? JSON.stringify(readGgufTokenizer(modelFolder).json)
    : readFileSync(join(modelFolder, FILE_NAME));
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

interface Description {
  readonly model: Record<string, unknown> & { type: string; vocab: object };
  readonly added_tokens: readonly { id: number; content: string }[];
  readonly normalizer: unknown;
  readonly pre_tokenizer: unknown;
  readonly decoder: unknown;
}

/** Check tokenizer.json, name the model kind and fill in what older files leave out. */
function checkDescription(value: unknown, path: string): Description {
  const json = value as (Record<string, unknown> & { model?: unknown }) | null;
  const model = json?.model as (Record<string, unknown> & { type?: unknown }) | null | undefined;
  if (typeof model !== 'object' || model === null || typeof model.vocab !== 'object' || model.vocab === null) {
    throw new FormatError(`Expected ${path} to hold a \`model\` with a \`vocab\`, got none; download it again.`);
  }
  // Files of early versions name no type.
  const type = model.type ?? (Array.isArray(model.merges) ? 'BPE' : undefined);
  if (typeof type !== 'string' || !KNOWN_MODELS.includes(type)) {
    throw new FormatError(
      `Expected \`model.type\` of ${path} to be one of ${KNOWN_MODELS.join(', ')}, got \`${jsonText(type ?? null)}\`; duo reads no other tokenizer.`,
    );
  }
  const added = json?.added_tokens ?? [];
  if (!Array.isArray(added) || !added.every(isAddedToken)) {
    throw new FormatError(`Expected \`added_tokens\` of ${path} to be a list of tokens with \`id\` and \`content\`.`);
  }
  const merges = type === 'BPE' ? { merges: model.merges ?? [] } : {};
  const empty = { normalizer: null, post_processor: null, decoder: null };
  return {
    ...empty,
    ...json,
    pre_tokenizer: json?.pre_tokenizer ?? null,
    added_tokens: added,
    model: { ...model, ...merges, vocab: model.vocab, type },
  };
}

function isAddedToken(value: unknown): value is { id: number; content: string } {
  const { id, content } = (value ?? {}) as { id?: unknown; content?: unknown };
  return isTokenId(id) && typeof content === 'string' && content !== '';
}

function isTokenId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < MAX_VOCAB;
}

/** One more than the highest id. @throws {FormatError} an id that is not an integer of the allowed range. */
function countVocabulary(json: Description, path: string): number {
  const { vocab } = json.model;
  let size = Array.isArray(vocab) ? vocab.length : 0;
  for (const [token, id] of Array.isArray(vocab) ? [] : Object.entries(vocab)) {
    if (!isTokenId(id)) {
      throw new FormatError(
        `Expected the id of token \`${token}\` in ${path} to be an integer from 0 to ${MAX_VOCAB - 1}, got \`${jsonText(id)}\`.`,
      );
    }
    size = Math.max(size, id + 1);
  }
  return json.added_tokens.reduce((most, { id }) => Math.max(most, id + 1), size);
}

/** The token that the post-processor puts before a text; null where it puts none. */
function findFirstToken(library: LibraryTokenizer): number | null {
  const bare: readonly number[] = library.encode('a', { add_special_tokens: false }).ids;
  const whole: readonly number[] = library.encode('a', { add_special_tokens: true }).ids;
  return whole.length > bare.length && bare.some((id, index) => whole[index] !== id) ? whole[0]! : null;
}

class FolderTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  private readonly library: LibraryTokenizer;
  private readonly path: string;
  private readonly limit: Limit;

  constructor(parts: {
    library: LibraryTokenizer;
    path: string;
    specials: Record<string, string>;
    addBos: unknown;
    vocabSize: number;
    limit: Limit;
  }) {
    const { library, path, specials, limit } = parts;
    this.library = library;
    this.path = path;
    this.limit = limit;
    this.vocabSize = parts.vocabSize;
    const idOf = (token: string | undefined): number | undefined =>
      token === undefined ? undefined : library.token_to_id(token);
    const ownFirst = limit(1, () => findFirstToken(library));
    if (parts.addBos === false) this.bosTokenId = null;
    else this.bosTokenId = ownFirst ?? (parts.addBos === true ? (idOf(specials.bos_token) ?? null) : null);
    const eos = idOf(specials.eos_token);
    this.eosTokenIds = eos === undefined ? [] : [eos];
  }

  encode(text: string, options?: { addSpecialTokens?: boolean }): number[] {
    const { ids, tokens } = this.cut(text);
    const unknown = (ids as unknown[]).findIndex((id) => typeof id !== 'number');
    if (unknown >= 0) {
      throw new FormatError(
        `Expected every piece of the text in the vocabulary of ${this.path}, got \`${tokens[unknown]}\`, and the tokenizer has no unknown token.`,
      );
    }
    const bos = options?.addSpecialTokens ? this.bosTokenId : null;
    return bos === null || ids[0] === bos ? ids : [bos, ...ids];
  }

  decode(tokens: ArrayLike<number>, options?: { skipSpecialTokens?: boolean }): string {
    const known = Array.from(tokens).filter((id) => this.library.id_to_token(id) !== undefined);
    if (known.length === 0) return '';
    return this.limit(known.length, () =>
      this.library.decode(known, {
        skip_special_tokens: options?.skipSpecialTokens ?? false,
        // Text is what the tokens say; the clean-up of old tokenizers would drop the space of " ." and is off in transformers 5.
        clean_up_tokenization_spaces: false,
      }),
    );
  }

  tokenId(text: string): number | null {
    const { ids } = this.cut(text);
    // The vocabulary's spelling may be another token's text: byte-level BPE writes byte 0xE9 as "é".
    const candidates = [ids.length === 1 ? ids[0] : undefined, this.library.token_to_id(text)];
    return candidates.find((id) => id !== undefined && this.decode([id]) === text) ?? null;
  }

  private cut(text: string): { ids: number[]; tokens: string[] } {
    return this.limit(text.length, () => this.library.encode(text, { add_special_tokens: false }));
  }
}

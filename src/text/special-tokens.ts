// The names of a model's special tokens, from tokenizer_config.json and special_tokens_map.json, where a token is a string or an object
// with `content`.
// Ids are looked up in tokenizer.ts; the chat template gets the strings as variables.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { jsonText } from '../core/json-text.ts';
import { FormatError } from '../errors/errors.ts';
import { isGgufFile } from '../formats/gguf.ts';
import { readJson } from '../formats/read-json.ts';
import { readGgufTokenizer } from './gguf-tokenizer.ts';

/** Chat templates included, published files stay under 1 MB. */
const MAX_CONFIG_BYTES = 2 ** 25;

/** Variables of chat templates. */
export const SPECIAL_ROLES = ['bos_token', 'eos_token', 'unk_token', 'pad_token'];

/** tokenizer_config.json of a model folder; special tokens that it does not name come from special_tokens_map.json. `{}` where both are absent.
 * A GGUF file says the same in its metadata.
 * @throws {FormatError} not a JSON object; {FileError}. */
export function readTokenizerConfig(modelFolder: string): Record<string, unknown> {
  if (isGgufFile(modelFolder)) return readGgufTokenizer(modelFolder).config;
  const config = readObject(join(modelFolder, 'tokenizer_config.json'));
  const named = readObject(join(modelFolder, 'special_tokens_map.json'));
  // null in the configuration says that there is no such token.
  const missing = SPECIAL_ROLES.filter((role) => !(role in config) && role in named);
  return { ...config, ...Object.fromEntries(missing.map((role) => [role, named[role]])) };
}

function readObject(path: string): Record<string, unknown> {
  if (!existsSync(path)) return {};
  const value = readJson(path, MAX_CONFIG_BYTES);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FormatError(`Expected ${path} to hold a JSON object, got \`${jsonText(value)?.slice(0, 60)}\`.`);
  }
  return value as Record<string, unknown>;
}

/** Special tokens by role, for example `{ bos_token: '<s>', eos_token: '</s>' }`; roles without a token are absent. */
export function listSpecialTokens(tokenizerConfig: Record<string, unknown>): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const role of SPECIAL_ROLES) {
    const value = tokenizerConfig[role];
    const content = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
    if (typeof content === 'string') tokens[role] = content;
  }
  return tokens;
}

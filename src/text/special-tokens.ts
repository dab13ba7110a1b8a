// The names of a model's special tokens, from tokenizer_config.json, where a token is a string or an object with `content`.
// Ids are looked up in tokenizer.ts; the chat template gets the strings as variables.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError } from '../errors/errors.ts';
import { readJson } from '../formats/read-json.ts';

/** Chat templates included, published files stay under 1 MB. */
const MOST_CONFIG_BYTES = 2 ** 25;

/** tokenizer_config.json of a model folder, `{}` where absent. @throws {FormatError} not a JSON object; {FileError}. */
export function readTokenizerConfig(modelFolder: string): Record<string, unknown> {
  const path = join(modelFolder, 'tokenizer_config.json');
  if (!existsSync(path)) return {};
  const config = readJson(path, MOST_CONFIG_BYTES);
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new FormatError(`Expected ${path} to hold a JSON object, got \`${JSON.stringify(config).slice(0, 60)}\`.`);
  }
  return config as Record<string, unknown>;
}

/** Special tokens by role, for example `{ bos_token: '<s>', eos_token: '</s>' }`; roles without a token are absent. */
export function listSpecialTokens(tokenizerConfig: Record<string, unknown>): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const role of ['bos_token', 'eos_token', 'unk_token', 'pad_token']) {
    const value = tokenizerConfig[role];
    const content = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
    if (typeof content === 'string') tokens[role] = content;
  }
  return tokens;
}

// Where a model folder keeps its chat template, in transformers' order: chat_template.jinja, additional_chat_templates/default.jinja,
// `chat_template` of tokenizer_config.json (a text, or a list of named ones of which `default` counts), and chat_template.json, which
// multimodal models of a few releases have.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { jsonText } from '../core/json-text.ts';
import { FormatError } from '../errors/errors.ts';
import { describeForeignText } from '../formats/foreign-text.ts';
import { readJson, readTextWithin } from '../formats/read-json.ts';

const TEMPLATE_FILE = 'chat_template.jinja';
const NAMED_FOLDER = 'additional_chat_templates';
const JSON_FILE = 'chat_template.json';
/** Published templates stay under 50 KB. */
const MAX_TEMPLATE_BYTES = 2 ** 22;

export interface FoundTemplate {
  readonly text: string;
  /** the file, for errors */
  readonly place: string;
}

/** The chat template of a model folder, null where it has none.
 * @param config its tokenizer_config.json.  @throws {FileError}; {FormatError} a file holds something else. */
export function findTemplate(modelFolder: string, config: Record<string, unknown>): FoundTemplate | null {
  for (const file of [TEMPLATE_FILE, join(NAMED_FOLDER, 'default.jinja')]) {
    const place = join(modelFolder, file);
    if (existsSync(place)) return { text: readTemplate(place), place };
  }
  const own = pickTemplate(config.chat_template);
  if (own !== null) return { text: own, place: join(modelFolder, 'tokenizer_config.json') };
  const fields = readJsonFile(modelFolder);
  const text = pickTemplate(fields?.chat_template);
  return text === null ? null : { text, place: join(modelFolder, JSON_FILE) };
}

/** As findTemplate. @throws {FormatError} also where there is none: names what is there instead. */
export function requireTemplate(modelFolder: string, config: Record<string, unknown>): FoundTemplate {
  const found = findTemplate(modelFolder, config);
  if (found !== null) return found;
  const names = listNames(modelFolder, config);
  const others = names.length === 0 ? 'none' : `only ${names.map((name) => `\`${name}\``).join(', ')}`;
  const cure =
    names.length === 0
      ? 'give the prompt without chat, or use an instruct model'
      : `copy the one to be used to ${TEMPLATE_FILE}`;
  throw new FormatError(
    `Expected a chat template in ${modelFolder} (${TEMPLATE_FILE}, ${JSON_FILE}, or \`chat_template\` of tokenizer_config.json, one of a list by the name \`default\`), found ${others}; ${cure}.`,
  );
}

/** A pointer or a page would render as it is. */
function readTemplate(path: string): string {
  const text = readTextWithin(path, MAX_TEMPLATE_BYTES);
  const foreign = describeForeignText(text);
  if (foreign === null) return text;
  throw new FormatError(`Expected ${path} to hold a chat template, got ${foreign.found}; ${foreign.cure}.`);
}

function readJsonFile(modelFolder: string): Record<string, unknown> | null {
  const path = join(modelFolder, JSON_FILE);
  if (!existsSync(path)) return null;
  const value = readJson(path, MAX_TEMPLATE_BYTES);
  if (typeof value !== 'object' || value === null || pickTemplate((value as FoundFields).chat_template) === null) {
    throw new FormatError(
      `Expected ${path} to hold an object with a \`chat_template\`, got \`${jsonText(value)?.slice(0, 60)}\`.`,
    );
  }
  return value as FoundFields;
}

type FoundFields = Record<string, unknown> & { chat_template?: unknown };

function pickTemplate(value: unknown): string | null {
  if (typeof value === 'string') return value;
  const template = listNamed(value).find((entry) => entry?.name === 'default')?.template;
  return typeof template === 'string' ? template : null;
}

function listNamed(value: unknown): ({ name?: unknown; template?: unknown } | null)[] {
  return Array.isArray(value) ? value : [];
}

/** Templates under other names than `default`. */
function listNames(modelFolder: string, config: Record<string, unknown>): string[] {
  const named = listNamed(config.chat_template).map((entry) => entry?.name);
  const folder = join(modelFolder, NAMED_FOLDER);
  const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.jinja')) : [];
  return [...named.filter((name) => typeof name === 'string'), ...files.sort()];
}

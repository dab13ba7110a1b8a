// Chat messages as the one text the model was trained on, by the Jinja template of its folder:
// chat_template.jinja, else `chat_template` of tokenizer_config.json (a text, or a list of named ones of which `default` counts).
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError } from '../errors/errors.ts';
import { readTextWithin } from '../formats/read-json.ts';
import { renderTemplate } from './render-template.ts';
import { listSpecialTokens, readTokenizerConfig } from './special-tokens.ts';
import type { Tokenizer } from './tokenizer.ts';

/** One message of a conversation. */
export interface ChatMessage {
  /** mostly system, user or assistant; the template decides */
  readonly role: string;
  readonly content: string;
}

export interface ChatOptions {
  /** end with the opening of the assistant's answer, default true */
  readonly addGenerationPrompt?: boolean;
}

const TEMPLATE_FILE = 'chat_template.jinja';
/** Published templates stay under 50 KB. */
const MOST_TEMPLATE_BYTES = 2 ** 22;

/** Render messages by the template of a model folder. Special tokens, BOS included, stand in the text as the template writes them.
 * Deterministic, except that a template may print today's date.
 * @throws {FormatError} the folder has no template, or the template is malformed, refuses these messages or takes too
 * long or too much memory for them; {FileError} reading failed; {AbortedError}. */
export function renderChat(modelFolder: string, messages: readonly ChatMessage[], options?: ChatOptions): string {
  const config = readTokenizerConfig(modelFolder);
  const { text, place } = findTemplate(modelFolder, config);
  const rendering = renderTemplate(text, {
    ...listSpecialTokens(config),
    messages,
    add_generation_prompt: options?.addGenerationPrompt ?? true,
  });
  if ('text' in rendering) return rendering.text;
  throw new FormatError(
    `Expected the chat template in ${place} to render ${messages.length} messages, but: ${rendering.failure}.`,
  );
}

/** Token ids of `renderChat`: nothing is added, because the template writes BOS itself where the model wants one. Errors as there. */
export function encodeChat(
  tokenizer: Tokenizer,
  chat: { modelFolder: string; messages: readonly ChatMessage[]; options?: ChatOptions },
): number[] {
  return tokenizer.encode(renderChat(chat.modelFolder, chat.messages, chat.options), { addSpecialTokens: false });
}

/** True where a model folder has a chat template. @throws {FileError}; {FormatError} tokenizer_config.json is malformed. */
export function hasChatTemplate(modelFolder: string): boolean {
  return (
    existsSync(join(modelFolder, TEMPLATE_FILE)) ||
    pickTemplate(readTokenizerConfig(modelFolder).chat_template) !== null
  );
}

function findTemplate(modelFolder: string, config: Record<string, unknown>): { text: string; place: string } {
  const path = join(modelFolder, TEMPLATE_FILE);
  if (existsSync(path)) return { text: readTextWithin(path, MOST_TEMPLATE_BYTES), place: path };
  const place = join(modelFolder, 'tokenizer_config.json');
  const text = pickTemplate(config.chat_template);
  if (text !== null) return { text, place };
  throw new FormatError(
    `Expected a chat template in ${modelFolder} (${TEMPLATE_FILE}, or \`chat_template\` of tokenizer_config.json), found none; give the prompt without chat, or use an instruct model.`,
  );
}

function pickTemplate(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return null;
  const named = value as ({ name?: unknown; template?: unknown } | null)[];
  const template = named.find((entry) => entry?.name === 'default')?.template;
  return typeof template === 'string' ? template : null;
}

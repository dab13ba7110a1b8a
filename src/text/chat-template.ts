// Chat messages as the one text the model was trained on, by the Jinja template of its folder (find-template.ts).
import { FormatError } from '../errors/errors.ts';
import { findTemplate, requireTemplate } from './find-template.ts';
import { renderTemplate } from './render-template.ts';
import { listSpecialTokens, readTokenizerConfig, SPECIAL_ROLES } from './special-tokens.ts';
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

/** Render messages by the template of a model folder. Special tokens, BOS included, are in the text as the template writes them.
 * Deterministic, except that a template may print today's date.
 * @throws {FormatError} the folder has no template, or the template is malformed, refuses these messages or takes too
 * long or too much memory for them; {FileError} reading failed; {AbortedError}. */
export function renderChat(modelFolder: string, messages: readonly ChatMessage[], options?: ChatOptions): string {
  const config = readTokenizerConfig(modelFolder);
  const { text, place } = requireTemplate(modelFolder, config);
  const specials = listSpecialTokens(config);
  const rendering = renderTemplate(text, {
    ...specials,
    messages: takesParts(text) ? messages.map(splitParts) : messages,
    add_generation_prompt: options?.addGenerationPrompt ?? true,
  });
  if ('text' in rendering) return rendering.text;
  throw new FormatError(
    `Expected the chat template in ${place} to render ${messages.length} message${messages.length === 1 ? '' : 's'}, but: ${rendering.failure}${nameMissingTokens(text, specials)}.`,
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
  return findTemplate(modelFolder, readTokenizerConfig(modelFolder)) !== null;
}

/** Templates of multimodal models (LLaVA) go over the parts of a message, text and images; those that take a text as well say so by `is string`. */
function takesParts(template: string): boolean {
  const goesOverParts = /\bfor\s+\w+\s+in\s+\w+(?:\.content|\[(['"])content\1\])/.test(template);
  return goesOverParts && !/\bis\s+(?:not\s+)?string\b/.test(template);
}

function splitParts({ role, content }: ChatMessage): { role: string; content: readonly object[] } {
  return { role, content: [{ type: 'text', text: content }] };
}

/** Special tokens that a template uses and the folder does not define, with what to do, for the end of an error; '' without any. */
function nameMissingTokens(template: string, specials: Record<string, string>): string {
  const names = SPECIAL_ROLES.filter((role) => !(role in specials) && new RegExp(`\\b${role}\\b`).test(template));
  if (names.length === 0) return '';
  const list = names.map((name) => `\`${name}\``).join(', ');
  return `; the template uses ${list}, which tokenizer_config.json does not define: add ${names.length === 1 ? 'it' : 'them'} there`;
}

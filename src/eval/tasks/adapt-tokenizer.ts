// A model folder's tokenizer as the tasks use it: whole prompts with BOS where the tokenizer puts one, answers without special tokens.
import type { Tokenizer } from '../../text/tokenizer.ts';
import type { TaskTokenizer } from './task.ts';

/** Prompts begin with exactly one BOS where the tokenizer puts one, also where the text has it written, and never end with an
 * end-of-text token. */
export function adaptTokenizer(tokenizer: Tokenizer): TaskTokenizer {
  const decode = (tokens: readonly number[]): string => tokenizer.decode(tokens, { skipSpecialTokens: true });
  return {
    encode: (text) => tokenizer.encode(text, { addSpecialTokens: true }),
    decode,
    encodeTemplated: (text) => tokenizer.encode(text),
    beginsWithSpecial(text) {
      const first = tokenizer.encode(text.slice(0, LONGEST_SPECIAL_TEXT))[0];
      if (first === undefined) return false;
      return decode([first]) === '' && tokenizer.decode([first]) !== '';
    },
  };
}

/** Characters in which a special token at the start of a text ends. */
const LONGEST_SPECIAL_TEXT = 100;

// A model folder's tokenizer as the tasks use it: whole prompts with BOS where the model has one, answers without special tokens.
import type { Tokenizer } from '../../text/tokenizer.ts';
import type { TaskTokenizer } from './task.ts';

/** Prompts begin with BOS where the tokenizer names one, and never end with an end-of-text token. */
export function adaptTokenizer(tokenizer: Tokenizer): TaskTokenizer {
  const { bosTokenId, eosTokenIds } = tokenizer;
  return {
    encode(text) {
      const tokens = tokenizer.encode(text, { addSpecialTokens: true });
      if (tokens.length > 0 && eosTokenIds.includes(tokens[tokens.length - 1] as number)) tokens.pop();
      if (bosTokenId !== null && tokens[0] !== bosTokenId) tokens.unshift(bosTokenId);
      return tokens;
    },
    decode: (tokens) => tokenizer.decode(tokens, { skipSpecialTokens: true }),
  };
}

// Tasks in chat form: the prompt up to `Answer:` is the user's message, what follows begins the model's answer, as RULER does with its
// answer prefix. Tasks write plain text and tokenise it as they always do; the template goes round it where tokens are made.
import type { TaskTokenizer } from './task.ts';

/** Every task's plain wording has it before its answer begins; of several the last counts, for some tasks show an example first. */
const ANSWER_START = '\nAnswer:';

/** A tokenizer whose `encode` puts texts that hold `Answer:` into the model's chat template; other texts, such as answers alone, stay
 * as they are.
 * @param renderChat the template round a user's message, up to where the answer begins. */
export function wrapInChat(tokenizer: TaskTokenizer, renderChat: (message: string) => string): TaskTokenizer {
  return {
    ...tokenizer,
    encode(text) {
      const cut = text.lastIndexOf(ANSWER_START);
      if (cut < 0) return tokenizer.encode(text);
      return tokenizer.encodeTemplated(
        renderChat(text.slice(0, cut)) + text.slice(cut + ANSWER_START.length).trimStart(),
      );
    },
  };
}

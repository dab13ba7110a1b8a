// Turns tokens that arrive one by one into text, without ever showing half a character.
// Each new token is decoded together with a few before it, because decoders strip the space of a first token and join bytes across tokens.
import type { Tokenizer } from './tokenizer.ts';

/** A cut or invalid UTF-8 sequence at the end of a decoded text. */
const CUT_END = /\ufffd+$/;
/** Tokens of context before the first new one; enough for any decoder, which looks at neighbours only. */
const CONTEXT_TOKENS = 8;
/** A character takes at most four tokens of a byte each; a longer unfinished run is not text, and is shown as U+FFFD. */
const MAX_WINDOW_TOKENS = 64;

/** Incremental decoder of one running text. Joined results of `push` and `finish` are the decoded text, special tokens left out. */
export class TextStream {
  private readonly tokenizer: Tokenizer;
  /** context already shown, then the newest tokens */
  private window: number[];
  /** characters of the window's text already shown */
  private shown: number;

  /** @param options.context tokens before the first, for example the prompt: a first word then keeps its leading space. */
  constructor(tokenizer: Tokenizer, options?: { context?: ArrayLike<number> }) {
    this.tokenizer = tokenizer;
    this.window = Array.from(options?.context ?? []).slice(-CONTEXT_TOKENS);
    this.shown = this.decodeWindow().replace(CUT_END, '').length;
  }

  /** Add one token. @returns the text it completes, often a word; '' inside a character and for special tokens. */
  push(token: number): string {
    this.window.push(token);
    const text = this.decodeWindow();
    const isOverlong = this.window.length > MAX_WINDOW_TOKENS;
    const whole = isOverlong ? text : text.replace(CUT_END, '');
    const fresh = whole.slice(this.shown);
    this.shown = Math.max(this.shown, whole.length);
    // Special tokens have no text: a window of them alone would make the next word a first word.
    if (isOverlong || (fresh !== '' && whole.length === text.length)) this.shortenWindow();
    return fresh;
  }

  /** The rest: a character that was never completed, as U+FFFD. */
  finish(): string {
    const rest = this.decodeWindow().slice(this.shown);
    this.shown += rest.length;
    return rest;
  }

  private shortenWindow(): void {
    this.window = this.window.slice(-CONTEXT_TOKENS);
    this.shown = this.decodeWindow().length;
  }

  private decodeWindow(): string {
    return this.tokenizer.decode(this.window, { skipSpecialTokens: true });
  }
}

// Stop strings in streamed text: they may span tokens, so what could be the beginning of one is held back until it is decided.

/** Passes text through until a stop string appears. The stop string itself is not shown. */
export class StopText {
  readonly #stops: readonly string[];
  #held = '';
  #found: string | null = null;

  /** @param stops strings of at least one character. */
  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** The stop string that was found, null before. */
  get found(): string | null {
    return this.#found;
  }

  /** Add text. @returns what is now certain to be shown; '' once a stop string was found. */
  push(text: string): string {
    if (this.#found !== null) return '';
    this.#held += text;
    let at = Number.POSITIVE_INFINITY;
    for (const stop of this.#stops) {
      const index = this.#held.indexOf(stop);
      if (index < 0 || index >= at) continue;
      at = index;
      this.#found = stop;
    }
    const end = this.#found === null ? this.#held.length - this.#countHeld() : at;
    const shown = this.#held.slice(0, end);
    this.#held = this.#found === null ? this.#held.slice(end) : '';
    return shown;
  }

  /** What was held back and is no stop string after all. */
  finish(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }

  /** Length of the longest end of the held text that begins a stop string. */
  #countHeld(): number {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, this.#held.length); length > 0; length--) {
      const tail = this.#held.slice(-length);
      if (this.#stops.some((stop) => stop.startsWith(tail))) return length;
    }
    return 0;
  }
}

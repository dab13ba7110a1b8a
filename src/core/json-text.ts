// JSON text of a value that a message shows, however it was made.

/** JSON of `value`; of one that nests deeper than the call stack, its beginning. undefined where JSON has none. */
export function jsonText(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return Array.isArray(value) ? '[…' : '{…';
  }
}

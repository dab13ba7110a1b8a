// The commands that a report names for what it leaves out: as they can be pasted into a shell in any folder.

/** A word as a POSIX shell takes it. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A command line of quoted words. */
export function formatCommand(words: readonly string[]): string {
  return words.map(quote).join(' ');
}

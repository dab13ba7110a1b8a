// What a file contains instead of what was asked for when a download went wrong: a Git LFS pointer, a web page, a notice of the server.
// Readers ask here after they have failed, so that their message names the cure.

export interface ForeignText {
  /** words that follow "got" */
  readonly found: string;
  /** what to do, without full stop */
  readonly cure: string;
}

const KINDS: readonly { readonly begins: RegExp; readonly found?: string; readonly cure: string }[] = [
  {
    begins: /^version https:\/\/git-lfs\.github\.com\/spec\//,
    found: 'a Git LFS pointer instead of the file',
    cure: 'run `git lfs pull` in its folder, or download the file itself',
  },
  {
    begins: /^\s*<(?:!doctype html|html|head|\?xml)/i,
    found: 'a web page',
    cure: 'download the file itself instead of a page about it (on the Hub: /resolve/ in its address, not /blob/), logged in where the model asks for it',
  },
  {
    begins:
      /^(?:Access to \S.*restricted|Cannot access gated|Invalid username or password|Invalid credentials|Unauthorized|You need to (?:agree|log))/i,
    cure: 'accept the terms on the page of the model, log in (`hf auth login`) and download the file again',
  },
  {
    begins: /^(?:Entry not found|Repository not found|Not found|404\b)/i,
    cure: 'check the name of the model and download the file again',
  },
];
const MAX_SHOWN = 60;

/** What a text really is that was read as a file of a model; null where it looks like none of the known cases.
 * @param text the file's text or its beginning. */
export function describeForeignText(text: string): ForeignText | null {
  const kind = KINDS.find(({ begins }) => begins.test(text));
  if (kind === undefined) return null;
  const line = text.trim().split('\n')[0]!.trim();
  const shown = line.length > MAX_SHOWN ? `${line.slice(0, MAX_SHOWN - 1).trimEnd()}…` : line;
  return { found: kind.found ?? `the notice \`${shown}\``, cure: kind.cure };
}

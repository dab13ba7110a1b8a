// The documents name only what exists: paths in CONTRIBUTING.md, README.md and docs/, links and their anchors, and the rules that sources cite.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = new URL('..', import.meta.url).pathname;
const DOCUMENTS = [
  'CONTRIBUTING.md',
  'README.md',
  ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'));
/** Folders at the root: a path of the repository begins with one. */
const ROOTS = readdirSync(ROOT, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !['node_modules', 'dist', 'runs', 'release', '.git'].includes(entry.name))
  .map((entry) => entry.name);
/** Made by commands, or where a user's own files go. */
const MADE = /^(kernels\/build|models\/Llama|runs\/|test\/a\/b|release\/)/;

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Paths in backticks, with `<name>` and `*` as any name and without a line number or what follows a space. */
function listPaths(text: string): string[] {
  return [...text.matchAll(/`([^`\s]+)`/g)]
    .map((match) => (match[1] as string).replace(/:\d.*$/, '').replace(/\/$/, ''))
    .filter((path) => ROOTS.includes(path.split('/')[0] as string) && path.includes('/') && !MADE.test(path));
}

/** Every file of the repository's folders, but what builds made. */
const FILES = ROOTS.flatMap((root) =>
  readdirSync(join(ROOT, root), { recursive: true, encoding: 'utf8' }).map((name) => `${root}/${name}`),
).filter((path) => !MADE.test(path));

function exists(path: string): boolean {
  if (!/[<*…]/.test(path)) return existsSync(join(ROOT, path));
  const pattern = path.replace(/[.+^${}()|[\]\\]/g, '\\$&').replace(/<[^>]*>|\*|…/g, '[^/]*');
  return FILES.some((file) => new RegExp(`^${pattern}$`).test(file));
}

/** Anchors as GitHub makes them. */
function listAnchors(path: string): string[] {
  return [...read(path).matchAll(/^#+ (.*)$/gm)].map((match) =>
    (match[1] as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

describe.each(DOCUMENTS)('%s', (document) => {
  it('names only paths that exist', () => {
    expect(listPaths(read(document)).filter((path) => !exists(path))).toEqual([]);
  });

  it('links only to files and headings that exist', () => {
    const links = [...read(document).matchAll(/\]\(([^)\s]+)\)/g)]
      .map((match) => match[1] as string)
      .filter((link) => !/^[a-z]+:/.test(link));
    const broken = links.filter((link) => {
      const [path, anchor] = link.split('#') as [string, string | undefined];
      const target = path === '' ? document : join(dirname(document), path);
      if (!existsSync(join(ROOT, target))) return true;
      return anchor !== undefined && !listAnchors(target).includes(anchor);
    });
    expect(broken).toEqual([]);
  });
});

it('finds a path that does not exist', () => {
  const text =
    'see `src/core/words.ts`, `src/nowhere.ts`, `src/eval/tasks/<name>.ts`, `train/none/*.ts` and `not/ours.ts`';
  expect(listPaths(text)).toHaveLength(4);
  expect(listPaths(text).filter((path) => !exists(path))).toEqual(['src/nowhere.ts', 'train/none/*.ts']);
});

it('has every rule that sources cite, and no source cites another document', () => {
  const rules = [...read('docs/semantics.md').matchAll(/^## (\d+)\. /gm)].map((match) => Number(match[1]));
  expect(rules).toEqual(Array.from({ length: rules.length }, (_, index) => index + 1));
  const sources = FILES.filter((path) =>
    /^((src|data-gen|train|export|identify|bench|scripts)\/.*\.(ts|mjs)|kernels\/(core|cpu|cuda|include|tests)\/.*\.(h|cpp|cu))$/.test(
      path,
    ),
  );
  const cited = sources.flatMap((source) =>
    [...read(source).matchAll(/docs\/semantics\.md, ((?:\d+(?:, | and | to )?)+)/g)].flatMap((match) =>
      [...(match[1] as string).matchAll(/\d+/g)].map(([rule]) => ({ source, rule: Number(rule) })),
    ),
  );
  expect(cited.length).toBeGreaterThan(20);
  expect(cited.filter(({ rule }) => !rules.includes(rule))).toEqual([]);
  expect(sources.filter((source) => /\bDESIGN\b/.test(read(source)))).toEqual([]);
});

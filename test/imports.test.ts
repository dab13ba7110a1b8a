// Imports go one way between rooms (CONTRIBUTING, Rooms); rooms of the same rank never import each other, they meet in files.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = new URL('..', import.meta.url).pathname;
/** Lower rank = nearer to the ground; a room imports only rooms of a lower rank. The longest prefix names a file's room. */
const RANKS: Record<string, number> = {
  'src/errors': 0,
  'src/core': 1,
  'src/formats': 2,
  'src/hub': 2.5,
  'src/config': 3,
  'src/model': 3,
  'src/text': 3,
  'src/native': 3,
  'src/engine': 4,
  'src/runtime': 5,
  'data-gen': 6,
  train: 6,
  export: 6,
  'src/eval': 6,
  'src/report': 6,
  identify: 6.5,
  'src/cli': 7,
  'src/index.ts': 8,
};
/** Inside one rank only these may be imported by others of the rank: the engines stand on model, text, native and config. */
const SAME_RANK_ALLOWED = new Set<string>();

function roomOf(path: string): string {
  const room = Object.keys(RANKS)
    .filter((prefix) => path === prefix || path.startsWith(`${prefix}/`))
    .sort((a, b) => b.length - a.length)[0];
  if (!room) throw new Error(`${path} is in no room; add its room to CONTRIBUTING.md and to this test`);
  return room;
}

function listSources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}

const sources = ['src', 'data-gen', 'train', 'export', 'identify'].flatMap(listSources);

function listImports(source: string): string[] {
  const text = readFileSync(join(ROOT, source), 'utf8');
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] as string);
  return specifiers
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => normalize(join(dirname(source), specifier)));
}

describe('imports', () => {
  it('finds sources in every room that has a rank', () => {
    const seen = new Set(sources.map(roomOf));
    expect(sources.length).toBeGreaterThan(20);
    for (const room of ['src/core', 'src/engine', 'data-gen', 'train', 'export', 'src/cli'])
      expect(seen).toContain(room);
  });

  it.each(sources)('%s imports only lower rooms', (source) => {
    const from = roomOf(source);
    const wrong = listImports(source).filter((target) => {
      if (target.startsWith('test/')) return true;
      const to = roomOf(relative('.', target));
      if (to === from) return false;
      const isLower = (RANKS[to] as number) < (RANKS[from] as number);
      return !isLower && !SAME_RANK_ALLOWED.has(`${from} → ${to}`);
    });
    expect(wrong).toEqual([]);
  });
});

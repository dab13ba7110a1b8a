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
  'src/bench': 5.5,
  'data-gen': 6,
  train: 6,
  export: 6,
  'src/eval': 6,
  'src/report': 6,
  identify: 6.5,
  'src/cli': 7,
  'src/index.ts': 8,
  'src/mask.ts': 8,
  'src/samples.ts': 8,
};

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
      return (RANKS[to] as number) >= (RANKS[from] as number);
    });
    expect(wrong).toEqual([]);
  });

  it('never go in a circle, types included', () => {
    const files = [...sources, ...listSources('bench')];
    const importsOf = new Map(files.map((source) => [source, listImports(source)]));
    expect(findCircle(importsOf)).toBeNull();
    const graph = { a: ['b'], b: ['c', 'd'], c: ['b'], d: [] };
    expect(findCircle(new Map(Object.entries(graph)))).toBe('b → c → b');
  });
});

/** The first circle of a graph as text, null where there is none. */
function findCircle(importsOf: ReadonlyMap<string, readonly string[]>): string | null {
  const done = new Set<string>();
  const walk = (path: readonly string[]): string | null => {
    const file = path.at(-1) as string;
    for (const next of importsOf.get(file) ?? []) {
      const start = path.indexOf(next);
      if (start >= 0) return [...path.slice(start), next].join(' → ');
      const circle = done.has(next) ? null : walk([...path, next]);
      if (circle) return circle;
    }
    done.add(file);
    return null;
  };
  for (const file of importsOf.keys()) {
    const circle = done.has(file) ? null : walk([file]);
    if (circle) return circle;
  }
  return null;
}

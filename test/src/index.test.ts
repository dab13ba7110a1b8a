// Each public entry exports every type that the declaration of something it exports names, so that a program can write each of them down.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from './cli/run-duo.ts';

const ENTRIES = ['index', 'mask', 'samples'] as const;

interface Module {
  /** declarations by name, without comments */
  readonly declared: ReadonlyMap<string, string>;
  /** names taken from modules of this package */
  readonly imported: ReadonlySet<string>;
}

/** Names of a list in braces: `type A, B as C` gives A and C. */
function listNames(list: string): string[] {
  const names = list.split(',').map((name) => name.trim());
  return names.filter((name) => name !== '').map((name) => name.replace(/^type /, '').replace(/^.* as /, ''));
}

function readModule(path: string): Module {
  const text = readFileSync(path, 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '');
  const declared = new Map<string, string>();
  // Every declaration begins at the start of a line; what belongs to it is indented or closes it.
  for (const part of text.split(/\n(?=(?:export |declare |interface |type |import ))/)) {
    const [, name] =
      /^(?:export )?(?:declare )?(?:abstract )?(?:function|class|const|interface|type|let) (\w+)/.exec(part) ?? [];
    if (name !== undefined) declared.set(name, `${declared.get(name) ?? ''}\n${part}`);
  }
  const imports = [...text.matchAll(/^import (?:type )?\{([^}]*)\} from '\.[^']*'/gm)];
  return { declared, imported: new Set(imports.flatMap(([, list]) => listNames(list as string))) };
}

interface Export {
  readonly names: readonly string[];
  readonly path: string;
}

function listExports(entry: string): Export[] {
  const path = join(ROOT, `dist/src/${entry}.d.ts`);
  return [...readFileSync(path, 'utf8').matchAll(/export (?:type )?\{([^}]*)\} from '([^']+)'/g)].map(
    ([, list, from]) => ({
      names: listNames(list as string),
      path: join(dirname(path), (from as string).replace(/\.(js|ts)$/, '.d.ts')),
    }),
  );
}

const namesOf = (exportsOf: readonly Export[]): Set<string> => new Set(exportsOf.flatMap(({ names }) => names));
const main = namesOf(listExports('index'));

it('are read by this test', () => {
  expect(main.size).toBeGreaterThan(60);
  expect(main).toContain('identify');
  expect(namesOf(listExports('mask'))).toContain('readMask');
  expect(namesOf(listExports('samples'))).toContain('writeSamples');
});

describe.each(ENTRIES)('the entry %s', (entry) => {
  const exportsOf = listExports(entry);
  const exported = namesOf(exportsOf);

  it('has nothing that the main entry lacks', () => {
    expect([...exported].filter((name) => !main.has(name))).toEqual([]);
  });

  it.each(exportsOf)('exports every type that $names name', ({ names, path }) => {
    const { declared, imported } = readModule(path);
    const missing = names.flatMap((name) => {
      const text = declared.get(name);
      if (text === undefined) return [`${name}: no declaration in ${path}`];
      const words = new Set(text.replace(/#private;?/g, '').match(/\b[A-Z]\w*[a-z]\w*\b/g) ?? []);
      const own = [...words].filter((word) => imported.has(word) || declared.has(word));
      return own.filter((word) => !exported.has(word)).map((word) => `${name} names ${word}`);
    });
    expect(missing).toEqual([]);
  });
});

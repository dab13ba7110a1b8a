// The public entry exports every type that the declaration of something it exports names, so that a program can write each of them down.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from './cli/run-duo.ts';

const ENTRY = join(ROOT, 'dist/src/index.d.ts');

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

const exportsOf = [...readFileSync(ENTRY, 'utf8').matchAll(/export (?:type )?\{([^}]*)\} from '([^']+)'/g)].map(
  ([, list, from]) => ({
    names: listNames(list as string),
    path: join(dirname(ENTRY), (from as string).replace(/\.(js|ts)$/, '.d.ts')),
  }),
);
const exported = new Set(exportsOf.flatMap(({ names }) => names));

describe('the public entry', () => {
  it('is read by this test', () => {
    expect(exported.size).toBeGreaterThan(60);
    expect(exported).toContain('identify');
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

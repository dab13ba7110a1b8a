// Runs a script in a child process and lists the modules it loads, ES modules and CommonJS alike.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './run-duo.ts';

export interface Loaded {
  readonly code: number | null;
  readonly stdout: string;
  /** names of npm packages, sorted */
  readonly packages: readonly string[];
  /** files of this package without `dist/` and ending: `src/cli/main`, sorted */
  readonly own: readonly string[];
}

/** What `node <args>` loads, its supervised child's modules included. */
export function listLoadedModules(args: readonly string[]): Loaded {
  const folder = mkdtempSync(join(tmpdir(), 'duo-modules-'));
  const [list, hooks, recorder] = ['list', 'hooks.mjs', 'recorder.mjs'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(list, '');
  const append = (lines: string): string => `appendFileSync(${JSON.stringify(list)}, ${lines});`;
  writeFileSync(
    hooks,
    `import { appendFileSync } from 'node:fs';
     export async function load(url, context, next) { ${append("url + '\\n'")} return next(url, context); }`,
  );
  writeFileSync(
    recorder,
    `import { createRequire, register } from 'node:module';
     import { appendFileSync } from 'node:fs';
     register(${JSON.stringify(`file://${hooks}`)});
     const { cache } = createRequire(import.meta.url);
     process.on('exit', () => { ${append("Object.keys(cache).join('\\n') + '\\n'")} });`,
  );
  const { status, stdout } = spawnSync(process.execPath, ['--import', `file://${recorder}`, ...args], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const lines = readFileSync(list, 'utf8').split('\n');
  const pick = (pattern: RegExp): string[] =>
    [...new Set(lines.flatMap((line) => pattern.exec(line)?.[1] ?? []))].sort();
  return {
    code: status,
    stdout,
    packages: pick(/.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//),
    own: pick(/\/dist\/((?:src|data-gen|train|export|identify)\/.+)\.js$/),
  };
}

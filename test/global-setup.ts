// Compiles dist/ before the tests where it is older than the sources, because the command-line tests run what a user runs: bin/duo.js. A GPU
// machine has the compiled files, but no compiler.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SOURCES = ['src', 'data-gen', 'train', 'export', 'identify'];

export default function setup(): void {
  const entry = join(ROOT, 'dist/src/cli/main.js');
  if (existsSync(entry) && findNewestMs(SOURCES) < findNewestMs(['dist'])) return;
  const compiler = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'];
  if (!existsSync(join(ROOT, compiler[0] as string))) return;
  // A type error still leaves files to test; `npm run check` is what fails on it.
  const { status } = spawnSync(process.execPath, compiler, { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) console.warn('The sources have type errors; testing what was compiled.');
}

function findNewestMs(folders: readonly string[]): number {
  const files = folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(ROOT, folder, name)),
  );
  return Math.max(...files.map((file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0));
}

// A folder in which the packed package is installed as npm would install it: its tarball unpacked, its dependencies beside it.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { findLibrary } from '../../src/native/library.ts';
import { ROOT } from '../src/cli/run-duo.ts';

const COMPILER = join(ROOT, 'node_modules/typescript/bin/tsc');
/** What a stranger's project has: strict, and the declarations of libraries are checked too. */
const OPTIONS = {
  target: 'ES2022',
  module: 'NodeNext',
  moduleResolution: 'NodeNext',
  strict: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
  types: ['node'],
  outDir: 'out',
};

/** Pack the compiled package and install it into a new folder. */
export function installPacked(): string {
  const folder = mkdtempSync(join(tmpdir(), 'duo-packed-'));
  const modules = join(folder, 'node_modules');
  const target = join(modules, 'duo-heads');
  mkdirSync(target, { recursive: true });
  // dist/ is compiled before the tests; the install scripts would do it again.
  const pack = ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder];
  const tarball = execFileSync('npm', pack, { cwd: ROOT, encoding: 'utf8' }).trim();
  execFileSync('tar', ['-xzf', join(folder, tarball), '-C', target, '--strip-components=1']);
  const manifest = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8')) as { dependencies: object };
  for (const name of [...Object.keys(manifest.dependencies), '@types/node']) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module', private: true }));
  return folder;
}

/** Compile programs in the folder. @returns what the compiler says; empty where all is right. */
export function compile(folder: string, programs: Readonly<Record<string, string>>): string {
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(folder, name), text);
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: OPTIONS, files: Object.keys(programs) }),
  );
  const { stdout } = spawnSync(process.execPath, [COMPILER, '-p', folder], { cwd: folder, encoding: 'utf8' });
  // One complaint per line, with indented lines that explain it. The declarations of Node 20 contradict themselves; they are not ours.
  const complaints = stdout.split(/\n(?=\S)/).filter((text) => !text.includes('/@types/node/'));
  return complaints.join('\n').trim();
}

/** Run a compiled program of the folder. */
export function runProgram(
  folder: string,
  args: readonly string[],
): { code: number | null; stdout: string; stderr: string } {
  const { path } = findLibrary();
  // The package brings the library's sources; what `npm ci` built of them serves here.
  const env = { ...process.env, NO_COLOR: '1', ...(path === null ? {} : { DUO_NATIVE_LIBRARY: path }) };
  const [program, ...rest] = args;
  const values = [join('out', program as string), ...rest];
  const { status, stdout, stderr } = spawnSync(process.execPath, values, { cwd: folder, encoding: 'utf8', env });
  return { code: status, stdout, stderr };
}

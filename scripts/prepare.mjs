// Runs after `npm ci` in a clone: compiles TypeScript to dist/. A failure here fails the install, because nothing works without it.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const compiler = 'node_modules/typescript/bin/tsc';
if (existsSync(compiler)) {
  execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
}

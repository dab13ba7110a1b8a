#!/usr/bin/env node
// Starts the compiled command line under its supervisor. In a clone whose install scripts were blocked, `dist/` is compiled here on first use.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const entry = new URL('../dist/src/cli/main.js', import.meta.url);
const supervisor = new URL('../dist/src/cli/supervise.js', import.meta.url);
if (!existsSync(entry)) {
  try {
    execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  } catch {
    console.error('duo: Expected compiled files in dist/, found none, and compiling them failed; run `npm ci` first.');
    process.exit(1);
  }
}
const { canSupervise, supervise } = await import(supervisor.href);
const args = process.argv.slice(2);
if (canSupervise(args)) supervise(fileURLToPath(import.meta.url), args);
else await (await import(entry.href)).main(process.argv);

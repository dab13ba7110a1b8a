#!/usr/bin/env node
// Starts the compiled command line. In a clone whose install scripts were blocked, `dist/` is compiled here on first use.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const entry = new URL('../dist/src/cli/main.js', import.meta.url);
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
const { main } = await import(entry.href);
await main(process.argv);

// Lists the folders under node_modules that running duo and its GPU tests needs: its dependencies, vitest, and theirs, one per line. Used by
// scripts/pack-gpu.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = new URL('..', import.meta.url).pathname;
const found = new Set();

function add(name) {
  const folder = join('node_modules', name);
  if (found.has(folder) || !existsSync(join(ROOT, folder))) return;
  found.add(folder);
  const { dependencies = {}, optionalDependencies = {} } = readPackage(join(ROOT, folder));
  for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) add(next);
}

function readPackage(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
}

for (const name of [...Object.keys(readPackage(ROOT).dependencies), 'vitest']) add(name);
console.log([...found].sort().join('\n'));

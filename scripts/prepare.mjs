// Runs after `npm ci` in a clone: compiles TypeScript to dist/, which nothing works without, and builds the native library where
// a C++17 compiler and CMake are found. Without them the install still succeeds and the tensorflow engine serves.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const run = (...command) => execFileSync(process.execPath, command, { stdio: 'inherit' });
const compiler = 'node_modules/typescript/bin/tsc';
if (existsSync(compiler)) run(compiler, '-p', 'tsconfig.build.json');
run('scripts/build-native.mjs', '--optional');

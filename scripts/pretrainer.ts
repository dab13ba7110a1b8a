// Builds and calls the C++ pretrainer of kernels/pretrain with one g++ line; the only user is scripts/train-demo.ts and its tests.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SOURCES = fileURLToPath(new URL('../kernels/pretrain/', import.meta.url));

/** -march=native: the course of training belongs to one instruction set; -fopenmp-simd lets sums run in vector lanes. */
const FLAGS = ['-std=c++17', '-O3', '-march=native', '-fopenmp-simd', '-Wall', '-Wextra', '-pthread'];

/** The compiler to use, or null where there is none. */
export function findCompiler(): string | null {
  for (const name of [process.env.CXX ?? 'g++', 'c++', 'clang++']) {
    try {
      execFileSync(name, ['--version'], { stdio: 'ignore' });
      return name;
    } catch {}
  }
  return null;
}

/** Compile the pretrainer into `folder`; returns the program's path. @throws {Error} no compiler, or it failed. */
export function buildPretrainer(folder: string): string {
  const compiler = findCompiler();
  if (compiler === null) throw new Error('Expected a C++17 compiler for kernels/pretrain, found none; install g++.');
  mkdirSync(folder, { recursive: true });
  const program = resolve(folder, 'pretrain'); // the compiler runs in another folder
  const sources = readdirSync(SOURCES).filter((name) => name.endsWith('.cpp'));
  execFileSync(compiler, [...FLAGS, ...sources, '-o', program], { cwd: SOURCES, stdio: 'inherit' });
  if (!existsSync(program)) throw new Error(`Expected ${compiler} to write ${program}`);
  return program;
}

/** Run the pretrainer; `onLine` gets each line of its output parsed as JSON. @throws {Error} it failed. */
export async function runPretrainer(options: {
  program: string;
  command: 'train' | 'evaluate';
  flags: Readonly<Record<string, string | number>>;
  onLine: (line: Record<string, number>) => void;
}): Promise<void> {
  const { program, command, flags, onLine } = options;
  const child = spawn(
    program,
    [command, ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, `${value}`])],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const exit = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  for await (const line of createInterface({ input: child.stdout })) onLine(JSON.parse(line));
  const code = await exit;
  if (code !== 0) throw new Error(`The pretrainer's ${command} ended with exit code ${code}`);
}

// The programs of kernels/bench, built first where they are not there, in DUO_BUILD or else beside the native library; and runs of duo_bench.
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** @param target duo_bench or duo_kv_grids. @returns its path */
export function findProgram(target) {
  const library = process.env.DUO_NATIVE_LIBRARY;
  const build = process.env.DUO_BUILD ?? (library ? dirname(library) : join(ROOT, 'kernels/build'));
  const program = join(build, 'bench', target);
  if (!existsSync(program)) execFileSync('cmake', ['--build', build, '--target', target], { stdio: 'inherit' });
  return program;
}

let program;

/** Check an operation against its reference, then time it. @param sizes by name, as `duo_bench --list` says; dtype: f32, bf16, int8, fp8, int4, k8v4;
 * weights: bf16, int8, int4, scaled8, affine8.
 * @returns seconds of each run, and max|a−b|/max|b|. */
export async function benchOp(op, sizes, { device = 'cpu', threads = 0, repeats = 10 } = {}) {
  program ??= findProgram('duo_bench');
  const named = Object.entries(sizes).map(([name, value]) => `${name}=${value}`);
  const { stdout } = await promisify(execFile)(program, [
    op,
    ...named,
    '--device',
    device,
    '--threads',
    String(threads),
    '--repeats',
    String(repeats),
  ]);
  return JSON.parse(stdout);
}

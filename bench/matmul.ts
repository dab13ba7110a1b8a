// Matrix products of the native library beside oneDNN's on one thread, in turn. Needs g++ and Debian's libdnnl-dev (bench only).
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bench } from './bench.ts';
import { benchOp } from './duo-bench.mjs';

/** Agreement of a product with its plain reference before it is timed. */
const LIMITS = { f32: 1e-5, bf16: 1e-5 } as const;

export const bench: Bench = {
  about: 'matrix products against oneDNN (apt-get install libdnnl-dev)',
  flags: {
    sizes: { default: '2048,2048,512', about: 'rows, columns, depth of y = x·wᵀ' },
    rounds: { default: '6', about: 'rounds, oneDNN and duo in turn' },
    repeats: { default: '10', about: 'runs per round; the best counts' },
  },
  async run(flags) {
    const sizes = (flags.sizes as string).split(',').map(Number);
    const [rows = 0, columns = 0, depth = 0] = sizes;
    const repeats = Number(flags.repeats);
    const peer = buildPeer();
    const operations = 2 * rows * columns * depth;
    const figures = [];
    const lines: string[] = [];
    for (const dtype of ['f32', 'bf16'] as const) {
      const best = { duo: Number.POSITIVE_INFINITY, onednn: Number.POSITIVE_INFINITY };
      let error = 0;
      for (let round = 0; round < Number(flags.rounds); round++) {
        best.onednn = Math.min(best.onednn, ...runPeer(peer, [dtype, ...sizes.map(String), String(repeats)]));
        const own = await benchOp(`matmul_${dtype}`, { rows, columns, depth }, { threads: 1, repeats });
        if (own.relativeError > LIMITS[dtype]) throw new Error(`matmul_${dtype}: error ${own.relativeError}`);
        error = Math.max(error, own.relativeError);
        best.duo = Math.min(best.duo, ...own.seconds);
      }
      const rate = { duo: operations / best.duo / 1e9, onednn: operations / best.onednn / 1e9 };
      figures.push({ dtype, sizes, best, rate, relativeError: error });
      lines.push(
        `${dtype} ${rows}×${depth}×${columns}, one thread: duo ${rate.duo.toFixed(1)} GFLOP/s, oneDNN ${rate.onednn.toFixed(1)}, ` +
          `${((100 * rate.duo) / rate.onednn).toFixed(1)} % (error ${error.toExponential(1)})`,
      );
    }
    lines.push('bf16: duo widens the weights and multiplies in fp32; oneDNN rounds both sides to bf16.');
    return { table: lines.join('\n'), figures };
  },
};

function buildPeer(): string {
  const source = fileURLToPath(new URL('onednn/matmul.cpp', import.meta.url));
  const program = join(mkdtempSync(join(tmpdir(), 'duo-bench-')), 'matmul');
  execFileSync('g++', ['-O2', '-std=c++17', source, '-ldnnl', '-o', program], { stdio: 'inherit' });
  return program;
}

function runPeer(program: string, values: string[]): number[] {
  const output = execFileSync(program, values, { encoding: 'utf8', env: { ...process.env, OMP_NUM_THREADS: '1' } });
  return output
    .split('\n')
    .filter((line) => /^[\d.]+$/.test(line))
    .map(Number);
}

// `duo identify --model demo` with the native engine beside the tensorflow engine on wasm: the same command, losses compared, then seconds.
// Runs dist/ as a user does; `npm run build` first.
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { median } from '../src/core/numbers.ts';
import { readMetrics } from '../src/formats/metrics.ts';
import type { Bench } from './bench.ts';

/** Losses of both engines, step by step, relative to the largest. */
const LIMIT = 1e-3;
const ENGINES = { native: ['--engine', 'native'], wasm: ['--engine', 'tensorflow', '--backend', 'wasm'] } as const;

export const bench: Bench = {
  about: 'identification of the demo model: native engine against tensorflow on wasm',
  flags: {
    model: { default: 'demo', about: 'model folder' },
    steps: { default: '12', about: 'steps of the paired runs' },
    rounds: { default: '2', about: 'paired runs; the best step counts' },
  },
  async run(flags) {
    const { model = 'demo', steps = '12' } = flags;
    const seconds = { native: [] as number[], wasm: [] as number[] };
    let disagreement = 0;
    for (let round = 0; round < Number(flags.rounds); round++) {
      const runs = {
        native: identify([...ENGINES.native, '--model', model, '--steps', steps]),
        wasm: identify([...ENGINES.wasm, '--model', model, '--steps', steps]),
      };
      const largest = Math.max(...runs.wasm.losses.map(Math.abs));
      const worst = Math.max(
        ...runs.wasm.losses.map((loss, step) => Math.abs(loss - (runs.native.losses[step] as number))),
      );
      disagreement = Math.max(disagreement, worst / largest);
      if (disagreement > LIMIT) throw new Error(`losses of the engines differ by ${disagreement}`);
      seconds.native.push(...runs.native.stepSeconds);
      seconds.wasm.push(...runs.wasm.stepSeconds);
    }
    const whole = identify([...ENGINES.native, '--model', model]);
    const best = { native: Math.min(...seconds.native), wasm: Math.min(...seconds.wasm) };
    const ratio = median(seconds.wasm) / median(seconds.native);
    const table = [
      `a step: native best ${(1000 * best.native).toFixed(1)} ms, median ${(1000 * median(seconds.native)).toFixed(1)} ms; wasm best ${(1000 * best.wasm).toFixed(1)} ms, median ${(1000 * median(seconds.wasm)).toFixed(1)} ms`,
      `native is ${(best.wasm / best.native).toFixed(1)}× as fast by the best step, ${ratio.toFixed(1)}× by the median; losses agree within ${disagreement.toExponential(1)}`,
      `the whole command with the model's preset (${whole.losses.length} steps), native: ${whole.wallSeconds.toFixed(1)} s`,
    ].join('\n');
    return {
      table,
      figures: {
        seconds,
        disagreement,
        best,
        ratio,
        whole: { steps: whole.losses.length, wallSeconds: whole.wallSeconds },
      },
    };
  },
};

function identify(values: string[]): { losses: number[]; stepSeconds: number[]; wallSeconds: number } {
  const out = mkdtempSync(join(tmpdir(), 'duo-identify-'));
  const program = fileURLToPath(new URL('../bin/duo.js', import.meta.url));
  const startMs = performance.now();
  const result = spawnSync(
    process.execPath,
    [program, 'identify', ...values, '--held-out-samples', '0', '--out', out, '--overwrite'],
    { encoding: 'utf8' },
  );
  const wallSeconds = (performance.now() - startMs) / 1000;
  if (result.status !== 0) throw new Error(`duo identify failed: ${result.stderr}`);
  const rows = readMetrics(join(out, 'metrics.jsonl'));
  return {
    losses: rows.map(({ distillation }) => distillation),
    stepSeconds: rows.map((row) => row.seconds),
    wallSeconds,
  };
}

// Prefill time against text length where attention is nearly all the work: streaming heads grow linearly, retrieval heads with the square.

import { checkSessions } from '../src/bench/session-checks.ts';
import { findShape } from '../src/bench/shapes.ts';
import { makeHeadMask } from '../src/core/head-mask.ts';
import { filledGrid } from '../src/core/shapes.ts';
import { openRandomNativeEngine } from '../src/engine/native/native-engine.ts';
import type { Bench } from './bench.ts';
import { drawLines } from './plot.ts';

export const bench: Bench = {
  about: 'prefill attention of streaming heads is linear in the text length (SVG plot)',
  flags: {
    lengths: { default: '2048,4096,8192,16384,24576,32768', about: 'text lengths' },
    'full-up-to': { default: '16384', about: 'longest text timed with every head full' },
    repeats: { default: '3', about: 'runs of each; the best counts' },
    threads: { default: '2', about: 'threads' },
  },
  async run(flags) {
    // One layer whose matrices are tiny beside its 32 heads of 64.
    const named = findShape('llama-3.2-1b', { layers: 1 });
    const config = { ...named, shape: { ...named.shape, hidden: 64, intermediate: 64, vocab: 256 } };
    const { layers, kvHeads } = config.shape;
    const threads = Number(flags.threads);
    const engine = await openRandomNativeEngine(config, { seed: 1, weightDtype: 'f32', threads });
    const streaming = makeHeadMask(filledGrid(layers, kvHeads, 0), { sinkTokens: 128, recentTokens: 256 });
    for (const { law, holds } of await checkSessions(engine, { mask: streaming, kvDtype: 'bf16' })) {
      if (!holds) throw new Error(law);
    }
    const points = { streaming: [] as [number, number][], full: [] as [number, number][] };
    const cpu = { streaming: [] as [number, number][], full: [] as [number, number][] };
    for (const length of (flags.lengths as string).split(',').map(Number)) {
      const tokens = Array.from({ length }, (_, index) => (index * 31) % 256);
      for (const [name, mask] of [['streaming', streaming] as const, ['full', 'full'] as const]) {
        if (name === 'full' && length > Number(flags['full-up-to'])) continue;
        let best = Number.POSITIVE_INFINITY;
        let bestCpu = Number.POSITIVE_INFINITY;
        for (let repeat = 0; repeat < Number(flags.repeats); repeat++) {
          const session = await engine.openSession(mask, { maxTokens: length, kvDtype: 'bf16' });
          const startMs = performance.now();
          const startCpu = process.cpuUsage();
          await session.prefill(tokens);
          best = Math.min(best, (performance.now() - startMs) / 1000);
          const { user, system } = process.cpuUsage(startCpu);
          bestCpu = Math.min(bestCpu, (user + system) / 1e6);
          await session.close();
        }
        points[name].push([length, best]);
        cpu[name].push([length, bestCpu]);
      }
    }
    await engine.close();
    const fits = { wall: fitLine(points.streaming), cpu: fitLine(cpu.streaming) };
    const draw = (times: typeof points, clock: string): string =>
      drawLines(
        [
          { label: '32 streaming heads', points: times.streaming, colour: '#0072b2' },
          { label: '32 full heads', points: times.full, colour: '#d55e00' },
        ],
        { title: `Prefill of one attention layer, ${clock} (H 32, G 8, D 64, S 128, R 256)`, x: 'tokens', y: 's' },
      );
    // CPU time shows the work even where the machine is shared.
    const files = {
      'prefill-linear.svg': draw(points, 'wall time'),
      'prefill-linear-cpu.svg': draw(cpu, 'CPU time of all threads'),
    };
    const rows = points.streaming.map(([length, seconds]) => {
      const full = points.full.find(([each]) => each === length)?.[1];
      const beside = full === undefined ? '' : `, full ${full.toFixed(3)} s`;
      return `${length} tokens: streaming ${seconds.toFixed(3)} s, ${((1e6 * seconds) / length).toFixed(1)} µs per token${beside}`;
    });
    for (const [clock, { slope, intercept, r2 }] of Object.entries(fits)) {
      rows.push(
        `line through the streaming ${clock} times: ${(1e6 * slope).toFixed(2)} µs per token, ${(1000 * intercept).toFixed(1)} ms at 0, r² ${r2.toFixed(5)}`,
      );
    }
    return { table: rows.join('\n'), figures: { points, cpu, fits }, files };
  },
};

function fitLine(points: readonly (readonly [number, number])[]): { slope: number; intercept: number; r2: number } {
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [mx, my] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))];
  const sxy = points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0);
  const sxx = points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
  const syy = points.reduce((sum, [, y]) => sum + (y - my) ** 2, 0);
  return { slope: sxy / sxx, intercept: my - (sxy / sxx) * mx, r2: sxy ** 2 / (sxx * syy) };
}

// Decode of a shape in bf16 beside the machine's read bandwidth, measured in the same run and in turn with the steps.

import { measureContext } from '../src/bench/session-bench.ts';
import { median } from '../src/core/numbers.ts';
import type { KvDtype } from '../src/core/session.ts';
import { measureDevice } from '../src/native/devices.ts';
import type { Bench } from './bench.ts';
import { countReadBytes, openSubject } from './sessions.ts';

export const bench: Bench = {
  about: 'decode steps of a shape against the read bandwidth of the machine',
  flags: {
    shape: { default: 'llama-3.2-1b', about: 'a named shape' },
    contexts: { default: '2048,8192', about: 'tokens before the steps (filled directly)' },
    rounds: { default: '3', about: 'rounds of steps, the bandwidth measured before each' },
    steps: { default: '10', about: 'steps per round' },
    threads: { default: '2', about: 'threads' },
    kv: { default: 'bf16', about: 'dtype of the cache' },
  },
  async run(flags) {
    const kvDtype = flags.kv as KvDtype;
    const threads = Number(flags.threads);
    const { engine, config, mask } = await openSubject({ shape: flags.shape as string, threads, kvDtype });
    const figures = [];
    const lines: string[] = [];
    for (const context of (flags.contexts as string).split(',').map(Number)) {
      const bandwidths: number[] = [];
      const seconds = { full: [] as number[], masked: [] as number[] };
      for (let round = 0; round < Number(flags.rounds); round++) {
        bandwidths.push(await measureDevice('read-bandwidth', { threads }));
        const options = { context, kvDtype, steps: Number(flags.steps), batch: 1, feedsContext: false, seed: round };
        const measured = await measureContext(engine, { ...options, masks: { full: 'full', masked: mask } });
        seconds.full.push(...measured.full.stepSeconds);
        seconds.masked.push(...measured.masked.stepSeconds);
      }
      const bandwidth = Math.max(...bandwidths);
      for (const side of ['full', 'masked'] as const) {
        const readBytes = countReadBytes(config, { mask: side === 'full' ? 'full' : mask, tokens: context, kvDtype });
        const best = Math.min(...seconds[side]);
        const share = readBytes / best / bandwidth;
        figures.push({ context, side, readBytes, stepSeconds: seconds[side], bandwidths, share });
        lines.push(
          `${context} tokens, ${side}: best ${(1000 * best).toFixed(1)} ms, median ${(1000 * median(seconds[side])).toFixed(1)} ms per token; ` +
            `${(readBytes / best / 1e9).toFixed(2)} GB/s of ${(bandwidth / 1e9).toFixed(2)} measured, ${(100 * share).toFixed(1)} %`,
        );
      }
    }
    await engine.close();
    return { table: lines.join('\n'), figures };
  },
};

// What a 50 % mask saves of a decode step at a long context, against what its bytes promise: full and masked steps in turn.

import { compareMasks, measureContext } from '../src/bench/session-bench.ts';
import { median } from '../src/core/numbers.ts';
import type { KvDtype } from '../src/core/session.ts';
import type { Bench } from './bench.ts';
import { countReadBytes, openSubject } from './sessions.ts';

export const bench: Bench = {
  about: 'time a 50 % mask saves in decode at a long context, paired steps, against its bytes',
  flags: {
    shape: { default: 'llama-3.2-1b', about: 'a named shape' },
    context: { default: '32768', about: 'tokens before the steps (filled directly)' },
    steps: { default: '40', about: 'pairs of steps' },
    threads: { default: '2', about: 'threads' },
    kv: { default: 'bf16', about: 'dtype of the cache' },
  },
  async run(flags) {
    const kvDtype = flags.kv as KvDtype;
    const context = Number(flags.context);
    const { engine, config, mask } = await openSubject({
      shape: flags.shape as string,
      threads: Number(flags.threads),
      kvDtype,
    });
    const options = { context, kvDtype, steps: Number(flags.steps), batch: 1, feedsContext: false, seed: 1 };
    const measured = await measureContext(engine, { ...options, masks: { full: 'full', masked: mask } });
    await engine.close();
    const readBytes = {
      full: countReadBytes(config, { mask: 'full', tokens: context, kvDtype }),
      masked: countReadBytes(config, { mask, tokens: context, kvDtype }),
    };
    const comparison = compareMasks(measured, readBytes);
    const best = { full: Math.min(...measured.full.stepSeconds), masked: Math.min(...measured.masked.stepSeconds) };
    const promised = 1 - readBytes.masked / readBytes.full;
    const savedAtBest = 1 - best.masked / best.full;
    const table = [
      `${context} tokens: full ${(1000 * median(measured.full.stepSeconds)).toFixed(1)} ms, masked ${(1000 * median(measured.masked.stepSeconds)).toFixed(1)} ms per token (medians)`,
      `bytes read fall by ${(100 * promised).toFixed(1)} %; time falls by ${(100 * (1 - 1 / comparison.decodeSpeedup)).toFixed(1)} % (median of pairs), ${(100 * savedAtBest).toFixed(1)} % (best of each)`,
      `saving kept: ${(100 * (comparison.savingShare ?? 0)).toFixed(1)} % of the promise by pairs, ${((100 * savedAtBest) / promised).toFixed(1)} % by the best`,
    ].join('\n');
    return { table, figures: { readBytes, measured, comparison, best } };
  },
};

// Decode and prefill of llama.cpp (llama-peer.ts says how to install it) beside duo's, in turn: on one GGUF file (--model), or on a shape with
// random bf16 weights.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ContextFigures, measureContext } from '../src/bench/session-bench.ts';
import type { Engine } from '../src/engine/engine.ts';
import { openNativeEngine } from '../src/engine/native/native-engine.ts';
import { openModelFolder } from '../src/model/folder.ts';
import { measureDevice } from '../src/native/devices.ts';
import type { Bench, BenchResult } from './bench.ts';
import { writeGguf } from './gguf.ts';
import { openPeer, PEER_SETTINGS, type Timing } from './llama-peer.ts';
import { openSubject, type Subject } from './sessions.ts';

export const bench: Bench = {
  about: 'decode and prefill against llama.cpp on the same GGUF file or shape (install it as llama-peer.ts says)',
  flags: {
    model: { default: '', about: 'a GGUF file; else a shape with random weights' },
    rounds: { default: '3', about: 'with --model: turns of each' },
    shape: { default: 'llama-3.2-1b', about: 'a named llama shape' },
    layers: { default: '16', about: 'layers kept, in both' },
    contexts: { default: '2048,8192', about: 'tokens before the timed steps, prefilled in both' },
    steps: { default: '16', about: 'timed steps of each' },
    threads: { default: '2', about: 'threads of each' },
    peers: { default: fileURLToPath(new URL('.peers', import.meta.url)), about: 'folder the peer was installed in' },
  },
  async run(flags) {
    if (flags.model !== '') return compareOnFile(flags);
    const peerFolder = flags.peers as string;
    const threads = Number(flags.threads);
    const steps = Number(flags.steps);
    const { shape, layers } = { shape: flags.shape as string, layers: Number(flags.layers) };
    const subject = await openSubject({ shape, layers, threads, kvDtype: 'bf16' });
    const folder = mkdtempSync(join(tmpdir(), 'duo-gguf-'));
    const figures = [];
    const lines: string[] = [];
    try {
      const path = join(folder, 'shape.gguf');
      writeGguf(path, subject.config);
      const peer = await openPeer(peerFolder, { path, threads });
      for (const context of (flags.contexts as string).split(',').map(Number)) {
        const bandwidth = await measureDevice('read-bandwidth', { threads });
        const theirs = await peer.measure(context, steps);
        const ours = await measureOurs(subject, { context, steps });
        const again = await peer.measure(context, steps);
        const oursAgain = await measureOurs(subject, { context, steps });
        const best = {
          duo: Math.min(...ours.full.stepSeconds, ...oursAgain.full.stepSeconds),
          duoMasked: Math.min(...ours.masked.stepSeconds, ...oursAgain.masked.stepSeconds),
          llamaCpp: Math.min(...theirs.stepSeconds, ...again.stepSeconds),
        };
        const prefill = {
          duo: Math.min(ours.full.prefillSeconds as number, oursAgain.full.prefillSeconds as number),
          duoMasked: Math.min(ours.masked.prefillSeconds as number, oursAgain.masked.prefillSeconds as number),
          llamaCpp: Math.min(theirs.prefillSeconds, again.prefillSeconds),
        };
        figures.push({ context, bandwidth, best, prefill, ours, theirs, oursAgain, again });
        lines.push(
          `${context} tokens, decode tokens/s: duo full ${(1 / best.duo).toFixed(2)}, duo 50 % mask ${(1 / best.duoMasked).toFixed(2)}, llama.cpp ${(1 / best.llamaCpp).toFixed(2)} (duo full / llama.cpp ${(best.llamaCpp / best.duo).toFixed(2)}×)`,
          `${context} tokens, prefill tokens/s: duo full ${(context / prefill.duo).toFixed(1)}, duo 50 % mask ${(context / prefill.duoMasked).toFixed(1)}, llama.cpp ${(context / prefill.llamaCpp).toFixed(1)} (duo full / llama.cpp ${(prefill.llamaCpp / prefill.duo).toFixed(2)}×)`,
        );
      }
      await peer.close();
    } finally {
      await subject.engine.close();
      rmSync(folder, { recursive: true });
    }
    lines.push(
      `${layers} layers, bf16 weights and cache in duo, bf16 weights and f16 cache in llama.cpp, ${threads} threads each, best of 2 × ${steps} steps in turn`,
    );
    return { table: lines.join('\n'), figures };
  },
};

/** One file in both: duo with int8 and with float32 activations and llama.cpp in each of its settings take turns; the best of each counts. */
async function compareOnFile(flags: Record<string, string>): Promise<BenchResult> {
  const { model, threads, steps, rounds } = {
    model: flags.model as string,
    threads: Number(flags.threads),
    steps: Number(flags.steps),
    rounds: Number(flags.rounds),
  };
  const folder = openModelFolder(model);
  const engines: Record<string, Engine> = {
    'duo int8': await openNativeEngine(folder, { threads, compute: 'int8' }),
    'duo float32': await openNativeEngine(folder, { threads }),
  };
  const peer = await openPeer(flags.peers as string, { path: model, threads });
  const figures = [];
  const lines: string[] = [];
  try {
    for (const context of (flags.contexts as string).split(',').map(Number)) {
      const timings: Record<string, (Timing & { settings?: string })[]> = { 'llama.cpp': [] };
      for (let round = 0; round < rounds; round++) {
        for (const settings of PEER_SETTINGS) {
          const timing = await peer.measure(context, steps, settings);
          const words = `batch ${settings.batchSize}, flash attention ${settings.flashAttention ? 'on' : 'off'}`;
          (timings['llama.cpp'] as Timing[]).push({ ...timing, settings: words } as Timing);
        }
        for (const [name, engine] of Object.entries(engines)) {
          const masks = { full: 'full' as const };
          const run = { context, steps, masks, kvDtype: 'bf16' as const, batch: 1, feedsContext: true, seed: 1 };
          const { prefillSeconds, stepSeconds } = (await measureContext(engine, run)).full;
          timings[name] ??= [];
          timings[name].push({ prefillSeconds: prefillSeconds as number, stepSeconds: [...stepSeconds] });
        }
      }
      const best = (name: string): Best => findBest(timings[name] as Timing[], context);
      const theirs = best('llama.cpp');
      lines.push(
        `${context} tokens, llama.cpp: prefill ${theirs.prefill.toFixed(1)} (${theirs.prefillSettings}), decode ${theirs.decode.toFixed(2)} tokens/s (${theirs.decodeSettings})`,
      );
      for (const name of Object.keys(engines)) {
        const ours = best(name);
        lines.push(
          `${context} tokens, ${name}: prefill ${ours.prefill.toFixed(1)} (${(ours.prefill / theirs.prefill).toFixed(2)}×), decode ${ours.decode.toFixed(2)} (${(ours.decode / theirs.decode).toFixed(2)}×)`,
        );
      }
      figures.push({
        context,
        best: Object.fromEntries(Object.keys(timings).map((name) => [name, best(name)])),
        timings,
      });
    }
  } finally {
    await peer.close();
    for (const engine of Object.values(engines)) await engine.close();
    folder.close();
  }
  lines.push(
    `${basename(model)}, ${threads} threads each, bf16 cache in duo and f16 cache in llama.cpp, best of ${rounds} × ${steps} steps in turn, of llama.cpp in each of ${PEER_SETTINGS.length} settings`,
  );
  return { table: lines.join('\n'), figures };
}

interface Best {
  /** tokens/s */
  readonly prefill: number;
  readonly decode: number;
  /** of llama.cpp: the settings that gave it */
  readonly prefillSettings?: string;
  readonly decodeSettings?: string;
}

function findBest(timings: readonly (Timing & { settings?: string })[], context: number): Best {
  const leastBy = (secondsOf: (timing: Timing) => number): Timing & { settings?: string } =>
    timings.reduce((least, timing) => (secondsOf(timing) < secondsOf(least) ? timing : least));
  const fastestStep = (timing: Timing): number => Math.min(...timing.stepSeconds);
  const [prefill, decode] = [leastBy((timing) => timing.prefillSeconds), leastBy(fastestStep)];
  return {
    prefill: context / prefill.prefillSeconds,
    decode: 1 / fastestStep(decode),
    ...(prefill.settings !== undefined && { prefillSettings: prefill.settings }),
    ...(decode.settings !== undefined && { decodeSettings: decode.settings }),
  };
}

function measureOurs(
  subject: Subject,
  run: { context: number; steps: number },
): Promise<Record<'full' | 'masked', ContextFigures>> {
  const masks = { full: 'full' as const, masked: subject.mask };
  return measureContext(subject.engine, { ...run, masks, kvDtype: 'bf16', batch: 1, feedsContext: true, seed: 1 });
}

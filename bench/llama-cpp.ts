// Decode of llama.cpp (through node-llama-cpp) beside duo's, on one shape with random bf16 weights, in turn. The peer is no dependency:
//   npm install --prefix bench/.peers --no-save --ignore-scripts --omit=optional node-llama-cpp@3.22.1 @node-llama-cpp/linux-x64@3.22.1
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { measureDevice } from '../src/native/devices.ts';
import { type ContextFigures, measureContext } from '../src/runtime/session-bench.ts';
import { writeGguf } from './gguf.ts';
import type { Bench } from './run.ts';
import { openSubject, type Subject } from './sessions.ts';

export const bench: Bench = {
  about: 'decode and prefill against llama.cpp on the same shape (install it as this file says)',
  flags: {
    shape: { default: 'llama-3.2-1b', about: 'a named llama shape' },
    layers: { default: '16', about: 'layers kept, in both' },
    contexts: { default: '2048,8192', about: 'tokens before the timed steps, prefilled in both' },
    steps: { default: '16', about: 'timed steps of each' },
    threads: { default: '2', about: 'threads of each' },
    peers: { default: fileURLToPath(new URL('.peers', import.meta.url)), about: 'folder the peer was installed in' },
  },
  async run(flags) {
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

function measureOurs(
  subject: Subject,
  run: { context: number; steps: number },
): Promise<Record<'full' | 'masked', ContextFigures>> {
  const masks = { full: 'full' as const, masked: subject.mask };
  return measureContext(subject.engine, { ...run, masks, kvDtype: 'bf16', batch: 1, feedsContext: true, seed: 1 });
}

interface Timing {
  readonly prefillSeconds: number;
  readonly stepSeconds: number[];
}

interface Peer {
  measure(context: number, steps: number): Promise<Timing>;
  close(): Promise<void>;
}

/** What of node-llama-cpp is used here. */
interface LlamaModule {
  getLlama(options: object): Promise<{ loadModel(options: object): Promise<LlamaModel>; dispose(): Promise<void> }>;
}
interface LlamaModel {
  createContext(options: object): Promise<{ getSequence(): LlamaSequence; dispose(): Promise<void> }>;
}
interface LlamaSequence {
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>;
  evaluate(tokens: number[], options: object): AsyncIterable<number>;
}

async function openPeer(folder: string, options: { path: string; threads: number }): Promise<Peer> {
  const anchor = join(folder, 'package.json');
  if (!existsSync(join(folder, 'node_modules', 'node-llama-cpp'))) {
    throw new Error(`Expected node-llama-cpp in ${folder}; bench/llama-cpp.ts says how to install it`);
  }
  const entry = createRequire(anchor).resolve('node-llama-cpp');
  const { getLlama } = (await import(pathToFileURL(entry).href)) as LlamaModule;
  const { path, threads } = options;
  const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: 'error' });
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  return {
    async measure(context, steps) {
      const running = await model.createContext({ contextSize: context + steps + 8, threads, batchSize: 512 });
      const sequence = running.getSequence();
      const tokens = Array.from({ length: context }, (_, index) => 3 + ((index * 7919) % 30_000));
      const startMs = performance.now();
      await sequence.evaluateWithoutGeneratingNewTokens(tokens);
      const prefillSeconds = (performance.now() - startMs) / 1000;
      const stepSeconds: number[] = [];
      let beforeMs = performance.now();
      // Greedy; ending tokens are not heeded, so that every step is timed.
      for await (const _ of sequence.evaluate([5], { temperature: 0, yieldEogToken: true })) {
        const nowMs = performance.now();
        stepSeconds.push((nowMs - beforeMs) / 1000);
        beforeMs = nowMs;
        if (stepSeconds.length > steps) break;
      }
      await running.dispose();
      return { prefillSeconds, stepSeconds: stepSeconds.slice(1) };
    },
    close: () => llama.dispose(),
  };
}

// llama.cpp through node-llama-cpp, as a peer of benches. It is no dependency:
//   npm install --prefix bench/.peers --no-save --ignore-scripts --omit=optional node-llama-cpp@3.22.1 @node-llama-cpp/linux-x64@3.22.1
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface Timing {
  readonly prefillSeconds: number;
  readonly stepSeconds: number[];
}

/** How llama.cpp is asked to compute; what is best depends on the machine and the length. */
export interface PeerSettings {
  readonly batchSize: number;
  readonly flashAttention: boolean;
}

/** node-llama-cpp's own batch size and its largest useful one, with and without flash attention. */
export const PEER_SETTINGS: readonly PeerSettings[] = [
  { batchSize: 512, flashAttention: true },
  { batchSize: 512, flashAttention: false },
  { batchSize: 2048, flashAttention: true },
  { batchSize: 2048, flashAttention: false },
];

export interface Peer {
  /** @param settings default: the first of `PEER_SETTINGS` */
  measure(context: number, steps: number, settings?: PeerSettings): Promise<Timing>;
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

/** Open a GGUF file on the CPU. @throws {Error} the peer is not installed in `folder`. */
export async function openPeer(folder: string, options: { path: string; threads: number }): Promise<Peer> {
  const anchor = resolve(folder, 'package.json');
  if (!existsSync(join(folder, 'node_modules', 'node-llama-cpp'))) {
    throw new Error(`Expected node-llama-cpp in ${folder}; bench/llama-peer.ts says how to install it`);
  }
  const entry = createRequire(anchor).resolve('node-llama-cpp');
  const { getLlama } = (await import(pathToFileURL(entry).href)) as LlamaModule;
  const { path, threads } = options;
  const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: 'error' });
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  return {
    async measure(context, steps, settings = PEER_SETTINGS[0] as PeerSettings) {
      const running = await model.createContext({
        contextSize: context + steps + 8,
        threads,
        ...settings,
      });
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

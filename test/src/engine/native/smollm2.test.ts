// A published model all the way from its GGUF file: token ids, next-token log-probabilities and a greedy answer against transformers' values
// (test/golden/smollm2). The file (134 MB) is not in the repository: ../shared/models beside the clone, or skipped.
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { correlateRanks } from '../../../../export/compare.ts';
import type { Sample } from '../../../../src/core/shapes.ts';
import type { Engine } from '../../../../src/engine/engine.ts';
import { listModelConfigValues } from '../../../../src/engine/native/model-config.ts';
import { openNativeEngine } from '../../../../src/engine/native/native-engine.ts';
import { type ModelFolder, openModelFolder } from '../../../../src/model/folder.ts';
import { findLibrary } from '../../../../src/native/library.ts';
import { openModel } from '../../../../src/native/model.ts';
import { encodeChat, renderChat } from '../../../../src/text/chat-template.ts';
import { openTokenizer, type Tokenizer } from '../../../../src/text/tokenizer.ts';
import { findMethod } from '../../../../train/methods/index.ts';

const MODEL = new URL('../../../../../shared/models/SmolLM2-135M-Instruct.Q4_1.gguf', import.meta.url).pathname;
const GOLDEN = JSON.parse(readFileSync(new URL('../../../golden/smollm2/log-probs.json', import.meta.url), 'utf8')) as {
  texts: Record<string, { text: string; tokens: number[]; logProbs: number[]; argmax: number[] }>;
  chat: {
    messages: { role: string; content: string }[];
    prompt: string;
    promptTokens: number[];
    greedyTokens: number[];
  };
};
const KVPRESS = JSON.parse(
  readFileSync(new URL('../../../golden/kvpress/smollm2-135m-instruct.json', import.meta.url), 'utf8'),
) as { scores: number[][] };
const SETTINGS = {
  lr: 0,
  lambda: 0,
  window: { sinkTokens: 128, recentTokens: 256 },
  supervise: 'predict',
  fullBranch: 'student',
  checkpointEvery: 1,
  gatesEvery: 1,
  stableSteps: 0,
} as const;
/** float32 on both sides; the golden values have five decimals */
const MAX_DIFFERENCE = 1e-3;
/** below this lead of the first token over the second, rounding may swap them */
const MIN_MARGIN = 1e-2;

describe.skipIf(!existsSync(MODEL) || findLibrary().path === null)('SmolLM2-135M-Instruct.Q4_1.gguf', () => {
  let folder: ModelFolder;
  let tokenizer: Tokenizer;
  let engine: Engine;

  beforeAll(async () => {
    folder = openModelFolder(MODEL);
    tokenizer = openTokenizer(folder.path);
    engine = await openNativeEngine(folder, { device: 'cpu' });
  });
  afterAll(async () => {
    await engine?.close();
    folder?.close();
  });

  it('has the config of the published folder', () => {
    expect(folder.name).toBe('SmolLM2-135M-Instruct.Q4_1');
    expect(folder.config.shape).toEqual({
      architecture: 'llama',
      layers: 30,
      heads: 9,
      kvHeads: 3,
      headDim: 64,
      hidden: 576,
      intermediate: 1536,
      vocab: 49152,
      maxPositions: 8192,
    });
    expect(folder.config).toMatchObject({ ropeTheta: 100_000, tiedEmbeddings: true, bosTokenId: 1, qkvBias: false });
    expect(folder.config.eosTokenIds).toContain(2);
  });

  it.each(Object.keys(GOLDEN.texts))('agrees on %s', async (name) => {
    const { text, tokens, logProbs, argmax } = GOLDEN.texts[name]!;
    expect(tokenizer.encode(text)).toEqual(tokens);
    expect(tokenizer.encode(text, { addSpecialTokens: true }), 'this model adds no BOS').toEqual(tokens);
    expect(tokenizer.decode(tokens)).toBe(text);
    const model = await openModel(listModelConfigValues(folder.config), folder.weights!.files);
    const positions = Int32Array.from(logProbs.keys());
    const passage = { tokens: Int32Array.from(tokens), positions, gates: null, windows: null, sinkTokens: 0 };
    const logits = await model.logits(passage);
    model.close();
    const { vocab } = folder.config.shape;
    let worst = 0;
    for (const index of positions) {
      const row = logits.subarray(index * vocab, (index + 1) * vocab);
      const { logSum, first, second } = summarise(row);
      worst = Math.max(worst, Math.abs(row[tokens[index + 1]!]! - logSum - logProbs[index]!));
      if (row[first]! - row[second]! > MIN_MARGIN) expect(first, `greedy after token ${index}`).toBe(argmax[index]);
    }
    expect(worst).toBeLessThanOrEqual(MAX_DIFFERENCE);
    console.log(`SmolLM2 ${name}: largest difference of log-probabilities ${worst.toExponential(2)}`);
  });

  it('answers a chat as transformers does', async () => {
    const { messages, prompt, promptTokens, greedyTokens } = GOLDEN.chat;
    expect(renderChat(folder.path, messages)).toBe(prompt);
    expect(encodeChat(tokenizer, { modelFolder: folder.path, messages })).toEqual(promptTokens);
    const session = await engine.openSession('full', { maxTokens: promptTokens.length + greedyTokens.length });
    await session.prefill(promptTokens);
    for (const [index, expected] of greedyTokens.entries()) {
      const logits = await session.logits();
      const { first, second } = summarise(logits);
      if (logits[first]! - logits[second]! > MIN_MARGIN) expect(first, `token ${index}`).toBe(expected);
      await session.decode(expected);
    }
    await session.close();
  });

  it("gives kvpress's head scores by mean query and key, on other texts than kvpress took", async () => {
    const text = readFileSync(new URL('../../../../corpus/texts/walden-economy.txt', import.meta.url), 'utf8');
    const tokens = tokenizer.encode(text).slice(0, 3000);
    const samples = [tokens.slice(0, 1500), tokens.slice(1500)].map((own): Sample => ({ tokens: own, answers: [] }));
    const scored = await findMethod('mean-query-key').score({
      engine,
      sampleAt: (step) => samples[step] as Sample,
      settings: { ...SETTINGS, steps: samples.length },
      files: { metrics: '', checkpoint: '' },
      identity: {},
    });
    const scores = KVPRESS.scores.flat();
    expect(correlateRanks(scored.gates, KVPRESS.scores)).toBeGreaterThan(0.98);
    const differences = scored.gates.flat().map((gate, head) => Math.abs(gate - (scores[head] as number)));
    expect(Math.max(...differences)).toBeLessThan(0.08);
  });
});

function summarise(logits: Float32Array): { logSum: number; first: number; second: number } {
  let [first, second] = logits[0]! >= logits[1]! ? [0, 1] : [1, 0];
  for (let id = 2; id < logits.length; id++) {
    if (logits[id]! > logits[first]!) [first, second] = [id, first];
    else if (logits[id]! > logits[second]!) second = id;
  }
  const top = logits[first]!;
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - top), 0);
  return { logSum: top + Math.log(sum), first, second };
}

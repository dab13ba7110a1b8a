// A tiny model of every family that duo computes against the logits of transformers (test/golden/families), in both engines.
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { listModelConfigValues } from '../../../src/engine/native/model-config.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import { openModel } from '../../../src/native/model.ts';
import { expectAgreement, printToleranceUse } from '../../reference/agreement.ts';
import { readTensors } from '../../reference/golden.ts';
import { describeNative } from '../../reference/native-library.ts';

const GOLDEN = join(import.meta.dirname, '../../golden/families');
/** Written out, so that a family that is lost from the folder is missed. */
const FAMILIES = [
  ...['llama-2', 'llama-3', 'llama-3.1', 'llama-3.2', 'llama-biases', 'llama-dynamic', 'smollm2', 'vicuna-16k'],
  ...['mistral-0.1', 'mistral-0.3', 'mistral-nemo', 'qwen2', 'qwen2.5-yarn', 'qwen3', 'qwen3-yarn', 'qwen3-embedding'],
  ...['qwen3-vl', 'mistral-small-3', 'pixtral', 'llava-1.5', 'llava-next', 'llava-onevision'],
];

const scratch = mkdtempSync(join(tmpdir(), 'duo-families-'));
afterAll(() => {
  printToleranceUse();
  rmSync(scratch, { recursive: true });
});

function readExpected(name: string): { tokens: Int32Array; logits: Float32Array } {
  const tensor = readTensors(join(GOLDEN, name, 'expected.safetensors'));
  return { tokens: tensor('tokens') as Int32Array, logits: tensor('logits') as Float32Array };
}

/** The folder with the config.json that transformers saved instead of the published one. */
function openAsSaved(name: string): ModelFolder {
  const folder = join(scratch, name);
  mkdirSync(folder);
  copyFileSync(join(GOLDEN, name, 'config-saved.json'), join(folder, 'config.json'));
  copyFileSync(join(GOLDEN, name, 'model.safetensors'), join(folder, 'model.safetensors'));
  return openModelFolder(folder);
}

it('every family of the folder is tested', () => {
  const folders = readdirSync(GOLDEN, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(folders.map(({ name }) => name).sort()).toEqual([...FAMILIES].sort());
});

describe('a published config.json and the one that transformers saves say the same', () => {
  it.each(FAMILIES)('%s', (name) => {
    const published = openModelFolder(join(GOLDEN, name));
    const saved = openAsSaved(name);
    // Notes name the file.
    expect({ ...saved.config, notes: [] }).toEqual({ ...published.config, notes: [] });
    expect(saved.fingerprint).toBe(published.fingerprint);
    published.close();
    saved.close();
  });
});

describeNative('the native engine gives the logits of transformers', () => {
  it.each(FAMILIES)('%s', async (name) => {
    const folder = openModelFolder(join(GOLDEN, name));
    const { tokens, logits } = readExpected(name);
    const model = await openModel(listModelConfigValues(folder.config), folder.weights!.files);
    const positions = Int32Array.from(tokens.keys());
    const actual = await model.logits({ tokens, positions, gates: null, windows: null, sinkTokens: 0 });
    expectAgreement(actual, logits, { tolerance: 'golden', label: 'native logits of families' });
    model.close();
    folder.close();
  });
});

describeNative('a session of the native engine gives them from its cache', () => {
  it.each(FAMILIES)('%s', async (name) => {
    const folder = openModelFolder(join(GOLDEN, name));
    const { tokens, logits } = readExpected(name);
    const { vocab } = folder.config.shape;
    const engine = await openNativeEngine(folder);
    const session = await engine.openSession('full', { maxTokens: tokens.length });
    const prompt = tokens.length - 5;
    const rows = [await session.prefill([...tokens.subarray(0, prompt)])];
    for (const token of tokens.subarray(prompt)) rows.push(await session.decode(token));
    const actual = Float32Array.from(rows.flatMap((row) => [...row]));
    expectAgreement(actual, logits.subarray(-6 * vocab), { tolerance: 'golden', label: 'sessions of families' });
    await session.close();
    await engine.close();
    folder.close();
  });
});

describe('the tensorflow engine gives the logits of transformers', () => {
  it.each(FAMILIES)('%s', async (name) => {
    const folder = openModelFolder(join(GOLDEN, name));
    const { tokens, logits } = readExpected(name);
    const engine = await openTensorflowEngine(folder, { backend: 'cpu' });
    const session = await engine.openSession('full', { maxTokens: tokens.length });
    const last = await session.prefill([...tokens]);
    const { vocab } = folder.config.shape;
    expectAgreement(last, logits.subarray(-vocab), { tolerance: 'golden', label: 'tensorflow logits of families' });
    await session.close();
    await engine.close();
    folder.close();
  });
});

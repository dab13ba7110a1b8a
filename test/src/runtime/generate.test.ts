// Generation on the golden two-layer model, which recalls passkeys: what it says is known.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Session } from '../../../src/core/session.ts';
import type { HeadMask } from '../../../src/core/shapes.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import { generateBatch } from '../../../src/runtime/batch.ts';
import { type GenerateOptions, type GenerateResult, generateText } from '../../../src/runtime/generate.ts';
import { openTokenizer, type Tokenizer } from '../../../src/text/tokenizer.ts';

const FOLDER = 'test/golden/mha-2l';
const PROMPT =
  '<bos> when clara closes the jacket , the jacket is cold . the third passkey is : victor oscar golf quebec . then clara moves the jacket early . what is the third passkey ? answer :';

let folder: ModelFolder;
let engine: Engine;
let tokenizer: Tokenizer;
let prompt: number[];

beforeAll(async () => {
  folder = openModelFolder(FOLDER);
  engine = await openTensorflowEngine(folder, { backend: 'cpu' });
  tokenizer = openTokenizer(FOLDER);
  prompt = tokenizer.encode(PROMPT);
});

afterAll(async () => {
  await engine.close();
  folder.close();
});

async function openSession(mask: HeadMask | 'full' = 'full'): Promise<Session> {
  return engine.openSession(mask, { maxTokens: prompt.length + 32 });
}

async function generate(options: GenerateOptions): Promise<GenerateResult> {
  const session = await openSession();
  try {
    return await generateText({ session, tokenizer, prompt }, options);
  } finally {
    await session.close();
  }
}

describe('generateText', () => {
  it('recalls the passkey greedily and streams it out', async () => {
    const pieces: string[] = [];
    const result = await generate({ maxNewTokens: 4, onText: (text) => pieces.push(text) });
    expect(result.text.trim().split(/\s+/)).toEqual(['victor', 'oscar', 'golf', 'quebec']);
    expect(pieces.join('')).toBe(result.text);
    expect(result).toMatchObject({ stopReason: 'length', decodedTokens: 3 });
    expect(result.tokens).toHaveLength(4);
  });

  it('stops at a stop token, which is neither shown nor fed', async () => {
    const golf = tokenizer.encode('golf')[0] as number;
    const result = await generate({ maxNewTokens: 8, stopTokens: [golf] });
    expect(result.text.trim().split(/\s+/)).toEqual(['victor', 'oscar']);
    expect(result).toMatchObject({ stopReason: 'stop-token', decodedTokens: 2 });
    expect(result.tokens.at(-1)).toBe(golf);
  });

  it('stops at a string that spans tokens', async () => {
    const result = await generate({ maxNewTokens: 8, stopStrings: ['car go'] });
    expect(result.stopReason).toBe('stop-string');
    expect(result.text.trim()).toBe('victor os');
  });

  it('draws the same text from the same seed', async () => {
    const options = { maxNewTokens: 6, temperature: 3, seed: 11 };
    const [first, again, other] = [
      await generate(options),
      await generate(options),
      await generate({ ...options, seed: 12 }),
    ];
    expect(again?.tokens).toEqual(first?.tokens);
    expect(other?.tokens).not.toEqual(first?.tokens);
  });

  it('can be stopped', async () => {
    const controller = new AbortController();
    controller.abort();
    await expect(generate({ maxNewTokens: 4, signal: controller.signal })).rejects.toMatchObject({
      name: 'AbortedError',
    });
  });

  it.each([
    [{ maxNewTokens: 0 }, 'Expected `maxNewTokens` to be an integer of at least 1, got `0`'],
    [{ maxNewTokens: 1, stopStrings: [''] }, 'Expected every stop string to have at least one character'],
  ])('refuses %j', async (options, message) => {
    await expect(generate(options)).rejects.toThrow(message);
  });
});

describe('generateBatch', () => {
  it('continues each text as it would alone', async () => {
    const sessions = [await openSession(), await openSession()];
    await sessions[0]?.prefill(prompt);
    await sessions[1]?.prefill(prompt.slice(0, 20));
    const golf = tokenizer.encode('golf')[0] as number;
    const texts = [
      { session: sessions[0] as Session, stopTokens: [golf] },
      { session: sessions[1] as Session, sampling: { temperature: 1, seed: 3 } },
    ];
    const [first, second] = await generateBatch(engine, texts, { maxNewTokens: 5 });
    const alone = await openSession();
    await alone.prefill(prompt.slice(0, 20));
    const [expected] = await generateBatch(engine, [{ session: alone, sampling: { temperature: 1, seed: 3 } }], {
      maxNewTokens: 5,
    });
    expect(first?.map((token) => tokenizer.decode([token]))).toEqual(['victor', 'oscar', 'golf']);
    expect(second).toEqual(expected);
    for (const session of [...sessions, alone]) await session.close();
  });
});

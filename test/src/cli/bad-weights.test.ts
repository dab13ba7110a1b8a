// duo identify on weights that are not numbers: refused by tensor and index on both engines, before anything is written.
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSafetensorsHeader } from '../model/read-header.ts';
import { answerOf } from './in-process.ts';
import { makeFolder, ROOT } from './run-duo.ts';

const TINY = join(ROOT, 'test/models/tiny');
const BF16_NAN = [0xc0, 0x7f];
const ELEMENT = 37;

/** A copy of the tiny model with a NaN in `tensor`; returns its folder. */
function poisonModel(folder: string, tensor: string): string {
  const model = join(folder, 'model');
  cpSync(TINY, model, { recursive: true });
  const path = join(model, 'model.safetensors');
  const bytes = readFileSync(path);
  const { dataStart, offsets } = readSafetensorsHeader(bytes);
  bytes.set(BF16_NAN, dataStart + (offsets[tensor] as number) + 2 * ELEMENT);
  writeFileSync(path, bytes);
  return model;
}

describe.each(['native', 'tensorflow'])('NaN weights on the %s engine', (engine) => {
  it.each([
    'model.embed_tokens.weight',
    'model.layers.0.self_attn.q_proj.weight',
    'model.layers.1.mlp.down_proj.weight',
    'model.norm.weight',
    'lm_head.weight',
  ])('in %s are refused by name and index', async (tensor) => {
    const folder = makeFolder();
    const out = join(folder, 'run');
    const model = poisonModel(folder, tensor);
    const flags = ['--config', 'tiny', '--steps', '1', '--engine', engine, '--out', out];
    const { code, stderr } = await answerOf('identify', '--model', model, ...flags);
    expect(code).toBe(1);
    expect(stderr).toContain(`Expected finite numbers in tensor \`${tensor}\``);
    expect(stderr).toContain(`at index ${ELEMENT};`);
    expect(existsSync(out)).toBe(false);
  });
});

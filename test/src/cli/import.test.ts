// duo import: whose cut it is, the flags', the pattern's own or the default one, and that it says so.
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readMask } from '../../../src/formats/mask.ts';
import { answerOf } from './in-process.ts';
import { makeFolder, ROOT } from './run-duo.ts';

const PATTERN = join(ROOT, 'test/golden/pattern-fixture');
const out = join(makeFolder(), 'mask.json');

/** A folder with the fixture's gates, a config.json with this sparsity, and a model of their shape. */
function makePattern(sparsity?: unknown): string {
  const folder = makeFolder();
  copyFileSync(join(PATTERN, 'full_attention_heads.tsv'), join(folder, 'full_attention_heads.tsv'));
  const config = JSON.parse(readFileSync(join(PATTERN, 'config.json'), 'utf8'));
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, sparsity }));
  return folder;
}

const model = makeFolder();
const shape = { num_hidden_layers: 6, num_attention_heads: 8, num_key_value_heads: 4, hidden_size: 64 };
const rest = {
  model_type: 'llama',
  intermediate_size: 128,
  vocab_size: 100,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
};
writeFileSync(join(model, 'config.json'), JSON.stringify({ ...shape, ...rest, architectures: ['LlamaForCausalLM'] }));

const run = (folder: string, ...flags: string[]) =>
  answerOf('import', folder, '--model', model, '--out', out, ...flags);

describe('duo import', () => {
  it.each([
    ["by the pattern's own sparsity", 0.25, [], 6, "The cut is the pattern's own sparsity."],
    ['by the flag before it', 0.25, ['--streaming-fraction', '0.75'], 18, 'The cut is that of the flags.'],
    [
      'by the default where the pattern has none',
      null,
      [],
      12,
      'The pattern names no sparsity: the cut is the default,',
    ],
    [
      'by the default where it has no such key',
      undefined,
      [],
      12,
      'The pattern names no sparsity: the cut is the default,',
    ],
  ])('cuts %s', async (_, sparsity, flags, streaming, words) => {
    const { code, stderr } = await run(makePattern(sparsity), ...flags);
    expect(stderr).toContain(words);
    expect(code).toBe(0);
    const mask = readMask(out);
    if (mask.version !== 1) throw new Error('expected version 1');
    expect(mask.mask.flat().filter((label) => label === 0)).toHaveLength(streaming);
    expect(mask.streamingFraction).toBe(streaming / 24);
  });

  it('tells it as JSON, and the default in its help', async () => {
    expect(JSON.parse((await run(makePattern(0.25), '--json')).stdout)).toMatchObject({ cutFrom: 'pattern' });
    const { stdout } = await answerOf('import', '--help');
    expect(stdout.replace(/\s+/g, ' ')).toContain(
      "without a cut the pattern's own sparsity, where it has none 0.5 with grouped queries, else 0.75",
    );
  });

  it('refuses a sparsity that is none', async () => {
    const { code, stderr } = await run(makePattern(1.5));
    expect(code).toBe(1);
    expect(stderr).toContain('to be a number from 0 to 1 or null, got `1.5`');
  });
});

// duo run as a user does: text on stdout, figures on stderr, exit codes.
import { cpSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { filledGrid, type MaskGrid } from '../../../src/core/shapes.ts';
import { writeMask } from '../../../src/formats/mask.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { answerOf } from './in-process.ts';
import { GOLDEN_MODEL, runDuo } from './run-duo.ts';

const PROMPT =
  '<bos> when clara closes the jacket , the jacket is cold . the third passkey is : victor oscar golf quebec . then clara moves the jacket early . what is the third passkey ? answer :';
const RUN = ['run', '--model', GOLDEN_MODEL, '--engine', 'tensorflow', '--backend', 'cpu', '--max-new-tokens', '4'];

function writeTestMask(mask: MaskGrid): string {
  const path = join(mkdtempSync(join(tmpdir(), 'duo-run-')), 'mask.json');
  const folder = openModelFolder(GOLDEN_MODEL);
  const { architecture, layers, heads, kvHeads, headDim } = folder.config.shape;
  writeMask(path, {
    schema: 'duo.head-mask',
    version: 1,
    model: { architecture, layers, heads, kvHeads, headDim, fingerprint: folder.fingerprint },
    sink: 2,
    recent: 8,
    streamingFraction: 1 - mask.flat().reduce((sum, bit) => sum + bit, 0) / mask.flat().length,
    threshold: null,
    mask,
    gates: mask,
    provenance: {},
  });
  folder.close();
  return path;
}

describe('duo run', () => {
  it('streams the text to stdout and figures to stderr', async () => {
    const { code, stdout, stderr } = await runDuo([...RUN, '--prompt', PROMPT]);
    expect({ code, text: stdout.trim() }).toEqual({ code: 0, text: 'victor oscar golf quebec' });
    expect(stderr).toMatch(/prefill 37 tokens in .* decode 3 tokens, .* KV cache 82\.0 KiB \(83968 bytes\)/);
  });

  it('prints one JSON document with --json, and nothing else on stdout', async () => {
    const { code, stdout } = await runDuo([...RUN, '--prompt', PROMPT, '--json', '--stop', 'car go']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ text: ' victor os', stopReason: 'stop-string', promptTokens: 37 });
  });

  it('reads the prompt from a file and holds the cache of a mask', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'duo-run-')), 'prompt.txt');
    writeFileSync(file, PROMPT);
    const mask = writeTestMask(filledGrid(2, 4, 0));
    const { code, stdout } = await runDuo([...RUN, '--prompt-file', file, '--mask', mask, '--json']);
    expect(code).toBe(0);
    // The prompt writes BOS itself and gets no second one: 37 tokens and 4 more.
    // 8 heads × min(41, 2 + 8) slots × 2 × 32 values × 4 bytes, of 41 slots with every head full
    expect(JSON.parse(stdout)).toMatchObject({ kvBytes: 8 * 10 * 256, fullKvBytes: 8 * 41 * 256 });
  });

  it("wraps the prompt in the model's chat template with --chat", async () => {
    const folder = mkdtempSync(join(tmpdir(), 'duo-run-'));
    cpSync(GOLDEN_MODEL, folder, { recursive: true });
    writeFileSync(
      join(folder, 'chat_template.jinja'),
      '<bos>{% for m in messages %} {{ m.content }}{% endfor %} answer :',
    );
    const question = PROMPT.replace('<bos> ', '').replace(' answer :', '');
    const flags = ['--model', folder, '--engine', 'tensorflow', '--backend', 'cpu', '--max-new-tokens', '4'];
    const { code, stdout } = await runDuo(['run', ...flags, '--chat', '--prompt', question]);
    expect({ code, text: stdout.trim() }).toEqual({ code: 0, text: 'victor oscar golf quebec' });
  });

  it('ends with 130 when it is interrupted', async () => {
    const flags = ['run', '--model', GOLDEN_MODEL, '--engine', 'tensorflow', '--backend', 'cpu', '--prompt', PROMPT];
    let interrupt = (): void => {};
    const { code } = await runDuo([...flags, '--max-new-tokens', '4000'], {
      onStart: (kill) => {
        interrupt = () => kill('SIGINT');
      },
      onStdout: () => {
        interrupt();
        interrupt = () => {};
      },
    });
    expect(code).toBe(130);
  });

  it.each([
    [['--model', GOLDEN_MODEL], 'Expected --prompt or --prompt-file, got neither.'],
    [['--model', GOLDEN_MODEL, '--prompt', 'a', '--prompt-file', 'b'], 'Expected --prompt or --prompt-file, got both.'],
    [['--model', GOLDEN_MODEL, '--prompt', 'a', '--top-p', '0'], 'Expected --top-p to be above 0'],
    [
      ['--model', GOLDEN_MODEL, '--prompt', 'a', '--kv-dtype', 'f64'],
      'Expected --kv-dtype to be one of f32, bf16, int8, fp8, k8v4, int4',
    ],
    [
      ['--model', GOLDEN_MODEL, '--prompt', 'a', '--kv-dtype', 'bf16', '--kv-rotation', 'on'],
      'Expected --kv-rotation only with --kv-dtype int8, fp8, k8v4, int4, got bf16',
    ],
    [['--model', GOLDEN_MODEL, '--prompt', 'a', '--max-new-tokens', '0'], 'Expected --max-new-tokens to be an integer'],
    [['--model', GOLDEN_MODEL, '--prompt', 'a', '--system', 'b'], 'Expected --system only with --chat.'],
  ])('refuses %j with exit code 2', async (flags, message) => {
    const { code, stdout, stderr } = await answerOf('run', ...flags);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(message);
  });

  it('refuses a mask of another model', async () => {
    const mask = writeTestMask(filledGrid(2, 4, 1));
    const other = join(GOLDEN_MODEL, '..', 'gqa-4l-d192');
    const { code, stderr } = await answerOf('run', '--model', other, '--prompt', 'a', '--mask', mask);
    expect(code).toBe(1);
    expect(stderr).toContain('Expected `model.layers`');
  });
});

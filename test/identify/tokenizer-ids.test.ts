// Tokenizers with more ids than the model has rows (Qwen3-Embedding, CodeLlama, fine-tunes with an added pad): what counts is which ids texts use.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { answerOf } from '../src/cli/in-process.ts';
import { GOLDEN_MODEL } from '../src/cli/run-duo.ts';

interface TokenizerJson {
  added_tokens: object[];
  model: { vocab: Record<string, number> };
}

const scratch = mkdtempSync(join(tmpdir(), 'duo-token-ids-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const { vocab_size: rows } = JSON.parse(readFileSync(join(GOLDEN_MODEL, 'config.json'), 'utf8'));

function makeModel(name: string, change: (tokenizer: TokenizerJson) => void): string {
  const folder = join(scratch, name);
  cpSync(GOLDEN_MODEL, folder, { recursive: true });
  const path = join(folder, 'tokenizer.json');
  const tokenizer = JSON.parse(readFileSync(path, 'utf8'));
  change(tokenizer);
  writeFileSync(path, JSON.stringify(tokenizer));
  return folder;
}
const generate = (model: string): ReturnType<typeof answerOf> =>
  answerOf('generate', '--model', model, '--config', 'tiny', '--count', '2', '--out', '-');

it('takes a tokenizer with more ids than the model has rows, and draws the same samples', async () => {
  const added = {
    id: rows + 5,
    content: '<extra>',
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  };
  const larger = makeModel('larger', ({ added_tokens }) => void added_tokens.push({ ...added, special: true }));
  const [own, more] = [await generate(GOLDEN_MODEL), await generate(larger)];
  expect(more.stderr).not.toContain('Expected');
  expect(more.code).toBe(0);
  expect(more.stdout).toBe(own.stdout);
});

it('refuses a text that uses an id without a row', async () => {
  const other = makeModel('other', ({ model }) => {
    for (const token of Object.keys(model.vocab)) model.vocab[token] = (model.vocab[token] as number) + rows;
  });
  const { code, stderr } = await generate(other);
  expect(stderr).toMatch(
    new RegExp(
      `duo: Expected token ids below the model's ${rows}, got \`\\d+\` from the tokenizer of ${other}; check that tokenizer\\.json belongs to these weights\\.`,
    ),
  );
  expect(code).toBe(1);
});

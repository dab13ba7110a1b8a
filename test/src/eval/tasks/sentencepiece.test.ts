// Answer ranges hold under a SentencePiece-like tokenizer too, which puts a space of its own before every text it is given.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openProseHaystack } from '../../../../data-gen/haystack.ts';
import { adaptTokenizer } from '../../../../src/eval/tasks/adapt-tokenizer.ts';
import { openTaskFiles } from '../../../../src/eval/tasks/task-files.ts';
import { findTasks } from '../../../../src/eval/tasks/task-list.ts';
import { openTokenizer } from '../../../../src/text/tokenizer.ts';
import { makeSentencePieceBpe, TOKENIZER_CONFIG } from '../../text/tokenizer-fixture.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-sentencepiece-'));
writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(makeSentencePieceBpe()));
writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(TOKENIZER_CONFIG));
const tokenizer = openTokenizer(folder);
rmSync(folder, { recursive: true });

it.each(['single-passkey', 'multi-passkey', 'niah_multikey_2', 'kv-retrieval', 'vt'])('%s', (name) => {
  const [task] = findTasks([name]);
  const sample = task!.build({
    tokenizer: adaptTokenizer(tokenizer),
    lengthTokens: 6000,
    seed: 1,
    index: 0,
    haystack: openProseHaystack(tokenizer),
    files: openTaskFiles({}),
  });
  const { tokens, answers } = sample.teacherForced!;
  expect(answers.map(([start, end]) => tokenizer.decode(tokens.slice(start, end)).trim())).toEqual(sample.references);
  expect(sample.promptTokens[0]).toBe(tokenizer.bosTokenId);
  expect(sample.promptTokens.length + sample.maxNewTokens).toBeLessThanOrEqual(6000);
});

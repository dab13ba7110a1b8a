import {
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { answerOf } from './in-process.ts';
import { GOLDEN_MODEL } from './run-duo.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-outputs-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (name: string): string => join(scratch, name);
const model = at('model');
const GATES = {
  schema: 'duo.gates',
  version: 1,
  model: { architecture: 'llama', layers: 2, heads: 4, kvHeads: 4, headDim: 16, fingerprint: null },
  gates: [
    [0.9, 0.1, 0.2, 0.8],
    [0, 0.3, 1, 0.5],
  ],
  provenance: { sink: 4, recent: 32 },
};
const exportFlags = (...more: string[]): string[] => [
  'export',
  '--gates',
  at('gates.json'),
  '--streaming-fraction',
  '0.5',
  ...more,
];
const generateFlags = (...more: string[]): string[] => ['generate', '--model', model, '--count', '1', ...more];

beforeAll(() => {
  cpSync(GOLDEN_MODEL, model, { recursive: true });
});
beforeEach(() => {
  writeFileSync(at('gates.json'), JSON.stringify(GATES));
});

describe('an output that is an input', () => {
  it.each([
    ['by its own name', 'gates.json'],
    ['through a link', 'link.json'],
    ['through a hard link', 'hard.json'],
    ['through a linked folder', 'here/gates.json'],
  ])('is refused %s, also with --overwrite', async (_, name) => {
    if (!existsSync(at('link.json'))) symlinkSync('gates.json', at('link.json'));
    if (!existsSync(at('hard.json'))) linkSync(at('gates.json'), at('hard.json'));
    if (!existsSync(at('here'))) symlinkSync('.', at('here'));
    for (const more of [[], ['--overwrite']]) {
      const { code, stderr } = await answerOf(...exportFlags('--out', at(name), ...more));
      expect(stderr).toBe(
        `duo: Expected --out to be no input of the same command, got \`${at(name)}\`; name another file.\n`,
      );
      expect(code).toBe(2);
    }
    expect(JSON.parse(readFileSync(at('gates.json'), 'utf8'))).toEqual(GATES);
  });

  it('is refused for the folder of an import and the haystack of generate', async () => {
    await answerOf(...exportFlags('--format', 'tsv', '--out', at('pattern')));
    for (const name of ['full_attention_heads.tsv', 'config.json']) {
      const before = readFileSync(at(`pattern/${name}`));
      const out = ['--out', at(`pattern/${name}`), '--overwrite'];
      expect((await answerOf('import', at('pattern'), '--model', model, ...out)).code).toBe(2);
      expect(readFileSync(at(`pattern/${name}`))).toEqual(before);
    }
    writeFileSync(at('book.txt'), 'Once upon a time.');
    const out = ['--haystack', at('book.txt'), '--out', at('book.txt'), '--overwrite'];
    expect((await answerOf(...generateFlags(...out))).stderr).toContain('no input of the same command');
    expect(readFileSync(at('book.txt'), 'utf8')).toBe('Once upon a time.');
  });
});

describe('a file of a model', () => {
  it.each(['config.json', 'tokenizer.json', 'model.safetensors', 'tokenizer_config.json'])(
    '%s is refused by every command, also with --overwrite',
    async (name) => {
      const path = join(model, name);
      const before = existsSync(path) ? readFileSync(path) : null;
      for (const command of [exportFlags, generateFlags]) {
        const { code, stderr } = await answerOf(...command('--out', path, '--overwrite'));
        expect(stderr).toContain('Expected --out to be no file of a model');
        expect(code).toBe(2);
      }
      if (before === null) expect(existsSync(path)).toBe(false);
      else expect(readFileSync(path).equals(before)).toBe(true);
    },
  );

  it('config.json is not written into a folder with weights, there or not', async () => {
    mkdirSync(at('weights-only'), { recursive: true });
    copyFileSync(join(model, 'model.safetensors'), at('weights-only/model-00001-of-00001.safetensors'));
    const { code, stderr } = await answerOf(
      ...exportFlags('--format', 'tsv', '--out', at('weights-only'), '--overwrite'),
    );
    expect(stderr).toContain('no file of a model');
    expect(code).toBe(2);
    expect(existsSync(at('weights-only/config.json'))).toBe(false);
    expect(existsSync(at('weights-only/full_attention_heads.tsv'))).toBe(false);
  });

  it('config.json of a model without weights is refused as well', async () => {
    mkdirSync(at('config-only'), { recursive: true });
    copyFileSync(join(model, 'config.json'), at('config-only/config.json'));
    expect((await answerOf(...exportFlags('--out', at('config-only/config.json'), '--overwrite'))).code).toBe(2);
  });
});

describe('a file of another kind', () => {
  it.each([
    ['gates', JSON.stringify(GATES)],
    ['the record of a run', '{\n  "schema": "duo.run", "version": 1}'],
    ['samples', '{"tokens": [1, 2], "answers": [[1, 2]]}\n'],
    ['something else', 'a letter to a friend'],
    ['a report', '<!doctype html>\n<html><title>demo: duo report</title>'],
  ])('%s: export asks for --overwrite', async (words, text) => {
    writeFileSync(at('other'), text);
    const refused = await answerOf(...exportFlags('--out', at('other')));
    expect(refused.stderr).toBe(
      `duo: Expected --out to name a new file or a mask, found ${words} at ${at('other')}; name another file, or pass --overwrite to replace it.\n`,
    );
    expect(refused.code).toBe(2);
    expect(readFileSync(at('other'), 'utf8')).toBe(text);
    expect((await answerOf(...exportFlags('--out', at('other'), '--overwrite'))).code).toBe(0);
    expect(JSON.parse(readFileSync(at('other'), 'utf8')).schema).toBe('duo.head-mask');
  });

  it('generate asks before it replaces a mask, or provenance that is none', async () => {
    await answerOf(...exportFlags('--out', at('mask.json')));
    expect((await answerOf(...generateFlags('--out', at('mask.json')))).stderr).toContain('found a mask at');
    writeFileSync(at('s.meta.json'), '{"mine": true}');
    expect((await answerOf(...generateFlags('--out', at('s.jsonl')))).stderr).toContain(`at ${at('s.meta.json')}`);
    expect(existsSync(at('s.jsonl'))).toBe(false);
  });

  it('an older file of the same kind and an empty one are replaced', async () => {
    writeFileSync(at('empty'), '');
    for (const name of ['empty', 'empty', 'new.json', 'new.json']) {
      expect((await answerOf(...exportFlags('--out', at(name)))).code).toBe(0);
    }
    for (let round = 0; round < 2; round++) {
      expect((await answerOf(...exportFlags('--format', 'tsv', '--out', at('folder')))).code).toBe(0);
    }
  });

  it('report refuses a page over what it reads, and over other files', async () => {
    mkdirSync(at('run'), { recursive: true });
    writeFileSync(at('run/gates.json'), JSON.stringify(GATES));
    for (const name of ['run/gates.json', 'gates.json']) {
      expect((await answerOf('report', at('run'), '--out', at(name))).code).toBe(2);
      expect(JSON.parse(readFileSync(at(name), 'utf8'))).toEqual(GATES);
    }
  });
});

describe('-', () => {
  it('is standard output, once', async () => {
    const { stderr, code } = await answerOf(...exportFlags('--out', '-', '--json'));
    expect(stderr).toContain('Expected --out - or --json, got both');
    expect(code).toBe(2);
    expect(existsSync('-')).toBe(false);
  });

  it('is refused where a folder is written', async () => {
    expect((await answerOf(...exportFlags('--format', 'tsv', '--out', '-'))).stderr).toContain(
      'Expected --out to name a folder, got `-`',
    );
  });
});

describe('a folder to write to', () => {
  const evaluate = (...flags: string[]): ReturnType<typeof answerOf> =>
    answerOf('eval', '--model', model, '--samples', at('none.jsonl'), ...flags);

  it.each([
    ['a file', 'a-file', 'a file'],
    ['a device', '/dev/null', 'a pipe, a device or a socket'],
  ])('is refused where it is %s, before anything is read', async (_, name, kind) => {
    writeFileSync(at('a-file'), 'text');
    const path = name.startsWith('/') ? name : at(name);
    const { code, stderr } = await evaluate('--out', path);
    expect(stderr).toBe(`duo: Expected --out to name a folder, found ${kind} at ${path}; name another folder.\n`);
    expect(code).toBe(2);
    expect(readFileSync(at('a-file'), 'utf8')).toBe('text');
  });

  it('is refused where a part of its path is a file', async () => {
    writeFileSync(at('a-file'), 'text');
    const { code, stderr } = await evaluate('--out', at('a-file/inner'));
    expect(stderr).toMatch(/^duo: Cannot write .*a-file.*: a part of its path is a file, not a folder\.\n$/);
    expect(stderr).not.toContain('defect');
    expect(code).toBe(1);
  });

  it('nor is an input read there', async () => {
    writeFileSync(at('a-file'), 'text');
    const { code, stderr } = await answerOf('run', '--model', model, '--prompt', 'a', '--mask', at('a-file/mask.json'));
    expect(stderr).toBe(`duo: Cannot read ${at('a-file/mask.json')}: a part of its path is a file, not a folder.\n`);
    expect(code).toBe(1);
    writeFileSync(at('m.json'), '');
    const cut = ['--streaming-fraction', '0.5', '--out', at('m.json')];
    const other = await answerOf('export', '--gates', at('a-file/gates.json'), ...cut);
    expect(other.stderr).toBe(
      `duo: Cannot read ${at('a-file/gates.json')}: a part of its path is a file, not a folder.\n`,
    );
  });

  it.each(['--out', '--mask', '--samples', '--model', '--gates'])('and no path of %s is empty', async (flag) => {
    const { code, stderr } = await evaluate(flag, '');
    expect(stderr).toBe(`duo: Expected ${flag} to name a file or folder, got an empty text.\n`);
    expect(code).toBe(2);
  });
});

// Help offers what a command uses, with defaults, and examples that parse.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../src/cli/commands.ts';
import { EXAMPLES } from '../../../src/cli/examples.ts';
import { loadPreset } from '../../../src/config/presets.ts';
import { HEAD_METHODS } from '../../../train/methods/index.ts';
import { answerOf } from './in-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-help-'));
afterAll(() => rmSync(scratch, { recursive: true }));

async function define(name: string): Promise<Command> {
  const entry = COMMANDS.find((candidate) => candidate.name === name);
  const command = new Command(name);
  (await (entry as (typeof COMMANDS)[number]).load())(command, new AbortController().signal);
  return command;
}

/** Words of a line as a shell splits them. */
const splitLine = (line: string): string[] =>
  [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? (bare as string));

describe.each(COMMANDS.map(({ name }) => name))('duo %s --help', (name) => {
  it('ends with examples that the command takes', async () => {
    const { code, stdout } = await answerOf(name, '--help');
    expect(code).toBe(0);
    const examples = EXAMPLES[name] as readonly (readonly [string, string])[];
    expect(examples.length).toBeGreaterThan(0);
    for (const [line, does] of examples) {
      expect(stdout).toContain(`  ${line}\n      ${does}\n`);
      const [program, command, ...args] = splitLine(line);
      expect([program, command]).toEqual(['duo', name]);
      const parser = (await define(name)).exitOverride().configureOutput({ writeErr: () => {} });
      let asked: readonly unknown[] | null = null;
      parser.allowExcessArguments(false).action((...given: unknown[]) => {
        asked = given;
      });
      await parser.parseAsync(args, { from: 'user' });
      expect(asked).not.toBeNull();
    }
  });

  it('says what each flag does, once', async () => {
    const { options } = await define(name);
    for (const { long, description } of options) expect(description, long).toMatch(/^\S.{5}/);
    expect(new Set(options.map(({ long }) => long)).size).toBe(options.length);
  });
});

describe('flags of preset keys', () => {
  it('name the methods there are, and the values in force', async () => {
    const { stdout } = await answerOf('identify', '--help');
    const words = stdout.replaceAll(/\s+/g, ' ');
    for (const { name } of HEAD_METHODS) expect(words).toMatch(new RegExp(`how heads are scored:[^()]*\\b${name}\\b`));
    const { config } = loadPreset('base');
    for (const [flag, value] of [
      ['seed', config.seed],
      ['steps', config.steps],
      ['lambda', config.lambda],
      ['lr', config.lr],
      ['sink', config.sinkTokens],
      ['recent', config.recentTokens],
      ['method', config.method],
      ['alphabet', '26 words, alpha to zulu'],
      ['threshold', 'none'],
      ['streaming-fraction', '0.5, or 0.75 where each query head has a KV head of its own; none with another cut'],
      ['templates-separator', '\\n\\n'],
    ] as const) {
      expect(words.split(` --${flag} `)[1]?.split(' --')[0], flag).toContain(`(default: ${value})`);
    }
  });

  it('are the same for every architecture', () => {
    for (const name of ['llama', 'mistral', 'qwen2', 'qwen3']) {
      expect(loadPreset(name).config).toEqual(loadPreset('base').config);
    }
  });
});

describe('duo generate offers a flag only where it changes the samples', () => {
  let numFiles = 0;
  const hashOf = async (...flags: string[]): Promise<string> => {
    const path = join(scratch, `${numFiles++}.jsonl`);
    const { code, stderr } = await answerOf('generate', '--model', 'demo', '--out', path, '--count', '6', ...flags);
    expect(code, stderr).toBe(0);
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  };
  const LENGTHS = ['--min-tokens', '200', '--max-tokens', '300', '--length-count', '6'];
  let plain: string;
  let heldOut: string;
  beforeAll(async () => {
    plain = await hashOf(...LENGTHS);
    heldOut = await hashOf(...LENGTHS, '--split', 'held-out');
  });

  const CHANGES: Readonly<Record<string, string>> = {
    seed: '7',
    'min-tokens': '210',
    'max-tokens': '290',
    'length-count': '3',
    'length-draw': 'uniform',
    passkeys: '3',
    'words-per-passkey': '3',
    'depth-min': '0.4',
    'depth-max': '0.6',
    'depth-count': '5',
    'question-order': 'depth',
    alphabet: 'lamp,key,door',
    ordinals: 'one,two,three,four,five,six',
    'templates-head': 'The text. ',
    'templates-needle': ' the {ordinal} key:{passkey}.',
    'templates-close': ' The end. ',
    'templates-question': ' the {ordinal} key?{passkey}.',
    'templates-separator': ' . ',
  };
  it.each(Object.entries(CHANGES))('--%s', async (flag, value) => {
    const rest = LENGTHS.includes(`--${flag}`) ? LENGTHS.toSpliced(LENGTHS.indexOf(`--${flag}`), 2) : LENGTHS;
    expect(await hashOf(...rest, `--${flag}`, value)).not.toBe(plain);
  });

  it.each([
    ['held-out-samples', '3'],
    ['held-out-length-factor', '1.2'],
  ])('--%s', async (flag, value) => {
    expect(await hashOf(...LENGTHS, '--split', 'held-out', `--${flag}`, value)).not.toBe(heldOut);
  });

  it('knows every flag of a preset key that it offers', async () => {
    const { options } = await define('generate');
    const known = ['config', 'objective', 'held-out-samples', 'held-out-length-factor', ...Object.keys(CHANGES)];
    const ofLongRange = ['sink', 'recent', 'long-range-gain', 'long-range-probability'];
    const others = [
      'model',
      'out',
      'overwrite',
      'count',
      'split',
      'haystack',
      'json',
      'documents',
      'held-out-documents',
    ];
    const ofEngine = ['engine', 'device', 'backend', 'threads', 'weights-on', 'progress'];
    expect(options.map(({ long }) => (long as string).slice(2)).sort()).toEqual(
      [...known, ...ofLongRange, ...others, ...ofEngine].sort(),
    );
  });

  it.each(['sink', 'recent', 'long-range-gain', 'long-range-probability'])(
    '--%s only with long-range',
    async (flag) => {
      const path = join(scratch, 'none.jsonl');
      expect(await answerOf('generate', '--model', 'demo', '--out', path, `--${flag}`, '1')).toMatchObject({
        code: 2,
        stderr: `duo: Expected --${flag} only with --objective long-range or both, got it with \`passkey\`; leave it out.\n`,
      });
    },
  );

  it.each(['passkeys', 'templates-head', 'alphabet', 'depth-min'])('--%s only with passkeys', async (flag) => {
    const flags = ['--model', 'demo', '--out', join(scratch, 'none.jsonl'), '--objective', 'long-range'];
    expect(await answerOf('generate', ...flags, `--${flag}`, '1')).toMatchObject({
      code: 2,
      stderr: `duo: Expected --${flag} only with --objective passkey or both, got it with \`long-range\`; leave it out.\n`,
    });
  });

  it.each(['lambda', 'lr', 'steps', 'method', 'streaming-fraction', 'checkpoint-every'])('no --%s', async (flag) => {
    const path = join(scratch, 'none.jsonl');
    const { code, stderr } = await answerOf('generate', '--model', 'demo', '--out', path, `--${flag}`, '1');
    expect([code, stderr]).toEqual([2, expect.stringContaining(`unknown option '--${flag}'`)]);
  });
});

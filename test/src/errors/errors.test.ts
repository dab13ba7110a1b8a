import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as errors from '../../../src/errors/errors.ts';
import {
  ConfigError,
  DuoError,
  ERROR_CODES,
  type ErrorCode,
  FormatError,
  NativeError,
} from '../../../src/errors/errors.ts';
import { ClosedStdoutError } from '../../../src/formats/output.ts';
import { TransferError } from '../../../src/hub/download.ts';
import * as duo from '../../../src/index.ts';
import { GOLDEN_MODEL, makeFolder, ROOT } from '../cli/run-duo.ts';

describe('DuoError', () => {
  it('writes what would break a line or steer a terminal as escapes', () => {
    expect(new FormatError('a\nb\r\tc\u001b[2J\u0000\u2028\u202e').message).toBe(
      'a\\nb\\r\\tc\\u001b[2J\\u0000\\u2028\\u202e',
    );
    expect(new NativeError('a\u0007', 'FORMAT').message).toBe('a\\u0007');
    expect(new ConfigError('äöü 😀 “x” ▁ \u200d').message).toBe('äöü 😀 “x” ▁ \u200d');
  });

  it('leaves out the middle of an endless message', () => {
    const { message } = new DuoError(`${'a'.repeat(1e6)}; download it again.`);
    expect(message.length).toBeLessThan(4100);
    expect(message).toMatch(/^a{3600} … a+; download it again\.$/);
    expect(new DuoError('b'.repeat(4000)).message).toBe('b'.repeat(4000));
  });

  it('keeps its cause', () => {
    const cause = new Error('x');
    expect(new FormatError('a', { cause }).cause).toBe(cause);
  });
});

describe('error codes', () => {
  /** Written out: a code that programs rely on must not change because a class did. */
  const CODES: Record<string, ErrorCode> = {
    DuoError: 'ERR_DUO',
    ConfigError: 'ERR_CONFIG',
    FormatError: 'ERR_FORMAT',
    ModelError: 'ERR_MODEL',
    BudgetError: 'ERR_BUDGET',
    FileError: 'ERR_FILE',
    TransferError: 'ERR_TRANSFER',
    ClosedStdoutError: 'ERR_STDOUT_CLOSED',
    EngineError: 'ERR_ENGINE',
    NativeError: 'ERR_NATIVE',
    AbortedError: 'ERR_ABORTED',
  };
  const classes = [...Object.values(errors), TransferError, ClosedStdoutError].filter(
    (value): value is typeof NativeError =>
      typeof value === 'function' && (value === DuoError || value.prototype instanceof DuoError),
  );

  it('belong to one class each, and to every class', () => {
    const found = Object.fromEntries(classes.map((made) => [made.name, new made('x', 'MEMORY').code]));
    expect(found).toEqual(CODES);
    expect(Object.keys(ERROR_CODES).sort()).toEqual(Object.values(CODES).sort());
  });

  it('stand in the README with their meanings', () => {
    const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
    for (const [code, meaning] of Object.entries(ERROR_CODES)) expect(readme).toContain(`| \`${code}\` | ${meaning} |`);
  });

  const folder = makeFolder();
  const torn = join(folder, 'torn.json');
  writeFileSync(torn, '{');
  const evaluate = async (signal: AbortSignal) => {
    const model = await duo.openModel(GOLDEN_MODEL);
    const engine = await duo.openEngine(model, { engine: 'tensorflow' });
    const samples = [{ tokens: [1, 2, 3], answers: [[1, 2]] as [number, number][] }];
    return duo.evaluateSamples({ engine, samples, masks: [{ name: 'full', mask: 'full' }], signal });
  };
  it.each<[ErrorCode, () => unknown]>([
    ['ERR_CONFIG', () => duo.loadPreset('no-such-preset')],
    ['ERR_CONFIG', () => duo.identify({ model: GOLDEN_MODEL, config: { recentTokens: 0 } })],
    ['ERR_FORMAT', () => duo.readMask(torn)],
    ['ERR_FILE', () => duo.readMask(join(folder, 'absent.json'))],
    ['ERR_MODEL', () => duo.openModel(join(folder, 'absent'))],
    ['ERR_ABORTED', () => evaluate(AbortSignal.abort())],
  ])('%s is what a program sees: %s', async (code, act) => {
    await expect(async () => act()).rejects.toMatchObject({ code });
  });
});

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkRun, type RunFile, readRun, writeRun } from '../../../src/formats/run.ts';

const run: RunFile = {
  schema: 'duo.run',
  version: 1,
  status: 'running',
  command: ['duo', 'identify', '--model', 'demo'],
  config: { lr: 0.02, lengths: [512, 1024] },
  identity: { config: { lr: 0.02 }, samples: 'sha256:00' },
  engine: { name: 'tensorflow', device: 'wasm-simd' },
  versions: { duo: '0.1.0' },
  inputs: { model: { path: 'models/demo', fingerprint: 'sha256:11' } },
  host: { cores: 2 },
  startedAt: '2026-11-23T12:00:00.000Z',
  endedAt: null,
  resumes: 0,
  results: null,
  error: null,
};

describe('run.json', () => {
  test('write then read is identity', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'duo-run-')), 'run.json');
    writeRun(path, run);
    expect(readRun(path)).toEqual(run);
    writeRun(path, { ...run, status: 'done', endedAt: 'later', results: [{ task: 'samples', accuracy: 1 }] });
    expect(readRun(path).status).toBe('done');
  });

  test.each([
    [
      'an unknown status',
      { status: 'paused' },
      /`status` in r\.json to be one of running, done, stopped, failed, got `"paused"`/,
    ],
    ['a number that JSON cannot hold', { results: { loss: Number.NaN } }, /`results` in r\.json to be a JSON value/],
    ['an unknown key', { token: 'x' }, /Expected no key `token` in r\.json/],
    ['a negative count', { resumes: -1 }, /`resumes` in r\.json to be an integer of at least 0, got `-1`/],
  ])('refuses %s', (_, change, message) => {
    expect(() => checkRun({ ...run, ...change }, 'r.json')).toThrow(message);
  });
});

// Models by their names on the Hub, on the command line: a local server stands for the Hub.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type HubServer, serveHub } from '../../../scripts/hub-server.ts';
import { answerOf } from './in-process.ts';

const TINY = new URL('../../models/tiny/', import.meta.url).pathname;
const read = (file: string) => ({ bytes: readFileSync(join(TINY, file)) });
let server: HubServer;
let home: string;

beforeAll(async () => {
  server = await serveHub({
    'config.json': read('config.json'),
    'tokenizer.json': read('tokenizer.json'),
    'tokenizer_config.json': read('tokenizer_config.json'),
    'model.safetensors': { ...read('model.safetensors'), isLarge: true },
  });
  home = mkdtempSync(join(tmpdir(), 'duo-hub-cli-'));
  process.env.HF_HOME = home;
  process.env.HF_ENDPOINT = server.url;
});
afterAll(async () => {
  delete process.env.HF_HOME;
  delete process.env.HF_ENDPOINT;
  await server.close();
  rmSync(home, { recursive: true, force: true });
});

it('takes a Hub name wherever a model folder is taken, and fetches what the command needs', async () => {
  const shown = await answerOf('inspect', 'org/model', '--json');
  expect(JSON.parse(shown.stdout)).toMatchObject({ kind: 'model', name: 'model', fingerprint: null });
  expect(server.log.filter((url) => url.includes('tokenizer') || url.includes('safetensors'))).toEqual([]);
  const run = await answerOf('run', '--model', 'org/model', '--prompt', 'the', '--max-new-tokens', '2', '--json');
  expect(run.stderr).not.toContain('Expected');
  expect(run.code).toBe(0);
  const absent = await answerOf('run', '--model', 'org/absent', '--prompt', 'the');
  expect(absent.code).toBe(1);
  expect(absent.stderr).toContain(`Expected a model org/absent on ${server.url}, found none; check the spelling`);
});

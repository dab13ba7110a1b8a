// A disk that has no room for a model: one sentence, no file that is taken for a whole one, and the next run with more room goes on.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { COMMIT, type HubServer, serveHub } from '../../../scripts/hub-server.ts';
import { GOLDEN_MODEL, ROOT, runDuo } from '../cli/run-duo.ts';

const read = (file: string) => ({ bytes: readFileSync(join(GOLDEN_MODEL, file)) });
let server: HubServer;
const scratch = mkdtempSync(join(tmpdir(), 'duo-full-'));
const mounted: string[] = [];

/** A file system of its own with so little room; null where this process may not mount one. */
function mountSmall(name: string, size: string): string | null {
  const folder = join(scratch, name);
  mkdirSync(folder);
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]);
  if (status !== 0) return null;
  mounted.push(folder);
  return folder;
}
const CAN_MOUNT = mountSmall('probe', '64k') !== null;

beforeAll(async () => {
  server = await serveHub({
    'config.json': read('config.json'),
    'tokenizer.json': read('tokenizer.json'),
    'model.safetensors': { ...read('model.safetensors'), isLarge: true },
  });
});
afterEach(() => {
  for (const folder of mounted.splice(0)) execFileSync('umount', [folder]);
});
afterAll(async () => {
  await server.close();
  rmSync(scratch, { recursive: true });
});

const ARGS = ['run', '--model', 'org/model', '--prompt', 'the', '--max-new-tokens', '1', '--engine', 'tensorflow'];
const envOf = (home: string): Record<string, string> => ({
  HF_HOME: home,
  HF_ENDPOINT: server.url,
  HF_TOKEN: '',
  NO_PROXY: '*',
});
const model = (home: string): string => join(home, 'hub', 'models--org--model');

function expectNothingWhole(home: string): void {
  const snapshot = join(model(home), 'snapshots', COMMIT);
  expect(existsSync(join(snapshot, 'model.safetensors'))).toBe(false);
  const blobs = existsSync(join(model(home), 'blobs')) ? readdirSync(join(model(home), 'blobs')) : [];
  expect(blobs.filter((name) => name.endsWith('.lock'))).toEqual([]);
}

it.runIf(CAN_MOUNT)('a full disk, at any point of the fetch', { timeout: 120_000 }, async () => {
  // No room for the first folder's file, for the tokenizer, for the weights.
  for (const size of ['4k', '16k', '200k']) {
    const home = mountSmall(`disk-${size}`, size) as string;
    const { code, stderr } = await runDuo(ARGS, { env: envOf(home) });
    const failure = stderr
      .trim()
      .split('\n')
      .filter((line) => line.startsWith('duo: Cannot'));
    expect(failure).toHaveLength(1);
    expect(failure[0]).toMatch(/^duo: Cannot write .*: the disk is full; free some space and run again\.$/);
    expect(code).toBe(1);
    expectNothingWhole(home);
    execFileSync('mount', ['-o', 'remount,size=64m', home]);
    const again = await runDuo(ARGS, { env: envOf(home) });
    expect(again.stderr).not.toContain('Cannot');
    expect(again.code).toBe(0);
  }
});

it('a limit on the size of a file', { timeout: 120_000 }, async () => {
  const home = join(scratch, 'limited');
  // In blocks of 512 bytes; the weights are larger.
  const limited = ['-c', 'ulimit -f 400 && exec "$0" "$@"', process.execPath, join(ROOT, 'bin/duo.js'), ...ARGS];
  const child = spawn('sh', limited, { env: { ...process.env, ...envOf(home) }, stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => {
    stderr += data;
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  expect(stderr).toMatch(
    /duo: Cannot write .*: it would be larger than the file system or `ulimit -f` allows; choose another disk, or raise the limit\.\n$/,
  );
  expect(code).toBe(1);
  expectNothingWhole(home);
});

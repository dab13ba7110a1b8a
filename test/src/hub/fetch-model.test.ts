import { spawn } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { COMMIT, type HubServer, type HeldFile as ServerFile, serveHub } from '../../../scripts/hub-server.ts';
import { type FetchOptions, fetchModel } from '../../../src/hub/fetch-model.ts';
import { parseHubName } from '../../../src/hub/hub-name.ts';
import { readHubSettings } from '../../../src/hub/settings.ts';

const text = (value: string): ServerFile => ({ bytes: Buffer.from(value) });
const random = (length: number, seed: number): Buffer => {
  let state = seed;
  const next = (): number => {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    return (state >> 16) & 0xff;
  };
  return Buffer.from(Array.from({ length }, next));
};
const SHARDS = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const FILES: Record<string, ServerFile> = {
  'config.json': text('{"model_type": "llama"}'),
  'generation_config.json': text('{}'),
  'tokenizer.json': { bytes: random(3000, 1), isLarge: true },
  'tokenizer_config.json': text('{"a": 1}'),
  'model.safetensors.index.json': text(JSON.stringify({ weight_map: { a: SHARDS[0], b: SHARDS[1], c: SHARDS[0] } })),
  [SHARDS[0] as string]: { bytes: random(200_000, 2), isLarge: true },
  [SHARDS[1] as string]: { bytes: random(70_000, 3), isLarge: true },
  'pytorch_model.bin': { bytes: random(5000, 4), isLarge: true },
  'onnx/model.onnx': { bytes: random(5000, 5), isLarge: true },
  'README.md': text('hello'),
  'model-Q4_K_M.gguf': { bytes: random(4000, 6), isLarge: true },
  'model-Q8_0-00001-of-00002.gguf': { bytes: random(400, 7), isLarge: true },
  'model-Q8_0-00002-of-00002.gguf': { bytes: random(500, 8), isLarge: true },
};

let server: HubServer;
let home: string;
const name = (value: string): NonNullable<ReturnType<typeof parseHubName>> => parseHubName(value) as never;
const options = (more: Partial<FetchOptions> & { env?: Record<string, string> } = {}): FetchOptions => {
  const { env, ...rest } = more;
  const settings = readHubSettings({ HF_HOME: home, HF_ENDPOINT: server.url, ...env });
  return { settings, waitsMs: [1, 1, 1], ...rest };
};
const fetchError = async (value: string, more?: Parameters<typeof options>[0]): Promise<Error> => {
  try {
    await fetchModel(name(value), options(more));
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a refusal, got a model');
};
const cacheFolder = (): string => join(home, 'hub', 'models--org--model');

beforeEach(async () => {
  server = await serveHub(FILES, { pageSize: 4 });
  home = mkdtempSync(join(tmpdir(), 'duo-hub-'));
});
afterEach(async () => {
  await server.close();
  rmSync(home, { recursive: true, force: true });
});

describe('fetching a model', () => {
  it('brings the files that are needed, and no others, in the layout of the Python tools', async () => {
    const seen: [number, number][] = [];
    const model = await fetchModel(
      name('org/model'),
      options({ onProgress: (done, total) => seen.push([done, total]) }),
    );
    expect(model).toEqual({ path: join(cacheFolder(), 'snapshots', COMMIT), name: 'model', commit: COMMIT });
    const wanted = Object.keys(FILES).filter((file) => !/bin$|onnx|README|gguf/.test(file));
    expect(readdirSync(model.path).sort()).toEqual(wanted.sort());
    for (const file of wanted) {
      const path = join(model.path, file);
      expect(lstatSync(path).isSymbolicLink()).toBe(true);
      expect(readlinkSync(path)).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{40,64}$/);
      expect(readFileSync(path).equals((FILES[file] as ServerFile).bytes), file).toBe(true);
    }
    expect(readFileSync(join(cacheFolder(), 'refs', 'main'), 'utf8')).toBe(COMMIT);
    expect(readdirSync(join(cacheFolder(), 'blobs')).every((blob) => /^[0-9a-f]+$/.test(blob))).toBe(true);
    expect(seen.at(-1)?.[0]).toBe(seen.at(-1)?.[1]);
    expect(server.log.filter((url) => /bin$|onnx|README|gguf/.test(url))).toEqual([]);
  });

  it('asks only which commit it is and what it holds, then uses the cache', async () => {
    await fetchModel(name('org/model'), options());
    server.log.length = 0;
    await fetchModel(name('org/model'), options());
    expect(server.log.filter((url) => !url.includes('/api/'))).toEqual([]);
    expect(server.log[0]).toContain('/revision/main');
  });

  it('reads config.json alone for inspect', async () => {
    const { path } = await fetchModel(name('org/model'), options({ need: 'config' }));
    expect(readdirSync(path).sort()).toEqual(['config.json']);
  });

  it('brings what Python tools did not fetch, and leaves what they did', async () => {
    const { path } = await fetchModel(name('org/model'), options());
    rmSync(join(path, 'tokenizer_config.json'));
    rmSync(join(path, 'config.json'));
    writeFileSync(join(path, 'config.json'), '{"model_'); // half of it, as a copy that was cut
    server.log.length = 0;
    await fetchModel(name('org/model'), options());
    expect(readFileSync(join(path, 'tokenizer_config.json'), 'utf8')).toBe('{"a": 1}');
    expect(readFileSync(join(path, 'config.json')).equals((FILES['config.json'] as ServerFile).bytes)).toBe(true);
    expect(server.log.filter((url) => url.includes('.safetensors'))).toEqual([]);
  });

  it('takes the GGUF file of a quantisation, all parts of a split one', async () => {
    const one = await fetchModel(name('org/model:q4_k_m'), options());
    expect(one.path).toBe(join(cacheFolder(), 'snapshots', COMMIT, 'model-Q4_K_M.gguf'));
    const split = await fetchModel(name('org/model:Q8_0'), options());
    expect(split.path).toMatch(/Q8_0-00001-of-00002\.gguf$/);
    expect(existsSync(split.path.replace('00001-of', '00002-of'))).toBe(true);
    expect((await fetchError('org/model:Q2_K')).message).toBe(
      'Expected a GGUF file of Q2_K in org/model, found Q4_K_M, Q8_0; name one of those.',
    );
  });

  it('uses what Python has cached when offline, and says what is missing', async () => {
    const snapshot = join(cacheFolder(), 'snapshots', COMMIT);
    mkdirSync(snapshot, { recursive: true });
    mkdirSync(join(cacheFolder(), 'refs'));
    writeFileSync(join(cacheFolder(), 'refs', 'main'), COMMIT);
    for (const file of ['config.json', 'tokenizer.json', 'model.safetensors'])
      writeFileSync(join(snapshot, file), '{}');
    const offline = { env: { HF_HUB_OFFLINE: '1' } };
    expect((await fetchModel(name('org/model'), options(offline))).path).toBe(snapshot);
    expect((await fetchModel(name(`org/model@${COMMIT}`), options(offline))).path).toBe(snapshot);
    rmSync(join(snapshot, 'model.safetensors'));
    symlinkSync('../../blobs/gone', join(snapshot, 'model.safetensors'));
    expect((await fetchError('org/model', offline)).message).toBe(
      `Expected org/model in the cache ${cacheFolder()}, because HF_HUB_OFFLINE is set, found a part of it; fetch it once with a connection, or pass a folder.`,
    );
    expect((await fetchError('org/other', offline)).message).toContain('found none');
    expect(server.log).toEqual([]);
  });

  it('falls back to the cache when the server cannot be reached, and says so', async () => {
    await fetchModel(name('org/model'), options());
    const notes: string[] = [];
    const env = { HF_ENDPOINT: 'http://127.0.0.1:1' };
    await fetchModel(name('org/model'), options({ env, onNote: (note) => notes.push(note) }));
    expect(notes.join()).toMatch(/^http:\/\/127\.0\.0\.1:1 cannot be reached .*; org\/model is taken from the cache/);
    expect((await fetchError('org/other', { env })).message).toMatch(
      /because http:\/\/127\.0\.0\.1:1 cannot be reached/,
    );
  });
});

describe('transfers that break', () => {
  it('go on where they were cut, again and again', async () => {
    server.cutAfter = 30_000;
    const model = await fetchModel(name('org/model'), options());
    const shard = SHARDS[0] as string;
    expect(readFileSync(join(model.path, shard)).equals((FILES[shard] as ServerFile).bytes)).toBe(true);
    expect(server.log.filter((url) => url === `cdn:/${shard}`).length).toBeGreaterThan(5);
  });

  it('end with a sentence where nothing comes any more, and the next run goes on', async () => {
    let sent = 0;
    server.fault = (_, response, where) => {
      if (where === 'hub') return false;
      if (sent++ === 0) return false;
      response.destroy();
      return true;
    };
    server.cutAfter = 1000;
    const error = await fetchError('org/model');
    expect(error.message).toMatch(
      /^Expected 3000 bytes of tokenizer\.json, got (\d+): .*; run again to continue from there\.$/,
    );
    server.fault = () => false;
    server.cutAfter = null;
    server.log.length = 0;
    const ranges: (string | undefined)[] = [];
    server.fault = (request, _, where) => {
      if (where === 'cdn') ranges.push(request.headers.range);
      return false;
    };
    await fetchModel(name('org/model'), options());
    const had = Number(/got (\d+):/.exec(error.message)?.[1]);
    expect(ranges).toContain(had > 0 ? `bytes=${had}-` : undefined);
  });

  it('are found where bytes were spoilt, on the way and in what an earlier run left', async () => {
    server.fault = (request, response, where) => {
      if (where !== 'cdn' || !request.url?.includes(SHARDS[1] as string)) return false;
      const bytes = Buffer.from((FILES[SHARDS[1] as string] as ServerFile).bytes);
      bytes[100] = (bytes[100] as number) ^ 1;
      response.end(bytes);
      return true;
    };
    expect((await fetchError('org/model')).message).toMatch(
      /^Expected model-00002-of-00002\.safetensors with the hash [0-9a-f]{64}, got [0-9a-f]{64}: the transfer spoilt it/,
    );
    expect(existsSync(join(cacheFolder(), 'snapshots', COMMIT, SHARDS[1] as string))).toBe(false);
    server.fault = () => false;
    const etag = readlinkSync(join((await fetchModel(name('org/model'), options())).path, SHARDS[1] as string))
      .split('/')
      .at(-1) as string;
    rmSync(join(cacheFolder(), 'blobs', etag));
    writeFileSync(join(cacheFolder(), 'blobs', `${etag}.incomplete`), Buffer.alloc(500));
    const again = await fetchModel(name('org/model'), options());
    expect(
      readFileSync(join(again.path, SHARDS[1] as string)).equals((FILES[SHARDS[1] as string] as ServerFile).bytes),
    ).toBe(true);
  });

  it('start over where the server knows no ranges', async () => {
    const etagFile = FILES[SHARDS[0] as string] as ServerFile;
    server.cutAfter = 50_000;
    let cuts = 0;
    server.fault = (request, response, where) => {
      if (where !== 'cdn' || !request.url?.includes(SHARDS[0] as string) || cuts++ === 0) return false;
      response.end(etagFile.bytes);
      return true;
    };
    const model = await fetchModel(name('org/model'), options());
    expect(readFileSync(join(model.path, SHARDS[0] as string)).equals(etagFile.bytes)).toBe(true);
  });

  it('are tried again on 429 and 5xx, and given up with a sentence', async () => {
    let count = 0;
    server.fault = (_, response, where) => {
      if (where === 'cdn' || count++ % 2 === 1) return false;
      response.writeHead(count % 4 === 1 ? 429 : 503, { 'retry-after': '0' }).end();
      return true;
    };
    await fetchModel(name('org/model'), options());
    server.fault = (_, response) => (response.writeHead(429).end(), true);
    expect((await fetchError('org/model@v1')).message).toBe(
      `Expected an answer of ${server.url} for org/model, got too many requests (429); try again later, or with HF_TOKEN.`,
    );
  });

  it('give the same files after kills at random', async () => {
    server.cutAfter = 60_000;
    const script = `import { fetchModel } from '${new URL('../../../src/hub/fetch-model.ts', import.meta.url).pathname}';
      import { parseHubName } from '${new URL('../../../src/hub/hub-name.ts', import.meta.url).pathname}';
      await fetchModel(parseHubName('org/model'), { waitsMs: [1, 1, 1] });`;
    for (let round = 0; round < 4; round++) {
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
        env: { ...process.env, HF_HOME: home, HF_ENDPOINT: server.url },
      });
      await new Promise((resolve) => setTimeout(resolve, 300 + 150 * round));
      child.kill('SIGKILL');
      await new Promise((resolve) => child.on('close', resolve));
    }
    server.cutAfter = null;
    const model = await fetchModel(name('org/model'), options());
    for (const shard of SHARDS) {
      expect(readFileSync(join(model.path, shard)).equals((FILES[shard] as ServerFile).bytes), shard).toBe(true);
    }
  });

  it('take turns, and take over from a process that is gone', async () => {
    const blobs = join(cacheFolder(), 'blobs');
    await fetchModel(name('org/model'), options({ need: 'config' }));
    const etag = readlinkSync(join(cacheFolder(), 'snapshots', COMMIT, 'config.json'))
      .split('/')
      .at(-1) as string;
    rmSync(join(blobs, etag));
    const lock = join(blobs, `${etag}.lock`);
    writeFileSync(lock, '1\nanother-host\n');
    const old = new Date(Date.now() - 60_000);
    utimesSync(lock, old, old);
    const both = [fetchModel(name('org/model'), options()), fetchModel(name('org/model'), options())];
    for (const { path } of await Promise.all(both))
      expect(readFileSync(join(path, 'config.json'), 'utf8')).toBe('{"model_type": "llama"}');
    expect(existsSync(lock)).toBe(false);
  });
});

describe('refusals', () => {
  it.each([
    [
      'GatedRepo',
      403,
      /^Expected access to org\/model, which is gated: accept its terms at http.*\/org\/model and set HF_TOKEN to a token of an account that may read it\.$/,
    ],
    [
      'RepoNotFound',
      401,
      /^Expected a model org\/model on http.*, found none; check the spelling, or set HF_TOKEN if it is private\.$/,
    ],
    ['RevisionNotFound', 404, /^Expected a branch, tag or commit `main` of org\/model, found none/],
  ])('%s', async (code, status, message) => {
    server.fault = (_, response) => (response.writeHead(status, { 'x-error-code': code }).end('{}'), true);
    expect((await fetchError('org/model')).message).toMatch(message);
  });

  it('say what a page in place of an answer means', async () => {
    server.fault = (_, response) => (response.end('<html>log in</html>'), true);
    expect((await fetchError('org/model')).message).toContain('got something else; check HF_ENDPOINT and the proxy');
  });
});

describe('a repository that holds an adapter', () => {
  const adapter = text(JSON.stringify({ peft_type: 'LORA', base_model_name_or_path: 'org/base' }));
  const sentence =
    'Expected a whole model in org/model, got an adapter of `org/base` (adapter_config.json); merge it into its base model (`merge_and_unload` of PEFT, then `save_pretrained`) and pass that folder';

  it.each(['config', 'tokenizer', 'weights'] as const)(
    'is refused as a folder is, where %s is needed',
    async (need) => {
      await server.close();
      server = await serveHub({
        'adapter_config.json': adapter,
        'adapter_model.safetensors': { bytes: random(9, 1), isLarge: true },
      });
      expect((await fetchError('org/model', { need })).message).toBe(`${sentence}.`);
      expect(server.log.filter((url) => url.includes('safetensors'))).toEqual([]);
    },
  );

  it('and its base model beside it', async () => {
    await server.close();
    server = await serveHub({ ...FILES, 'adapter_config.json': adapter });
    expect((await fetchError('org/model@v1')).message).toBe(
      sentence.replace(' in org/model,', ' in org/model@v1,') +
        ', or remove adapter_config.json to use the model in the same folder without it.',
    );
  });
});

describe('the token', () => {
  it('goes to the Hub and not to the host that it redirects to', async () => {
    await server.close();
    server = await serveHub(FILES, { token: 'secret' });
    expect((await fetchError('org/model')).message).toContain('set HF_TOKEN');
    writeFileSync(join(home, 'token'), 'secret\n');
    await fetchModel(name('org/model'), options());
    expect(server.cdnTokens.length).toBeGreaterThan(2);
    expect(server.cdnTokens.every((token) => token === undefined)).toBe(true);
  });

  it('comes from HF_TOKEN before the token file, and the cache from HF_HUB_CACHE before HF_HOME', () => {
    writeFileSync(join(home, 'token'), 'file');
    const of = (env: Record<string, string>) => readHubSettings({ HF_HOME: home, ...env });
    expect(of({}).token).toBe('file');
    expect(of({ HF_TOKEN: 'own' }).token).toBe('own');
    expect(of({ HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }).token).toBeNull();
    expect(of({}).cacheFolder).toBe(join(home, 'hub'));
    expect(of({ HF_HUB_CACHE: '/x' }).cacheFolder).toBe('/x');
    expect(of({}).endpoint).toBe('https://huggingface.co');
    expect(of({ TRANSFORMERS_OFFLINE: 'yes' }).isOffline).toBe(true);
    expect(readHubSettings({ XDG_CACHE_HOME: '/c' }).cacheFolder).toBe('/c/huggingface/hub');
  });
});

describe('names', () => {
  it.each([
    ['org/name', { repository: 'org/name', revision: 'main', quantisation: null }],
    ['org/name@v1.0', { repository: 'org/name', revision: 'v1.0', quantisation: null }],
    ['org/name:Q4_K_M', { repository: 'org/name', revision: 'main', quantisation: 'Q4_K_M' }],
    ['org/name@refs/pr/1:Q8_0', { repository: 'org/name', revision: 'refs/pr/1', quantisation: 'Q8_0' }],
  ])('%s', (value, expected) => expect(parseHubName(value)).toEqual(expected));
  it.each([
    '/a/b',
    './a/b',
    '../b',
    '~/b',
    'a',
    'a/b/c',
    'a/..',
    'a b/c',
    'a--b/c',
    '-a/b',
    'a/b.',
    'a/b.gguf',
    'a/b.json',
  ])('%s is a path', (value) => {
    expect(parseHubName(value)).toBeNull();
  });
});

// The proxy variables: requests for the Hub and for the host that it redirects to go through the proxy that they name, or do not.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HubServer, serveHub } from '../../../scripts/hub-server.ts';
import { runDuo } from '../cli/run-duo.ts';

interface Proxy {
  readonly url: string;
  /** hosts that were asked for, in order, with the proxy's own authorization */
  readonly asked: { host: string; authorization: string | undefined }[];
  /** status with which every request is refused; null = none is */
  refuseWith: number | null;
  close(): Promise<void>;
}

/** Tunnels CONNECT, and forwards requests for absolute addresses. */
async function serveProxy(): Promise<Proxy> {
  const server: Server = createServer((request, response) => {
    const { host, port, hostname } = new URL(request.url as string);
    proxy.asked.push({ host, authorization: request.headers['proxy-authorization'] });
    if (proxy.refuseWith !== null) return void response.writeHead(proxy.refuseWith).end();
    const socket = connect(Number(port), hostname, () => {
      const { pathname, search } = new URL(request.url as string);
      const headers = Object.entries({ ...request.headers, connection: 'close' }).map(
        ([key, value]) => `${key}: ${value}`,
      );
      socket.write(`${request.method} ${pathname}${search} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`);
      socket.pipe(response.socket as never);
    });
    socket.on('error', () => response.destroy());
  });
  server.on('connect', (request, client, head) => {
    const [hostname, port] = (request.url as string).split(':');
    proxy.asked.push({ host: request.url as string, authorization: request.headers['proxy-authorization'] });
    if (proxy.refuseWith !== null) return void client.end(`HTTP/1.1 ${proxy.refuseWith} Refused\r\n\r\n`);
    const target = connect(Number(port), hostname, () => {
      client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      target.write(head);
      target.pipe(client).pipe(target);
    });
    for (const one of [client, target]) one.on('error', () => [client, target].forEach((each) => void each.destroy()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const proxy: Proxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    refuseWith: null,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}

const CONFIG = {
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 32,
  num_attention_heads: 2,
  num_hidden_layers: 1,
  vocab_size: 100,
  max_position_embeddings: 64,
};
let server: HubServer;
let proxy: Proxy;
let home: string;
/** An empty one would hide the same in capitals. */
const NONE = Object.fromEntries(
  ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'].map((name) => [name, undefined]),
);
const inspect = (env: Record<string, string>): ReturnType<typeof runDuo> =>
  runDuo(['inspect', 'org/model', '--json'], {
    env: { ...NONE, HF_HOME: home, HF_ENDPOINT: server.url, HF_TOKEN: '', ...env },
  });
const hostOf = (url: string): string => new URL(url).host;

beforeEach(async () => {
  // A large file, so that the second host is asked too.
  server = await serveHub({ 'config.json': { bytes: Buffer.from(JSON.stringify(CONFIG)), isLarge: true } });
  proxy = await serveProxy();
  home = mkdtempSync(join(tmpdir(), 'duo-proxy-'));
});
afterEach(async () => {
  await server.close();
  await proxy.close();
  rmSync(home, { recursive: true, force: true });
});

describe('the proxy variables', { timeout: 120_000 }, () => {
  it.each(['HTTP_PROXY', 'http_proxy'])('%s is used for the Hub and for the host it redirects to', async (name) => {
    const { code, stdout } = await inspect({ [name]: proxy.url.replace('http://', 'http://user:secret@') });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ kind: 'model', name: 'model' });
    expect(new Set(proxy.asked.map(({ host }) => host))).toEqual(new Set([hostOf(server.url), hostOf(server.cdn)]));
    const expected = `Basic ${Buffer.from('user:secret').toString('base64')}`;
    expect(proxy.asked.every(({ authorization }) => authorization === expected)).toBe(true);
  });

  it('NO_PROXY leaves out the hosts that it names', async () => {
    expect((await inspect({ HTTP_PROXY: proxy.url, NO_PROXY: 'example.com,127.0.0.1' })).code).toBe(0);
    expect(proxy.asked).toEqual([]);
  });

  it('HTTPS_PROXY is used for https alone', async () => {
    expect((await inspect({ HTTPS_PROXY: proxy.url })).code).toBe(0);
    expect(proxy.asked).toEqual([]);
    proxy.refuseWith = 403;
    rmSync(join(home, 'hub'), { recursive: true });
    const { code, stderr } = await inspect({ HTTPS_PROXY: proxy.url, HF_ENDPOINT: 'https://hub.invalid' });
    expect(new Set(proxy.asked.map(({ host }) => host))).toEqual(new Set(['hub.invalid:443']));
    expect(code).toBe(1);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(
      /^duo: Expected org\/model in the cache .*, because https:\/\/hub\.invalid cannot be reached \(.*\), found none/,
    );
  });

  it('a proxy that is not there is one sentence', async () => {
    const { code, stderr } = await inspect({ HTTP_PROXY: 'http://127.0.0.1:1' });
    expect(code).toBe(1);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(/cannot be reached \(connect ECONNREFUSED 127\.0\.0\.1:1\)/);
  });
});

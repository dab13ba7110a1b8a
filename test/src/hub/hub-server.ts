// A server on this machine that speaks the Hub's API: revisions, trees in pages, files with ranges, large ones by a redirect to a second origin (the
// CDN), and the faults that transfers have.
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ServerFile {
  readonly bytes: Buffer;
  readonly isLarge?: boolean;
}

export interface HubServer {
  readonly url: string;
  readonly cdn: string;
  /** paths asked for, in order; CDN requests begin with `cdn:` */
  readonly log: string[];
  /** authorization headers seen by the CDN */
  readonly cdnTokens: (string | undefined)[];
  /** Called before each answer: true when it has answered itself. */
  fault: (request: IncomingMessage, response: ServerResponse, where: 'hub' | 'cdn') => boolean;
  /** bytes of a body after which its connection is cut; null = never */
  cutAfter: number | null;
  close(): Promise<void>;
}

export const COMMIT = 'a'.repeat(40);

const sha1 = (bytes: Buffer): string => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Serve one repository `org/model`. @param options.token what a request must carry, where the model is private. */
export async function serveHub(
  files: Record<string, ServerFile>,
  options: { token?: string; pageSize?: number } = {},
): Promise<HubServer> {
  const entries = Object.entries(files).map(([path, { bytes, isLarge }]) => ({
    type: 'file' as const,
    path,
    size: bytes.length,
    oid: isLarge ? sha1(Buffer.from('pointer')) : sha1(bytes),
    ...(isLarge && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }),
  }));
  const refuse = (response: ServerResponse, status: number, code: string): void => {
    response.writeHead(status, { 'x-error-code': code }).end('{}');
  };
  const hub = createServer((request, response) => {
    server.log.push(request.url as string);
    if (server.fault(request, response, 'hub')) return;
    if (options.token && request.headers.authorization !== `Bearer ${options.token}`)
      return refuse(response, 401, 'RepoNotFound');
    const url = new URL(request.url as string, server.url);
    const [, revision] = /^\/api\/models\/org\/model\/revision\/([^/?]+)/.exec(url.pathname) ?? [];
    if (revision) {
      if (!['main', 'v1', COMMIT].includes(revision)) return refuse(response, 404, 'RevisionNotFound');
      return void response.end(JSON.stringify({ _id: '1', id: 'org/model', sha: COMMIT }));
    }
    if (url.pathname === `/api/models/org/model/tree/${COMMIT}`) {
      const size = options.pageSize ?? 1000;
      const from = Number(url.searchParams.get('cursor') ?? 0);
      const more = from + size < entries.length;
      url.searchParams.set('cursor', String(from + size));
      response.writeHead(200, more ? { link: `<${url.href}>; rel="next"` } : {});
      return void response.end(JSON.stringify(entries.slice(from, from + size)));
    }
    const path = decodeURIComponent(/^\/org\/model\/resolve\/a{40}\/(.+)$/.exec(url.pathname)?.[1] ?? '');
    const file = files[path];
    if (!file) return refuse(response, 404, url.pathname.includes('/org/model/') ? 'EntryNotFound' : 'RepoNotFound');
    if (file.isLarge) return void response.writeHead(302, { location: `${server.cdn}/${path}` }).end();
    sendFile(request, response, file.bytes);
  });
  const cdn = createServer((request, response) => {
    server.log.push(`cdn:${request.url}`);
    server.cdnTokens.push(request.headers.authorization);
    if (server.fault(request, response, 'cdn')) return;
    const file = files[decodeURIComponent((request.url as string).slice(1))];
    if (file) sendFile(request, response, file.bytes);
    else response.writeHead(404).end();
  });
  function sendFile(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const body = bytes.subarray(start);
    response.writeHead(start > 0 ? 206 : 200, {
      'content-length': body.length,
      ...(start > 0 && { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` }),
    });
    if (server.cutAfter === null || body.length <= server.cutAfter) return void response.end(body);
    response.write(body.subarray(0, server.cutAfter), () => setTimeout(() => response.destroy(), 100));
  }
  const open = (one: Server): Promise<string> =>
    new Promise((resolve) => {
      one.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(one.address() as AddressInfo).port}`));
    });
  const server: HubServer = {
    url: await open(hub),
    cdn: await open(cdn),
    log: [],
    cdnTokens: [],
    fault: () => false,
    cutAfter: null,
    close: async () => {
      for (const one of [hub, cdn]) {
        one.closeAllConnections();
        await new Promise((resolve) => one.close(resolve));
      }
    },
  };
  return server;
}

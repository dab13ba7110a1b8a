// A server on this machine that speaks the Hub's API: revisions, trees in pages, files with ranges, large ones by a redirect to a second origin (the
// CDN), and the faults that transfers have.
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';

/** A file of the repository, held in memory. */
export interface HeldFile {
  readonly bytes: Buffer;
  readonly isLarge?: boolean;
}

/** A large file that is made as it is sent. */
export interface MadeFile {
  readonly size: number;
  readonly sha256: string;
  /** bytes from `start` to before `end` */
  make(start: number, end: number): Buffer;
}

export type ServerFile = HeldFile | MadeFile;

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

const PIECE_BYTES = 2 ** 18;

export const COMMIT = 'a'.repeat(40);

const sha1 = (bytes: Buffer): string => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Serve one repository `org/model`. @param options.token what a request must carry, where the model is private. */
export async function serveHub(
  files: Record<string, ServerFile>,
  options: { token?: string; pageSize?: number } = {},
): Promise<HubServer> {
  const entries = Object.entries(files).map(([path, file]) => {
    const size = sizeOf(file);
    const isLarge = isLargeFile(file);
    const hash = 'sha256' in file ? file.sha256 : isLarge ? sha256(file.bytes) : '';
    return {
      type: 'file' as const,
      path,
      size,
      oid: isLarge ? sha1(Buffer.from('pointer')) : sha1((file as HeldFile).bytes),
      ...(isLarge && { lfs: { oid: hash, size, pointerSize: 130 } }),
    };
  });
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
    if (isLargeFile(file)) return void response.writeHead(302, { location: `${server.cdn}/${path}` }).end();
    sendFile(request, response, file);
  });
  const cdn = createServer((request, response) => {
    server.log.push(`cdn:${request.url}`);
    server.cdnTokens.push(request.headers.authorization);
    if (server.fault(request, response, 'cdn')) return;
    const file = files[decodeURIComponent((request.url as string).slice(1))];
    if (file) sendFile(request, response, file);
    else response.writeHead(404).end();
  });
  function sendFile(request: IncomingMessage, response: ServerResponse, file: ServerFile): void {
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const size = sizeOf(file);
    response.writeHead(start > 0 ? 206 : 200, {
      'content-length': size - start,
      ...(start > 0 && { 'content-range': `bytes ${start}-${size - 1}/${size}` }),
    });
    const end = Math.min(size, start + (server.cutAfter ?? size));
    const body = Readable.from(listPieces(file, start, end));
    // A client that is gone takes no more.
    response.on('close', () => body.destroy());
    body.on('data', (piece: Buffer) => {
      if (response.write(piece)) return;
      body.pause();
      response.once('drain', () => body.resume());
    });
    body.on('end', () => {
      if (end === size) response.end();
      else setTimeout(() => response.destroy(), 100);
    });
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

const sizeOf = (file: ServerFile): number => ('bytes' in file ? file.bytes.length : file.size);
const isLargeFile = (file: ServerFile): boolean => !('bytes' in file) || file.isLarge === true;

function* listPieces(file: ServerFile, start: number, end: number): Generator<Buffer> {
  for (let at = start; at < end; at += PIECE_BYTES) {
    const until = Math.min(end, at + PIECE_BYTES);
    yield 'bytes' in file ? file.bytes.subarray(at, until) : file.make(at, until);
  }
}

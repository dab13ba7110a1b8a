// Requests to the Hub: the proxy variables honoured, the token sent to the Hub alone and to no host that it redirects to, what is temporary tried again.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Dispatcher, EnvHttpProxyAgent, fetch as undiciFetch } from 'undici';
import { AbortedError } from '../errors/errors.ts';
import type { HubSettings } from './settings.ts';

export interface HubHttp {
  /** One request, tried again on broken connections, 408, 429 and 5xx. @throws {HubUnreachable} no answer after all tries; {AbortedError}. */
  request(
    url: string,
    options?: { headers?: Record<string, string>; signal?: AbortSignal | undefined },
  ): Promise<Response>;
  /** waits before try 1, 2, … in ms */
  readonly waitsMs: readonly number[];
  close(): Promise<void>;
}

/** No answer from the server: no network, wrong name, refused, timed out. */
export class HubUnreachable extends Error {
  override name = 'HubUnreachable';
}

const WAITS_MS = [500, 1000, 2000, 4000, 8000];
/** No route, no name, nobody listening, a proxy that refuses. */
const ABSENT = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|EHOSTUNREACH|Proxy response \(4/;
/** If a server asks for a longer wait, the person has to try again later. */
const MAX_RETRY_AFTER_MS = 30_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** A transfer that brings nothing for so long is broken. */
const SILENCE_TIMEOUT_MS = 30_000;

/** Open the way to the Hub. @param options.waitsMs for tests. */
export function openHubHttp(settings: HubSettings, options: { waitsMs?: readonly number[] } = {}): HubHttp {
  const waitsMs = options.waitsMs ?? WAITS_MS;
  const agent: Dispatcher = new EnvHttpProxyAgent({
    connect: { timeout: CONNECT_TIMEOUT_MS },
    headersTimeout: SILENCE_TIMEOUT_MS,
    bodyTimeout: SILENCE_TIMEOUT_MS,
  });
  const hub = new URL(settings.endpoint).origin;
  const send = async (
    url: string,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
  ): Promise<Response> => {
    // fetch drops Authorization where a redirect leads to another origin.
    const own =
      settings.token !== null && new URL(url).origin === hub ? { authorization: `Bearer ${settings.token}` } : {};
    const init = {
      headers: { 'user-agent': 'duo', ...headers, ...own },
      dispatcher: agent,
      ...(signal ? { signal } : {}),
    };
    return (await undiciFetch(url, init)) as unknown as Response;
  };
  return {
    waitsMs,
    async request(url, { headers = {}, signal } = {}) {
      for (let attempt = 0; ; attempt++) {
        let waitMs = waitsMs[attempt];
        try {
          const response = await send(url, headers, signal);
          if (waitMs === undefined || !isTemporary(response.status)) return response;
          await response.body?.cancel();
          const asked = Number(response.headers.get('retry-after')) * 1000;
          if (asked > 0) waitMs = Math.min(asked, MAX_RETRY_AFTER_MS);
        } catch (cause) {
          if (signal?.aborted) throw new AbortedError('Stopped while asking the Hub.');
          // Without a network every start would wait; one more try distinguishes that from a short interruption.
          const isAbsent = attempt > 0 && ABSENT.test(describeCause(cause));
          if (waitMs === undefined || isAbsent) throw new HubUnreachable(describeCause(cause), { cause });
        }
        await pause(waitMs, signal);
      }
    },
    close: () => agent.close(),
  };
}

/** Wait, unless aborted. @throws {AbortedError}. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, signal ? { signal } : {});
  } catch {
    throw new AbortedError('Stopped while waiting for the Hub.');
  }
}

function isTemporary(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

/** The innermost reason, such as "connect ECONNREFUSED 127.0.0.1:1". */
export function describeCause(cause: unknown): string {
  let inner = cause;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  if (inner instanceof AggregateError && inner.errors[0] instanceof Error) inner = inner.errors[0];
  return inner instanceof Error ? inner.message || inner.name : String(inner);
}

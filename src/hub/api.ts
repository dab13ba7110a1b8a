// What the Hub says of a repository: the commit of a revision and its files with their sizes and hashes, asked through @huggingface/hub. Its refusals
// become sentences that say what to do.
import { listFiles, modelInfo } from '@huggingface/hub';
import { ModelError } from '../errors/errors.ts';
import type { HubFile } from './choose-files.ts';
import type { HubHttp } from './http.ts';
import type { HubName } from './hub-name.ts';
import type { HubSettings } from './settings.ts';

const COMMIT = /^[0-9a-f]{40}$/;
const HASH = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
/** Files of a repository that are looked at; the largest published ones have a few thousand. */
const MAX_FILES = 100_000;

export interface HubTree {
  readonly commit: string;
  readonly files: readonly HubFile[];
}

interface ApiContext {
  readonly name: HubName;
  readonly settings: HubSettings;
  readonly http: HubHttp;
  readonly signal?: AbortSignal | undefined;
}

/** The commit that a revision means now. @throws {ModelError} absent, gated, not allowed; {HubUnreachable}; {AbortedError}. */
export async function findHubCommit(context: ApiContext): Promise<string> {
  const { name, settings } = context;
  const found = await ask(context, (fetch) =>
    modelInfo({
      name: name.repository,
      revision: name.revision,
      hubUrl: settings.endpoint,
      fetch,
      additionalFields: ['sha'],
    }),
  );
  const commit = (found as { sha?: unknown }).sha;
  if (typeof commit === 'string' && COMMIT.test(commit)) return commit;
  throw new ModelError(
    `Expected the commit of ${describeHubName(name)} from ${settings.endpoint}, got \`${String(commit)}\`; check HF_ENDPOINT.`,
  );
}

/** The files of a commit. Errors as `findHubCommit`. */
export async function listHubFiles(context: ApiContext, commit: string): Promise<HubFile[]> {
  const { name, settings } = context;
  return ask(context, async (fetch) => {
    const files: HubFile[] = [];
    const repo = { type: 'model' as const, name: name.repository };
    for await (const entry of listFiles({
      repo,
      revision: commit,
      recursive: true,
      hubUrl: settings.endpoint,
      fetch,
    })) {
      if (entry.type !== 'file') continue;
      const etag = entry.lfs?.oid ?? entry.oid ?? '';
      const isSafe = !entry.path.split('/').some((part) => part === '' || part === '.' || part === '..');
      if (!isSafe || !HASH.test(etag) || !Number.isSafeInteger(entry.size) || entry.size < 0) {
        throw new ModelError(
          `Expected a path, a size and a hash of each file of ${describeHubName(name)}, got \`${JSON.stringify(entry).slice(0, 120)}\`.`,
        );
      }
      files.push({ path: entry.path, size: entry.lfs?.size ?? entry.size, etag, isLarge: entry.lfs !== undefined });
      if (files.length > MAX_FILES)
        throw new ModelError(`Expected at most ${MAX_FILES} files in ${name.repository}, got more.`);
    }
    return files;
  });
}

async function ask<T>(context: ApiContext, call: (fetch: typeof globalThis.fetch) => Promise<T>): Promise<T> {
  const { http, signal } = context;
  // Refusals are turned into errors before the library sees them: its messages are the server's.
  const own = async (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const headers = { ...(init?.headers as Record<string, string> | undefined) };
    const response = await http.request(url instanceof Request ? url.url : String(url), { headers, signal });
    if (!response.ok) throw await refusalOf(response, context);
    return response;
  };
  try {
    return await call(own as typeof globalThis.fetch);
  } catch (cause) {
    if (cause instanceof SyntaxError) {
      throw new ModelError(
        `Expected JSON from ${context.settings.endpoint}, got something else; check HF_ENDPOINT and the proxy.`,
        { cause },
      );
    }
    throw cause;
  }
}

/** Why the Hub does not give something, as one sentence with the cure. */
export async function refusalOf(
  response: Response,
  context: Pick<ApiContext, 'name' | 'settings'>,
): Promise<ModelError> {
  const { name, settings } = context;
  await response.body?.cancel();
  const code = response.headers.get('x-error-code') ?? '';
  const message = response.headers.get('x-error-message') ?? '';
  const { repository, revision } = name;
  const page = `${settings.endpoint}/${repository}`;
  const who =
    settings.token === null ? 'set HF_TOKEN to a token of an account that may' : 'use a token of an account that may';
  if (code === 'GatedRepo' || (response.status === 403 && /gated|restricted/i.test(message))) {
    return new ModelError(
      `Expected access to ${repository}, which is gated: accept its terms at ${page} and ${who} read it.`,
    );
  }
  if (code === 'RevisionNotFound') {
    return new ModelError(
      `Expected a branch, tag or commit \`${revision}\` of ${repository}, found none; see ${page}/tree/main.`,
    );
  }
  if (code === 'RepoNotFound' || response.status === 401 || response.status === 404) {
    const cure =
      settings.token === null
        ? `, or set HF_TOKEN if it is private`
        : '; the token in use may not read it, if it is private';
    return new ModelError(
      `Expected a model ${repository} on ${settings.endpoint}, found none; check the spelling${cure}.`,
    );
  }
  if (response.status === 403)
    return new ModelError(`Expected access to ${repository}, got a refusal (403); ${who} read it.`);
  if (response.status === 429)
    return new ModelError(
      `Expected an answer of ${settings.endpoint} for ${repository}, got too many requests (429); try again later, or with HF_TOKEN.`,
    );
  return new ModelError(
    `Expected an answer of ${settings.endpoint} for ${repository}, got ${response.status}${message ? ` (${message.slice(0, 200)})` : ''}; try again later.`,
  );
}

/** `org/name`, with the revision where it is not main. */
export function describeHubName({ repository, revision }: HubName): string {
  return revision === 'main' ? repository : `${repository}@${revision}`;
}

// A model of the Hub as a folder on this machine: from the Python tools' cache where it is whole, else by fetching what is missing into that cache.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { FormatError, ModelError } from '../errors/errors.ts';
import { ADAPTER_FILE, adapterError } from '../formats/adapter.ts';
import { describeHubName, findHubCommit, listHubFiles, refusalOf } from './api.ts';
import { ModelCache } from './cache.ts';
import { chooseGguf, chooseShards, chooseTextFiles, type HubFile, type HubNeed, INDEX_FILE } from './choose-files.ts';
import { downloadFile } from './download.ts';
import { type HubHttp, HubUnreachable, openHubHttp } from './http.ts';
import type { HubName } from './hub-name.ts';
import { type HubSettings, readHubSettings } from './settings.ts';

export interface FetchOptions {
  /** default: all of the model */
  readonly need?: HubNeed;
  readonly settings?: HubSettings;
  readonly signal?: AbortSignal | undefined;
  /** bytes there, and bytes in all, of what this call fetches */
  readonly onProgress?: (done: number, total: number) => void;
  /** called before weights are fetched */
  readonly onFetch?: (what: { bytes: number; folder: string }) => void;
  /** a sentence for people, on what is done instead of what was asked */
  readonly onNote?: (note: string) => void;
  /** for tests: waits before further tries, in ms */
  readonly waitsMs?: readonly number[];
}

/** Where a fetched model lies. */
export interface FetchedModel {
  /** the snapshot folder, or the GGUF file (the first of a split one) */
  readonly path: string;
  /** last part of the repository's name */
  readonly name: string;
  readonly commit: string;
}

/** Bring a model here. Files are in the cache whole and checked by size and hash when this returns; after a kill, the next call continues where it was.
 * @throws {ModelError} absent, gated, offline, without weights; {FileError} disk full, broken transfer; {AbortedError}. */
export async function fetchModel(name: HubName, options: FetchOptions = {}): Promise<FetchedModel> {
  const settings = options.settings ?? readHubSettings();
  const cache = new ModelCache(settings.cacheFolder, name.repository);
  const need = options.need ?? 'weights';
  if (settings.isOffline) return useCache({ name, cache, need, why: 'HF_HUB_OFFLINE is set' });
  const http = openHubHttp(settings, options.waitsMs ? { waitsMs: options.waitsMs } : {});
  try {
    return await fetchOnline({ name, cache, need, settings, http, options });
  } catch (cause) {
    if (!(cause instanceof HubUnreachable)) throw cause;
    const why = `${settings.endpoint} cannot be reached (${cause.message})`;
    const found = useCache({ name, cache, need, why });
    options.onNote?.(`${why}; ${describeHubName(name)} is taken from the cache as it was fetched last.`);
    return found;
  } finally {
    await http.close();
  }
}

interface Context {
  readonly name: HubName;
  readonly cache: ModelCache;
  readonly need: HubNeed;
  readonly settings: HubSettings;
  readonly http: HubHttp;
  readonly options: FetchOptions;
}

async function fetchOnline(context: Context): Promise<FetchedModel> {
  const { name, cache, need, options } = context;
  const { signal } = options;
  const commit = await findHubCommit({ ...context, signal });
  // A part of what is needed may be in the cache, such as all but the chat template: only the list says what is missing.
  const files = await listHubFiles({ ...context, signal }, commit);
  if (name.quantisation !== null) {
    const parts = chooseGguf(files, name.quantisation, name.repository);
    await fetchAll(context, commit, parts);
    cache.writeRef(name.revision, commit);
    return finish(context, commit, (parts[0] as HubFile).path);
  }
  const adapter = files.find(({ path }) => path === ADAPTER_FILE);
  if (adapter !== undefined) throw await refuseAdapter(context, { commit, files, adapter });
  const texts = chooseTextFiles(files, need);
  const index = need === 'weights' ? files.find(({ path }) => path === INDEX_FILE) : undefined;
  if (!texts.some(({ path }) => path === 'config.json')) throw noConfig(files, name);
  if (index) await fetchAll(context, commit, [index]);
  const shards =
    need === 'weights'
      ? chooseShards(files, index ? readShards(join(cache.snapshot(commit), INDEX_FILE)) : null, name.repository)
      : [];
  await fetchAll(context, commit, [...texts, ...shards]);
  cache.writeRef(name.revision, commit);
  return finish(context, commit, null);
}

/** An adapter is refused as one in a folder is, with its base model's name from its settings. */
async function refuseAdapter(
  context: Context,
  found: { commit: string; files: readonly HubFile[]; adapter: HubFile },
): Promise<ModelError> {
  const { commit, files, adapter } = found;
  await fetchAll({ ...context, need: 'config' }, commit, [adapter]);
  const isAlone = !files.some(({ path }) => path === 'config.json');
  return adapterError(join(context.cache.snapshot(commit), ADAPTER_FILE), {
    place: describeHubName(context.name),
    isAlone,
  });
}

function finish({ name, cache }: Pick<Context, 'name' | 'cache'>, commit: string, file: string | null): FetchedModel {
  const folder = cache.snapshot(commit);
  return { path: file === null ? folder : join(folder, file), name: basename(name.repository), commit };
}

async function fetchAll(context: Context, commit: string, files: readonly HubFile[]): Promise<void> {
  const { name, cache, need, settings, http, options } = context;
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const missing = files.filter((file) => !cache.has(commit, file.path, file.size));
  const bytes = missing.reduce((sum, { size }) => sum + size, 0);
  if (need === 'weights' && bytes > 0) options.onFetch?.({ bytes, folder: cache.folder });
  let before = total - bytes;
  for (const file of missing) {
    const done = before;
    await downloadFile({
      url: `${settings.endpoint}/${name.repository}/resolve/${commit}/${file.path.split('/').map(encodeURIComponent).join('/')}`,
      file,
      path: cache.blob(file.etag),
      http,
      signal: options.signal,
      onProgress: (bytes) => options.onProgress?.(done + bytes, total),
      refuse: (response) => refusalOf(response, context),
    });
    cache.link(commit, file.path, file.etag);
    before += file.size;
    options.onProgress?.(before, total);
  }
}

/** The model of a commit where the cache holds all of it that is needed, else null. */
function findWhole(parts: { name: HubName; cache: ModelCache; need: HubNeed; commit: string }): FetchedModel | null {
  const { name, cache, need, commit } = parts;
  // A GGUF file's whole name is known only from the list of files.
  if (name.quantisation !== null || !cache.has(commit, 'config.json')) return null;
  if (need !== 'config' && !cache.has(commit, 'tokenizer.json')) return null;
  if (need === 'weights') {
    const shards = cache.has(commit, INDEX_FILE)
      ? readShards(join(cache.snapshot(commit), INDEX_FILE))
      : ['model.safetensors'];
    if (!shards.every((shard) => cache.has(commit, shard))) return null;
  }
  return finish({ name, cache }, commit, null);
}

function useCache(parts: { name: HubName; cache: ModelCache; need: HubNeed; why: string }): FetchedModel {
  const { name, cache, why } = parts;
  const commit = cache.findCommit(name.revision);
  const found =
    commit === null ? null : name.quantisation === null ? findWhole({ ...parts, commit }) : findGguf(parts, commit);
  if (found) return found;
  throw new ModelError(
    `Expected ${describeHubName(name)} in the cache ${cache.folder}, because ${why}, found ${commit === null ? 'none' : 'a part of it'}; fetch it once with a connection, or pass a folder.`,
  );
}

function findGguf({ name, cache }: { name: HubName; cache: ModelCache }, commit: string): FetchedModel | null {
  const quantisation = name.quantisation as string;
  const folder = cache.snapshot(commit);
  const files = listFolder(folder).map((path) => ({ path, size: 0, etag: '', isLarge: true }));
  try {
    return finish({ name, cache }, commit, (chooseGguf(files, quantisation, name.repository)[0] as HubFile).path);
  } catch {
    return null;
  }
}

function readShards(path: string): string[] {
  let map: unknown;
  try {
    map = (JSON.parse(readFileSync(path, 'utf8')) as { weight_map?: unknown } | null)?.weight_map;
  } catch (cause) {
    throw new FormatError(`Expected ${path} to hold JSON, but: ${(cause as Error).message}; remove it and run again.`, {
      cause,
    });
  }
  const shards = typeof map === 'object' && map !== null ? Object.values(map) : [];
  const isSafe = (shard: unknown): shard is string => typeof shard === 'string' && /^[\w.-]+\.safetensors$/.test(shard);
  if (shards.length === 0 || !shards.every(isSafe)) {
    throw new FormatError(
      `Expected \`weight_map\` of ${path} to name *.safetensors files in its folder, got something else.`,
    );
  }
  return [...new Set(shards)];
}

function noConfig(files: readonly HubFile[], name: HubName): ModelError {
  const gguf = files.find(({ path }) => path.toLowerCase().endsWith('.gguf'));
  const cure = gguf
    ? `it holds GGUF files such as ${gguf.path}: name a quantisation, as ${name.repository}:Q4_K_M`
    : 'it is not a model of the transformers library';
  return new ModelError(`Expected config.json in ${describeHubName(name)}, found none; ${cure}.`);
}

function listFolder(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }) : [];
}

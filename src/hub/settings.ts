// What the environment says about the Hub, by the names and rules of the Python tools (huggingface_hub, `constants.py`): where the cache is, which token
// is used, which server is asked, and whether one is asked at all.
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

export interface HubSettings {
  /** without a slash at its end */
  readonly endpoint: string;
  /** folder with `models--org--name` */
  readonly cacheFolder: string;
  /** null where there is none */
  readonly token: string | null;
  /** only the cache is used */
  readonly isOffline: boolean;
}

const TRUE = new Set(['1', 'on', 'yes', 'true']);
const DEFAULT_ENDPOINT = 'https://huggingface.co';

/** Read HF_ENDPOINT, HF_HUB_CACHE (HUGGINGFACE_HUB_CACHE), HF_HOME, XDG_CACHE_HOME, HF_TOKEN (HUGGING_FACE_HUB_TOKEN), HF_TOKEN_PATH,
 * HF_HUB_DISABLE_IMPLICIT_TOKEN and HF_HUB_OFFLINE (TRANSFORMERS_OFFLINE). An empty variable counts as absent. */
export function readHubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const value = (...names: string[]): string | undefined => names.map((name) => env[name]?.trim()).find(Boolean);
  const isTrue = (...names: string[]): boolean => TRUE.has((value(...names) ?? '').toLowerCase());
  const home = expand(value('HF_HOME') ?? join(expand(value('XDG_CACHE_HOME') ?? '~/.cache'), 'huggingface'));
  const cacheFolder = expand(value('HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub'));
  const tokenPath = expand(value('HF_TOKEN_PATH') ?? join(home, 'token'));
  const named = value('HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN');
  return {
    endpoint: (value('HF_ENDPOINT') ?? DEFAULT_ENDPOINT).replace(/\/+$/, ''),
    cacheFolder,
    token: named ?? (isTrue('HF_HUB_DISABLE_IMPLICIT_TOKEN') ? null : readToken(tokenPath)),
    isOffline: isTrue('HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'),
  };
}

function expand(path: string): string {
  return resolve(path.replace(/^~(?=$|\/)/, homedir()));
}

function readToken(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim() || null;
  } catch {
    return null; // no token file: public models need none
  }
}

// Finds and loads the native library through koffi, once per process, and binds every function of abi.ts.
// Pointers cross as typed arrays, handles as 64-bit numbers (the library never dereferences them), so no address is ever seen here.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EngineError } from '../errors/errors.ts';
import { ABI_VERSION, FUNCTIONS, type FunctionName } from './abi.ts';

/** A bound function: called at once, or on a worker thread with a callback. */
export interface BoundFunction {
  (...values: unknown[]): unknown;
  async(...values: unknown[]): void;
}

export type Library = { readonly path: string; readonly functions: Readonly<Record<FunctionName, BoundFunction>> };

/** Names the library to load before any other place. */
const PATH_VARIABLE = 'DUO_NATIVE_LIBRARY';
const REMEDY = 'build it with `duo build`, or use --engine tensorflow';

/** Of the packages that scripts/release.mjs makes, after platform and processor. */
const PLATFORM_PACKAGES = ['-cuda', ''];

let loaded: Library | undefined;

/** Where the library is, without loading it. `path` null: `reason` says what was tried and what to do. */
export function findLibrary(explicitPath?: string): { path: string | null; reason: string } {
  const tried = listCandidates(explicitPath);
  const path = tried.find((candidate) => existsSync(candidate)) ?? null;
  if (path !== null) return { path, reason: '' };
  return { path, reason: `Expected the native library at ${tried.join(' or ')}, found none; ${REMEDY}` };
}

/** The library of this process, loaded at the first call. Later calls give the same one, whatever `explicitPath` says.
 * @throws {EngineError} none found, it does not load, or it is of another version. */
export function loadLibrary(explicitPath?: string): Library {
  if (loaded !== undefined) return loaded;
  const { path, reason } = findLibrary(explicitPath);
  if (path === null) throw new EngineError(reason);
  loaded = bindLibrary(path);
  return loaded;
}

function listCandidates(explicitPath: string | undefined): string[] {
  const named = explicitPath ?? process.env[PATH_VARIABLE];
  // If a path was named, no other is tried in its place.
  if (named) return [resolve(named)];
  const name = process.platform === 'darwin' ? 'libduo.dylib' : 'libduo.so';
  // A library built here matches these sources; then those that came with npm, the one with CUDA first: it also works without a GPU.
  const built = join(findPackageFolder(), 'kernels', 'build', name);
  return [
    built,
    ...PLATFORM_PACKAGES.flatMap((suffix) => findPackaged(`${process.platform}-${process.arch}${suffix}`, name)),
  ];
}

/** Where the library of a platform package lies, if that package is installed. */
function findPackaged(platform: string, name: string): string[] {
  try {
    return [join(dirname(createRequire(import.meta.url).resolve(`duo-heads-${platform}/package.json`)), name)];
  } catch {
    return [];
  }
}

/** The folder with kernels/: two above src/native, three above dist/src/native. */
function findPackageFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

interface Koffi {
  load(path: string): { func(name: string, result: string, parameters: string[]): BoundFunction };
}

function bindLibrary(path: string): Library {
  try {
    // Loaded on demand: a machine without koffi's binary still has the tensorflow engine.
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    const handle = koffi.load(path);
    const version = handle.func('duo_abi_version', 'int32_t', [])();
    if (version !== ABI_VERSION) {
      throw new EngineError(
        `Expected ABI version ${ABI_VERSION} of ${path}, got ${version}; ${REMEDY.replace('build', 'rebuild')}`,
      );
    }
    const functions: Record<string, BoundFunction> = {};
    for (const [name, { result, parameters }] of Object.entries(FUNCTIONS)) {
      functions[name] = handle.func(
        name,
        toKoffiType(result),
        parameters.map(([type]) => toKoffiType(type)),
      );
    }
    return { path, functions: functions as Record<FunctionName, BoundFunction> };
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    throw new EngineError(`Expected to load the native library ${path}: ${(cause as Error).message}; ${REMEDY}`, {
      cause,
    });
  }
}

function toKoffiType(type: string): string {
  if (/^duo_(task|model|session)_t \*$/.test(type)) return 'uint64_t';
  if (type === 'const char *') return 'const char *';
  if (type === 'const char *const *') return 'const char **';
  return type.includes('*') ? 'void *' : type;
}

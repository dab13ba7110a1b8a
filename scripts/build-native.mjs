// Builds kernels/ into kernels/build/libduo.so with CMake. Run by `npm install` (--optional) and by `duo build`.
//   --optional  a missing tool or a failed build is one sentence and exit code 0: the tensorflow engine serves without the library
//   --cuda      build the CUDA part even where no GPU is present (without the flag: only where nvcc and a GPU are there, because
//               compiling for cards that are not there takes minutes)
//   --no-cuda   never build the CUDA part      --force  build although the sources are unchanged
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const KERNELS = join(ROOT, 'kernels');
const BUILD = join(KERNELS, 'build');
const LIBRARY = join(BUILD, process.platform === 'darwin' ? 'libduo.dylib' : 'libduo.so');
const STAMP = join(BUILD, 'sources.sha256');
const SOURCE_FOLDERS = ['include', 'core', 'cpu', 'cuda'];
const OLDEST_CMAKE = [3, 20];
const FLAGS = ['--optional', '--cuda', '--no-cuda', '--force'];
/** Lines of a failed build's output that are shown. */
const SHOWN_LINES = 20;

/** A reason that the library cannot be built, as one sentence. */
class BuildError extends Error {}

main(process.argv.slice(2));

function main(flags) {
  const isOptional = flags.includes('--optional');
  try {
    const unknown = flags.find((flag) => !FLAGS.includes(flag));
    if (unknown) throw new BuildError(`Expected flags among ${FLAGS.join(', ')}, got \`${unknown}\``);
    buildLibrary(flags);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    if (isOptional) {
      const [reason] = error.message.split('\n');
      console.error(
        `duo: the native library was not built: ${reason}; the tensorflow engine serves, \`duo build\` tries again.`,
      );
      return;
    }
    console.error(error.message);
    process.exitCode = 1;
  }
}

function buildLibrary(flags) {
  const isOptional = flags.includes('--optional');
  const wantsCuda = flags.includes('--cuda') || (!flags.includes('--no-cuda') && hasGpu() && findTool('nvcc'));
  const stamp = makeStamp(wantsCuda);
  if (!flags.includes('--force') && isUpToDate(stamp, isOptional)) {
    if (!isOptional) console.error(`duo: ${LIBRARY} is up to date.`);
    return;
  }
  requireTools();
  if (flags.includes('--cuda') && !findTool('nvcc'))
    throw new BuildError('nvcc was not found: install the CUDA toolkit');
  mkdirSync(BUILD, { recursive: true });
  const generator = chooseGenerator();
  const configure = [
    '-S',
    KERNELS,
    '-B',
    BUILD,
    '-G',
    generator,
    '-DCMAKE_BUILD_TYPE=Release',
    '-DDUO_TESTS=OFF',
    '-DDUO_SANITIZE=',
  ];
  runTool('cmake', [...configure, `-DDUO_CUDA=${wantsCuda ? 'ON' : 'OFF'}`], isOptional);
  runTool('cmake', ['--build', BUILD, '--target', 'duo', '--parallel', String(availableParallelism())], isOptional);
  if (!existsSync(LIBRARY)) throw new BuildError(`the build ended without ${LIBRARY}`);
  writeFileSync(STAMP, stamp);
  if (!isOptional) console.error(`duo: built ${LIBRARY}${wantsCuda ? ' with CUDA' : ''}.`);
}

/** Hash of every source, and whether CUDA is in; one line each. */
function makeStamp(wantsCuda) {
  const hash = createHash('sha256');
  const files = SOURCE_FOLDERS.flatMap((folder) => listFiles(join(KERNELS, folder)));
  for (const file of [join(KERNELS, 'CMakeLists.txt'), ...files]) {
    hash.update(file.slice(KERNELS.length)).update('\0').update(readFileSync(file)).update('\0');
  }
  return `${hash.digest('hex')}\n${wantsCuda ? 'cuda' : 'cpu'}\n`;
}

/** An install keeps a library that `duo build --cuda` made of the same sources. */
function isUpToDate(stamp, isOptional) {
  if (!existsSync(LIBRARY) || !existsSync(STAMP)) return false;
  const built = readFileSync(STAMP, 'utf8');
  return built === stamp || (isOptional && built === stamp.replace('\ncpu\n', '\ncuda\n'));
}

function listFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function requireTools() {
  const version = spawnSync('cmake', ['--version'], { encoding: 'utf8' });
  const found = /version (\d+)\.(\d+)/.exec(version.stdout ?? '');
  const oldest = OLDEST_CMAKE.join('.');
  if (version.status !== 0 || !found) throw new BuildError(`CMake ${oldest} or newer was not found: install cmake`);
  const [major, minor] = [Number(found[1]), Number(found[2])];
  if (major < OLDEST_CMAKE[0] || (major === OLDEST_CMAKE[0] && minor < OLDEST_CMAKE[1])) {
    throw new BuildError(`CMake ${oldest} or newer is needed, found ${major}.${minor}: install a newer cmake`);
  }
  const compiler = [process.env.CXX, 'c++', 'g++', 'clang++'].find((name) => name && findTool(name.split(' ')[0]));
  if (!compiler) throw new BuildError('a C++17 compiler was not found: install g++ or clang++');
}

/** A build folder keeps the generator it was made with. */
function chooseGenerator() {
  const cache = join(BUILD, 'CMakeCache.txt');
  const kept = existsSync(cache) && /^CMAKE_GENERATOR:INTERNAL=(.+)$/m.exec(readFileSync(cache, 'utf8'));
  if (kept) return kept[1];
  if (findTool('ninja')) return 'Ninja';
  if (findTool('make')) return 'Unix Makefiles';
  throw new BuildError('neither ninja nor make was found: install one of them');
}

function findTool(name) {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0;
}

function hasGpu() {
  return spawnSync('nvidia-smi', ['-L'], { stdio: 'ignore' }).status === 0;
}

function runTool(name, values, isQuiet) {
  const result = spawnSync(name, values, {
    encoding: 'utf8',
    stdio: isQuiet ? 'pipe' : ['ignore', 'inherit', 'inherit'],
  });
  if (result.status === 0) return;
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim().split('\n').slice(-SHOWN_LINES).join('\n');
  throw new BuildError(`\`${name} ${values.join(' ')}\` failed${output ? `:\n${output}` : ''}`);
}

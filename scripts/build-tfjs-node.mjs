// Builds @tensorflow/tfjs-node 4.22.0 against a TensorFlow that is on this machine, where its own install step knows none: newer Node, newer
// CUDA, no download. The libraries and headers are those of the Python wheels tensorflow-cpu (run with 2.21) or tensorflow (GPU: never run).
// Usage: node scripts/build-tfjs-node.mjs <tensorflow-….whl | folder with libtensorflow_cc.so.2 and include/>
//   pip download --no-deps tensorflow-cpu==2.21.0      gives such a wheel; a virtual environment has the folder site-packages/tensorflow.
// Needs python3, make and a C++ compiler, as node-gyp does; Linux. The package goes into node_modules/ of this clone.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeRunner } from './run-program.mjs';

const { fail, run } = makeRunner('build-tfjs-node');

const VERSION = '4.22.0';
const NAME = '@tensorflow/tfjs-node';
const NAPI_VERSION = 8;
const root = fileURLToPath(new URL('..', import.meta.url));
const modules = join(root, 'node_modules');

/** The folder of TensorFlow's libraries and headers; a wheel is unpacked beside the package. */
function openTensorflow(given) {
  if (given === undefined)
    fail('Expected a TensorFlow wheel, or a folder that holds one unpacked, as the only argument.');
  const path = resolve(given);
  if (!existsSync(path)) fail(`Expected a TensorFlow wheel or folder at ${path}, found nothing there.`);
  if (!path.endsWith('.whl')) return path;
  const folder = join(root, 'node_modules', '.tensorflow');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  console.log(`unpacking ${path}`);
  run('python3', ['-m', 'zipfile', '-e', path, folder]);
  return join(folder, 'tensorflow');
}

/** Where packages of `folder` stand, scoped ones included: "name" or "@scope/name". */
function listPackages(folder) {
  return readdirSync(folder)
    .filter((name) => !name.startsWith('.'))
    .flatMap((name) =>
      name.startsWith('@') ? readdirSync(join(folder, name)).map((own) => `${name}/${own}`) : [name],
    );
}

const versionOf = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version;

/** npm does not install an optional peer of the package that it stands in, so it is installed elsewhere and moved: what is here already in
 * the same version is shared (tfjs has one engine in a process), what is here in another stays inside the package. */
function installPackage() {
  const target = join(modules, NAME);
  rmSync(target, { recursive: true, force: true });
  const place = mkdtempSync(join(tmpdir(), 'tfjs-node-'));
  try {
    writeFileSync(join(place, 'package.json'), JSON.stringify({ private: true, dependencies: { [NAME]: VERSION } }));
    console.log(`installing ${NAME} ${VERSION}`);
    run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: place });
    const from = join(place, 'node_modules');
    for (const name of [NAME, ...listPackages(from).filter((other) => other !== NAME)]) {
      const own = join(modules, name);
      if (existsSync(own) && versionOf(own) === versionOf(join(from, name))) continue;
      const to = existsSync(own) ? join(target, 'node_modules', name) : own;
      cpSync(join(from, name), to, { recursive: true });
    }
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
  return target;
}

/** Link the libraries and headers where binding.gyp looks for them. @returns the folder of libraries. */
function linkTensorflow(target, tensorflow) {
  const library = join(tensorflow, 'libtensorflow_cc.so.2');
  const framework = join(tensorflow, 'libtensorflow_framework.so.2');
  for (const path of [library, framework, join(tensorflow, 'include', 'tensorflow', 'c', 'c_api.h')]) {
    if (!existsSync(path)) fail(`Expected ${path} in the TensorFlow given, found none; wheels since 2.16 have it.`);
  }
  const folder = join(target, 'deps', 'lib');
  mkdirSync(folder, { recursive: true });
  symlinkSync(join(tensorflow, 'include'), join(target, 'deps', 'include'));
  // The names that the linker asks for, and those that the loader asks for at run time.
  symlinkSync(library, join(folder, 'libtensorflow.so'));
  symlinkSync(library, join(folder, 'libtensorflow_cc.so.2'));
  symlinkSync(framework, join(folder, 'libtensorflow_framework.so'));
  symlinkSync(framework, join(folder, 'libtensorflow_framework.so.2'));
}

/** node-gyp as npm brings it, with the headers of this Node where they are installed (else node-gyp fetches them). */
function build(target) {
  const gyp = join(run('npm', ['root', '-g']).trim(), 'npm', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  if (!existsSync(gyp)) fail(`Expected node-gyp where npm keeps it, ${gyp}, found none; install npm globally.`);
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
  const module = [`--module_name=tfjs_binding`, `--module_path=${join(target, 'lib', `napi-v${NAPI_VERSION}`)}`];
  run(process.execPath, [gyp, 'rebuild', ...headers, ...module, `--napi_version=${NAPI_VERSION}`], {
    cwd: target,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** One product in a process of its own, as duo loads the package. */
function check() {
  const script = `
    const util = require('node:util');
    util.isNullOrUndefined ??= (value) => value === null || value === undefined;
    process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
    const tf = require('${NAME}');
    const [value] = tf.matMul([[1, 2]], [[3], [4]]).dataSync();
    console.log(value, tf.version['tensorflow'] ?? '', tf.backend().binding?.TF_Version ?? '');`;
  const printed = run(process.execPath, ['-e', script], { cwd: root });
  if (!printed.trim().startsWith('11'))
    fail(`Expected the built package to multiply to 11, got \`${printed.trim()}\`.`);
}

if (process.platform !== 'linux') fail(`Expected Linux, whose wheels have the libraries, got ${process.platform}.`);
const tensorflow = openTensorflow(process.argv[2]);
const target = installPackage();
linkTensorflow(target, tensorflow);
console.log('compiling the binding');
build(target);
check();
console.log(`${NAME} ${VERSION} computes with ${tensorflow}; duo takes it by --engine tensorflow --backend node.`);

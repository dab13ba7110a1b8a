// Makes what is published: the platform packages with the native library compiled, so that nobody needs a compiler, and the package itself,
// which names them as optional dependencies. Nothing is uploaded.
// Usage: node scripts/release.mjs [--out <folder, default release>] [--packages linux-x64,linux-x64-cuda,linux-arm64; default: all]
//   [--build <folder>]: where the one package of --packages is compiled, going on from what is there (default kernels/build-release-<package>)
// Needs CMake, a C++17 compiler and objdump; for linux-x64-cuda nvcc (SASS for sm_80, 86, 89, 90a, 100 and 120, PTX of compute_80 behind
// them; no GPU needed), for linux-arm64 on another processor aarch64-linux-gnu-g++.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeRunner } from './run-program.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const { fail, run } = makeRunner('release', { cwd: ROOT });
/** Ubuntu 22.04's */
const NEWEST_GLIBC = [2, 35];
const isArm = process.arch === 'arm64';
const CROSS_ARM = [
  '-DCMAKE_SYSTEM_NAME=Linux',
  '-DCMAKE_SYSTEM_PROCESSOR=aarch64',
  '-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++',
];
const PACKAGES = {
  'linux-x64': { cpu: 'x64', cmake: ['-DDUO_CUDA=OFF'], about: 'CPU' },
  'linux-x64-cuda': { cpu: 'x64', cmake: ['-DDUO_CUDA=ON', '-DDUO_CUDA_ARCHITECTURES=release'], about: 'CPU and CUDA' },
  'linux-arm64': { cpu: 'arm64', cmake: ['-DDUO_CUDA=OFF', ...(isArm ? [] : CROSS_ARM)], about: 'CPU' },
};

const { values: flags } = parseArgs({
  options: { out: { type: 'string' }, packages: { type: 'string' }, build: { type: 'string' } },
});
const out = resolve(flags.out ?? join(ROOT, 'release'));
const names = flags.packages?.split(',') ?? Object.keys(PACKAGES);
const unknown = names.find((name) => !(name in PACKAGES));
if (unknown !== undefined) fail(`Expected --packages among ${Object.keys(PACKAGES).join(', ')}, got \`${unknown}\`.`);
if (flags.build !== undefined && names.length !== 1) fail('Expected one package in --packages together with --build.');
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

mkdirSync(out, { recursive: true });
for (const name of names) makePlatformPackage(name);
makeMainPackage();

function versionOf(program, ...values) {
  const { status, stdout } = spawnSync(program, values, { encoding: 'utf8' });
  return status === 0
    ? stdout
        .trim()
        .split('\n')
        .at(program === 'nvcc' ? -1 : 0)
    : null;
}

function makePlatformPackage(name) {
  const { cpu, cmake, about } = PACKAGES[name];
  const build = resolve(flags.build ?? join(ROOT, 'kernels', `build-release-${name}`));
  console.log(`${name}: compiling`);
  run('cmake', ['-S', join(ROOT, 'kernels'), '-B', build, '-DCMAKE_BUILD_TYPE=Release', '-DDUO_TESTS=OFF', ...cmake]);
  run('cmake', ['--build', build, '--target', 'duo', '--parallel', String(availableParallelism())]);
  const cross = cpu === 'arm64' && !isArm;
  const tool = (plain) => (cross ? `aarch64-linux-gnu-${plain}` : plain);
  const work = mkdtempSync(join(tmpdir(), 'duo-release-'));
  try {
    const library = join(work, 'libduo.so');
    copyFileSync(join(build, 'libduo.so'), library);
    run(tool('strip'), ['--strip-unneeded', library]);
    const glibc = checkGlibc(run(tool('objdump'), ['-T', library]), name);
    const provenance = {
      library: `sha256:${createHash('sha256').update(readFileSync(library)).digest('hex')}`,
      commit: run('git', ['rev-parse', 'HEAD']).trim(),
      isClean: run('git', ['status', '--porcelain', '--untracked-files=no']).trim() === '',
      compiler: versionOf(tool('g++'), '--version'),
      cmake: versionOf('cmake', '--version'),
      ...(about.includes('CUDA') ? { nvcc: versionOf('nvcc', '--version') } : {}),
      flags: cmake,
      glibc,
      builtAt: new Date().toISOString(),
    };
    writeFileSync(join(work, 'PROVENANCE.json'), `${JSON.stringify(provenance, null, 2)}\n`);
    const own = {
      name: `${manifest.name}-${name}`,
      version: manifest.version,
      description: `The native library of ${manifest.name} for ${name}: ${about}.`,
      license: manifest.license,
      os: ['linux'],
      cpu: [cpu],
      libc: ['glibc'],
      files: ['libduo.so', 'PROVENANCE.json'],
    };
    writeFileSync(join(work, 'package.json'), `${JSON.stringify(own, null, 2)}\n`);
    writeFileSync(
      join(work, 'README.md'),
      `# ${own.name}\n\n${own.description} Installed with \`${manifest.name}\`; not for use by itself.\n`,
    );
    copyFileSync(join(ROOT, 'LICENSE'), join(work, 'LICENSE'));
    pack(work);
    console.log(`${name}: needs glibc ${glibc}`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The newest glibc that a library asks for. */
function checkGlibc(symbols, name) {
  const versions = [...symbols.matchAll(/GLIBC_(\d+)\.(\d+)/g)].map(([, major, minor]) => [
    Number(major),
    Number(minor),
  ]);
  const newest = versions.reduce((a, b) => (b[0] > a[0] || (b[0] === a[0] && b[1] > a[1]) ? b : a), [0, 0]);
  if (newest[0] > NEWEST_GLIBC[0] || newest[1] > NEWEST_GLIBC[1]) {
    fail(
      `Expected the library of ${name} to load on glibc ${NEWEST_GLIBC.join('.')}, it asks for ${newest.join('.')}.`,
    );
  }
  return newest.join('.');
}

/** The package as `npm pack` makes it, with the platform packages of the same version as optional dependencies. */
function makeMainPackage() {
  const work = mkdtempSync(join(tmpdir(), 'duo-release-'));
  try {
    run('npm', ['run', '--silent', 'build']);
    run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', work]);
    const [archive] = readdirSync(work);
    run('tar', ['xzf', join(work, archive), '-C', work]);
    const folder = join(work, 'package');
    const optionalDependencies = Object.fromEntries(
      Object.keys(PACKAGES).map((name) => [`${manifest.name}-${name}`, manifest.version]),
    );
    const { scripts: _, devDependencies: __, ...published } = manifest;
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify({ ...published, optionalDependencies }, null, 2)}\n`);
    pack(folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function pack(folder) {
  const archive = run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', out], { cwd: folder })
    .trim()
    .split('\n')
    .at(-1);
  if (!existsSync(join(out, archive))) fail(`Expected npm to pack ${archive}, found none in ${out}.`);
  console.log(join(out, archive));
}

// A copy of kernels/ whose files may be changed, its build under the CUDA emulation, and runs of its test programs.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join, relative } from 'node:path';

const WAIT_SECONDS = 3600; // of a clock, for a test that waits without computing
const OUTPUT_KEPT = 200000; // characters at the end of what a command prints

/** Runs a command; `until`: ends it and its children once the output matches. */
function run(command, parameters, { until, ...options } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...options });
    const kill = () => {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {} // it has ended by itself
    };
    let output = '';
    let isStopped = false;
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        output = (output + data).slice(-OUTPUT_KEPT);
        if (!isStopped && until?.test(output)) {
          isStopped = true;
          kill();
        }
      });
    const timer = setTimeout(kill, WAIT_SECONDS * 1000);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ ok: code === 0, code, signal, isStopped, output });
    });
  });
}

const listFiles = (folder) =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? listFiles(path) : [path];
  });

export const programOf = (test) => test.split(' ')[0];

export class Tree {
  /** @param folder where the copy and its build are, kept from run to run.  @param jobs compilers at a time. */
  constructor(kernels, folder, jobs) {
    this.kernels = kernels;
    this.root = join(folder, 'kernels');
    this.build = join(folder, 'build');
    this.folder = folder;
    this.jobs = jobs;
  }

  /** Makes the copy that of now, with `changes` (path: text) in place; what has not changed is not written again. */
  fill(changes = new Map()) {
    const wanted = new Set(changes.keys());
    for (const entry of readdirSync(this.kernels)) {
      if (entry.startsWith('build')) continue;
      const from = join(this.kernels, entry);
      for (const path of statSync(from).isDirectory() ? listFiles(from) : [from]) {
        const name = relative(this.kernels, path);
        wanted.add(name);
        if (!changes.has(name)) this.#put(name, readFileSync(path));
      }
    }
    for (const [name, text] of changes) this.#put(name, Buffer.from(text));
    for (const path of listFiles(this.root)) {
      if (!wanted.has(relative(this.root, path))) rmSync(path);
    }
  }
  #put(name, bytes) {
    const path = join(this.root, name);
    if (existsSync(path) && readFileSync(path).equals(bytes)) return;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  }
  write(name, text) {
    this.#put(name, Buffer.from(text));
  }

  async configure() {
    const has = (program) => spawnSync(program, ['--version']).status === 0;
    const options = [
      ...(has('ninja') ? ['-G', 'Ninja'] : []),
      ...(has('ccache') ? ['-DCMAKE_CXX_COMPILER_LAUNCHER=ccache'] : []),
      '-DCMAKE_BUILD_TYPE=Release',
      '-DDUO_CUDA=EMULATED',
      '-DDUO_TESTS=ON',
    ];
    const configured = await run('cmake', ['-S', this.root, '-B', this.build, ...options]);
    if (!configured.ok) throw new Error(configured.output);
    this.isNinja = has('ninja');
  }

  /** Builds test programs, to the last error. Paths are relative to ccache, so that copies share what they compile. */
  compile(programs) {
    const parameters = ['--build', this.build, '--parallel', String(this.jobs), '--target', ...programs];
    return run('cmake', [...parameters, '--', ...(this.isNinja ? ['-k', '0'] : ['-k'])], {
      env: { ...process.env, CCACHE_BASEDIR: this.folder, CCACHE_NOHASHDIR: '1' },
    });
  }

  /** Runs a test for at most `seconds` of CPU time, so that a busy machine makes no mutant look caught; `first`: to its
   * first failed check. With `number` that mutant of a program of conditions. Adds the seconds that it took. */
  async test(test, { seconds, first = false, number = 0 }) {
    const [program, ...parameters] = test.split(' ');
    const limited = `(ulimit -t ${seconds}; exec stdbuf -oL "$@"); code=$?; times; exit $code`;
    const command = [join(this.build, 'tests/cuda', program), ...parameters];
    const done = await run('bash', ['-c', limited, 'test', ...command], {
      env: { ...process.env, DUO_MUTANT: String(number) },
      ...(first ? { until: /^FAILED/m } : {}),
    });
    // The second line of bash's times is the test's: user and system time.
    const times = /\n(\d+)m([\d.]+)s (\d+)m([\d.]+)s\n$/.exec(done.output)?.slice(1).map(Number);
    const signal = Object.entries(constants.signals).find(([, value]) => value === done.code - 128)?.[0] ?? done.signal;
    return { ...done, signal, seconds: times && 60 * (times[0] + times[2]) + times[1] + times[3] };
  }
}

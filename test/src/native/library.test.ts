// Finding and loading the library: each way it can be missing, in a process of its own because a process has one library.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findLibrary } from '../../../src/native/library.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-library-'));
afterAll(() => rmSync(folder, { recursive: true }));

function tryLoad(path: string): string {
  const script = `import('./src/native/library.ts').then(({ loadLibrary }) => loadLibrary()).catch((error) => console.log(error.name + ': ' + error.message))`;
  const { stdout } = spawnSync(process.execPath, ['--import', 'tsx', '-e', script], {
    encoding: 'utf8',
    env: { ...process.env, DUO_NATIVE_LIBRARY: path },
  });
  return stdout.trim();
}

describe('findLibrary', () => {
  it('names what was tried and what to do', () => {
    const missing = join(folder, 'libduo.so');
    expect(findLibrary(missing)).toEqual({
      path: null,
      reason: `Expected the native library at ${missing}, found none; build it with \`duo build\`, or use --engine tensorflow`,
    });
  });

  it('looks beside the package where nothing is named', () => {
    const { path, reason } = findLibrary();
    expect(`${path}${reason}`).toMatch(/kernels\/build\/libduo\./);
  });
});

describe('loadLibrary', () => {
  it('fails with one sentence where the named file is absent', () => {
    const path = join(folder, 'absent.so');
    expect(tryLoad(path)).toBe(
      `EngineError: Expected the native library at ${path}, found none; build it with \`duo build\`, or use --engine tensorflow`,
    );
  });

  it('fails with one sentence where the file is no library', () => {
    const path = join(folder, 'text.so');
    writeFileSync(path, 'no library');
    expect(tryLoad(path)).toMatch(/^EngineError: Expected to load the native library .*text\.so: .*; build it with/);
  });
});

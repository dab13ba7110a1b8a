// Commands, engines and heavy packages are loaded when they are used: what is loaded says so, whatever the machine's speed.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { buildMask } from '../../../export/build-mask.ts';
import { COMMANDS } from '../../../src/cli/commands.ts';
import { writeMask } from '../../../src/formats/mask.ts';
import { makeGatesFile } from '../../export/gates-fixture.ts';
import { describeNative } from '../../reference/native-library.ts';
import { listLoadedModules } from './loaded-modules.ts';
import { GOLDEN_MODEL, makeFolder, ROOT } from './run-duo.ts';

const DUO = join(ROOT, 'bin/duo.js');
const ENTRY = join(ROOT, 'dist/src/index.js');
const commandFiles = (own: readonly string[]): string[] =>
  COMMANDS.map(({ name }) => `src/cli/${name}`).filter((file) => own.includes(file));

describe('what is loaded', () => {
  it.each([[['--version']], [['--help']], [[]]])('by duo %j: the parser alone', (args) => {
    const { packages, own } = listLoadedModules([DUO, ...args]);
    expect(packages).toEqual(['commander']);
    expect(own).toContain('src/cli/main');
    expect(commandFiles(own)).toEqual([]);
  });

  it('by the help of a command: its own file, in words that the list of commands has too', () => {
    const { packages, own, stdout } = listLoadedModules([DUO, 'export', '--help']);
    expect(commandFiles(own)).toEqual(['src/cli/export']);
    expect(packages).not.toContain('koffi');
    expect(stdout).toContain('cut gates.json into a head mask');
    expect(stdout).toContain('--threshold');
  });

  it('by a program that reads a mask: neither TensorFlow.js nor the FFI, the Hub, the report', () => {
    const folder = makeFolder();
    const mask = join(folder, 'mask.json');
    const window = { sinkTokens: 1, recentTokens: 2 };
    writeMask(mask, buildMask({ gates: makeGatesFile([[0.25, 0.75]]), cut: { threshold: 0.5 }, window }).file);
    const script = join(folder, 'read.mjs');
    const [entry, path] = [JSON.stringify(ENTRY), JSON.stringify(mask)];
    writeFileSync(script, `import { readMask } from ${entry}; console.log(readMask(${path}).sink);`);
    const { packages, own, stdout } = listLoadedModules([script]);
    expect(stdout).toBe('1\n');
    expect(own).toContain('src/formats/mask');
    for (const heavy of ['koffi', 'undici', '@huggingface/hub', 'linkedom', '@observablehq/plot', 'hyparquet']) {
      expect(packages).not.toContain(heavy);
    }
    expect(packages.filter((name) => name.startsWith('@tensorflow/'))).toEqual([]);
    expect(own.filter((file) => file.startsWith('src/model/transformer/'))).toEqual([]);
  });

  it.each(['mask', 'samples'])(
    'by the entry %s: no engine, no model, no tokenizer, and no package but zod',
    (entry) => {
      const folder = makeFolder();
      const script = join(folder, 'load.mjs');
      const path = JSON.stringify(join(ROOT, `dist/src/${entry}.js`));
      writeFileSync(script, `import * as all from ${path}; console.log(Object.keys(all).length > 5);`);
      const { packages, own, stdout } = listLoadedModules([script]);
      expect(stdout).toBe('true\n');
      expect(packages).toEqual(['zod']);
      expect(own).toContain(`src/${entry}`);
      const heavy = /^(src\/(engine|native|text|hub|runtime|eval|report|cli)|train|data-gen|identify)\//;
      expect(own.filter((file) => heavy.test(file))).toEqual([]);
    },
  );
});

describeNative('what is loaded with the native library', () => {
  it('by duo run on the native engine: the FFI and no TensorFlow.js', () => {
    const prompt = ['--prompt', 'a', '--max-new-tokens', '1'];
    const { code, packages } = listLoadedModules([
      DUO,
      'run',
      '--model',
      GOLDEN_MODEL,
      '--engine',
      'native',
      ...prompt,
    ]);
    expect(code).toBe(0);
    expect(packages).toContain('koffi');
    expect(packages.filter((name) => name.startsWith('@tensorflow/'))).toEqual([]);
  });
});

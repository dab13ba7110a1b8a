// The programs of examples/ and of the README, as a stranger has them: compiled strictly against the packed package, and run.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { buildMask } from '../../export/build-mask.ts';
import { writeGates } from '../../src/formats/gates.ts';
import { readMask, writeMask } from '../../src/formats/mask.ts';
import { makeGatesFile } from '../export/gates-fixture.ts';
import { ROOT } from '../src/cli/run-duo.ts';
import { compile, installPacked, runProgram } from './packed.ts';

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const examples = readdirSync(join(ROOT, 'examples')).filter((name) => name.endsWith('.ts'));
const blocks = [...read('README.md').matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, text]) => text as string);
const folder = installPacked();
const programs = Object.fromEntries([
  ...examples.map((name) => [name, read(`examples/${name}`)] as const),
  ...blocks.map((text, index) => [`readme-${index}.ts`, text] as const),
]);
const said = compile(folder, programs);

describe('programs that use the packed package', () => {
  it('are all compiled under strict, with every declaration of the package checked', () => {
    expect(said).toBe('');
    expect(examples.sort()).toEqual(['identify.ts', 'read-mask.ts']);
    expect(blocks).toHaveLength(2);
  });

  it('would not be, were a type of the package wrong', () => {
    const wrong =
      "import { identify } from 'duo-heads';\nexport const result = await identify({ model: 3, stepz: 1 });\n";
    expect(compile(folder, { 'wrong.ts': wrong })).toMatch(/wrong\.ts\(2,.*error TS2/);
  });

  it.each(['identify.js', 'readme-0.js'])('%s identifies, cuts, runs and prints', (program) => {
    const { code, stdout, stderr } = runProgram(folder, [program]);
    expect(stderr).not.toContain('Error');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^full: 100\.0 % of the /m);
    expect(stdout).toMatch(/^given: \d+\.\d % of the /m);
    expect(stdout).toMatch(/kvBytes|KV cache: \d+ of \d+ bytes/);
  });

  it('readme-1 cuts gates into a mask without an engine', () => {
    writeGates(join(folder, 'gates.json'), makeGatesFile([[0.25, 0.75]]));
    const { code, stdout, stderr } = runProgram(folder, ['readme-1.js']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^50\.6 % of the KV cache at 32K tokens$/m);
    expect(readMask(join(folder, 'half.json'))).toMatchObject({ sink: 128, recent: 256, mask: [[0, 1]] });
  });

  it('find every entry of the package, and nothing beside them', () => {
    const entries = Object.keys(JSON.parse(read('package.json')).exports as object);
    expect(entries).toEqual(['.', './mask', './samples', './package.json']);
    const load = entries.slice(0, -1).map((entry) => `import * as e${entry.length} from 'duo-heads${entry.slice(1)}';`);
    const show = entries.slice(0, -1).map((entry) => `console.log(Object.keys(e${entry.length}).length > 5);`);
    expect(compile(folder, { 'entries.ts': [...load, ...show].join('\n') })).toBe('');
    expect(runProgram(folder, ['entries.js'])).toMatchObject({ code: 0, stdout: 'true\ntrue\ntrue\n' });
    const inside = "import { readMask } from 'duo-heads/dist/src/formats/mask.js';\nconsole.log(readMask);";
    expect(compile(folder, { 'inside.ts': inside })).toMatch(/error TS2307/);
    expect(runProgram(folder, ['inside.js']).stderr).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED');
  });

  it('read-mask.ts says what a mask keeps, and gives the code of an error', () => {
    const mask = join(folder, 'mask.json');
    const window = { sinkTokens: 1, recentTokens: 2 };
    writeMask(mask, buildMask({ gates: makeGatesFile([[0.25, 0.75]]), cut: { threshold: 0.5 }, window }).file);
    expect(runProgram(folder, ['read-mask.js', mask])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('50.0 % of the KV cache at 32768 tokens'),
    });
    const absent = runProgram(folder, ['read-mask.js', 'absent.json']);
    expect(absent).toMatchObject({ code: 1, stderr: expect.stringMatching(/^ERR_FILE: .*absent\.json/) });
  });
});

// duo identify with the long-range objective on the demo model, in texts of the demo's own words: both methods, the column of kept gain, what
// run.json and gates.json say, the same bytes after a stop, and what is refused.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readGates } from '../../../src/formats/gates.ts';
import { openTokenizer } from '../../../src/text/tokenizer.ts';
import { answerOf } from './in-process.ts';
import { ROOT } from './run-duo.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-objective-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (name: string): string => join(scratch, name);
const identify = (...flags: string[]) => answerOf('identify', '--model', 'demo', ...flags);
const RUN = ['--documents', at('texts.jsonl'), '--held-out-samples', '0'];
const QUADRATIC = ['--method', 'quadratic', '--quadratic-samples', '2'];

beforeAll(async () => {
  await answerOf('generate', '--model', 'demo', '--count', '48', '--seed', '5', '--out', at('passkeys.jsonl'));
  const tokenizer = openTokenizer(join(ROOT, 'models/demo'));
  const lines = readFileSync(at('passkeys.jsonl'), 'utf8').trimEnd().split('\n');
  const texts = lines.map((line) => tokenizer.decode((JSON.parse(line) as { tokens: number[] }).tokens.slice(1)));
  writeFileSync(at('texts.jsonl'), texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
});

/** Of the six retrieval heads, those in the demo's second layer, where recall lives. */
const countRecalling = (name: string): number => {
  const { mask } = JSON.parse(readFileSync(at(`${name}/mask.json`), 'utf8')) as { mask: number[][] };
  expect(mask.flat().filter((label) => label === 1)).toHaveLength(6);
  return (mask[1] as number[]).filter((label) => label === 1).length;
};

describe('duo identify --objective', () => {
  it('both: finds the heads by passkeys and long-range tokens, and shows the kept gain of every mask', async () => {
    const table = ['--held-out-samples', '8', '--documents', at('texts.jsonl')];
    const { code, stdout, stderr } = await identify('--objective', 'both', ...QUADRATIC, ...table, '--out', at('both'));
    expect(stderr).toMatch(/^duo: \d+ of 255 tokens \(\d+\.\d\d %\) are long-range; 0 windows without any/m);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^mask +answer tokens right +95 % interval +log-prob +kept gain +95 % interval +heads/m);
    expect(stdout).toMatch(/^full .* 100\.0 % +100\.0 to 100\.0 +0\.0 %$/m);
    expect(stdout).toMatch(/^streaming .* 0\.0 % +0\.0 to 0\.0 +100\.0 %$/m);
    const { results, inputs } = JSON.parse(readFileSync(at('both/run.json'), 'utf8')) as {
      results: { longRange: { tokens: number }; keptGain: { mask: string; keptGain: number }[] };
      inputs: Record<string, unknown>;
    };
    expect(results.longRange.tokens).toBe(255);
    const kept = new Map(results.keptGain.map(({ mask, keptGain }) => [mask, keptGain]));
    expect(kept.get('given')).toBeGreaterThan(0.9);
    expect(kept.get('random-1')).toBeLessThan(0.7);
    expect(inputs).toMatchObject({ documents: at('texts.jsonl') });
    expect(readGates(at('both/gates.json')).provenance).toMatchObject({ config: { objective: 'both' } });
    expect(countRecalling('both')).toBeGreaterThanOrEqual(5);
  });

  it('long-range: both methods find the layer that recalls, the same bytes twice', async () => {
    for (const [name, ...method] of [
      ['quadratic', ...QUADRATIC],
      ['gates', '--steps', '24', '--lr', '0.1'],
    ] as const) {
      const flags = ['--objective', 'long-range', '--method', name, ...method, ...RUN];
      const [first, second] = [`${name}-1`, `${name}-2`];
      expect((await identify(...flags, '--out', at(first))).code).toBe(0);
      expect(countRecalling(first)).toBeGreaterThanOrEqual(5);
      expect((await identify(...flags, '--out', at(second))).code).toBe(0);
      for (const file of ['gates.json', 'mask.json'])
        expect(readFileSync(at(`${second}/${file}`))).toEqual(readFileSync(at(`${first}/${file}`)));
    }
  });

  it('distance: says what measured, KL of long-range samples unless told otherwise, and other gates by it', async () => {
    const provenanceOf = (name: string) => readGates(at(`${name}/gates.json`)).provenance as Record<string, never>;
    for (const distance of ['kl', 'hidden', 'auto']) {
      const flags = ['--objective', 'both', ...QUADRATIC, '--windows', '32,64', '--distance', distance];
      expect((await identify(...flags, ...RUN, '--out', at(distance))).code).toBe(0);
      expect(provenanceOf(distance)).toMatchObject({ config: { distance }, quadratic: { distance } });
      expect(provenanceOf(distance).balance).toBeGreaterThan(0);
      expect(countRecalling(distance)).toBeGreaterThanOrEqual(5);
    }
    const effects = (name: string): unknown => readGates(at(`${name}/gates.json`)).ladder?.effects;
    expect(effects('kl')).not.toEqual(effects('hidden'));
    expect(effects('auto')).not.toEqual(effects('hidden'));
    const gates = ['--objective', 'both', '--method', 'gates', '--steps', '4', ...RUN, '--out', at('scaled')];
    expect((await identify(...gates)).code).toBe(0);
    const { lossScales, config } = provenanceOf('scaled') as unknown as Record<string, Record<string, unknown>>;
    expect(lossScales).toMatchObject({ plain: 1 });
    expect(lossScales?.long).not.toBe(1);
    expect(config?.distance).toBe('auto');
    const other = await identify(...gates, '--resume', '--distance', 'hidden');
    expect(other.stderr).toContain('Expected --resume to keep the run');
    expect(other.code).toBe(2);
  });

  it('distance: without KL divergences auto is hidden and said to be, and KL refused', async () => {
    const engine = ['--engine', 'tensorflow', '--objective', 'long-range', '--method', 'gates', '--steps', '1'];
    const { code, stderr } = await identify(...engine, ...RUN, '--out', at('tf'));
    expect(stderr).toContain('long-range samples are measured by hidden states, because engine tensorflow has no KL');
    expect(code).toBe(0);
    expect(readGates(at('tf/gates.json')).provenance).toMatchObject({ config: { distance: 'hidden' } });
    const refused = await identify(...engine, '--distance', 'kl', ...RUN, '--out', at('tf-kl'));
    expect(refused.stderr).toContain('Expected an engine that measures KL divergences for `distance` kl');
    expect(refused.code).toBe(2);
  });

  it('says why there is no kept gain, and keeps the rest of the table', async () => {
    const texts = readFileSync(at('texts.jsonl'), 'utf8').split('\n').slice(0, 2);
    const short = texts.map((line) =>
      JSON.stringify({ text: (JSON.parse(line) as { text: string }).text.slice(0, 300) }),
    );
    writeFileSync(at('few.jsonl'), short.join('\n'));
    const few = ['--held-out-samples', '1', '--documents', at('few.jsonl'), '--quadratic-samples', '1'];
    const { code, stdout, stderr } = await identify('--method', 'quadratic', ...few, '--out', at('few'));
    expect(code).toBe(0);
    expect(stderr).toMatch(/no kept gain in the closing table: Expected 255 tokens of text held out in .*found \d+/);
    expect(stdout).toMatch(/^mask +answer tokens right +95 % interval +log-prob +heads streaming$/m);
  });

  it.each([
    [['--samples', 's.jsonl', '--objective', 'both'], 'Expected --samples or --objective, got both'],
    [['--objective', 'both', '--method', 'quadratic', '--quadratic-samples', '1'], 'Expected at least 2 samples'],
    [['--objective', 'long-range', '--recent', '300'], 'Expected long-range samples of at least 310 tokens'],
    [['--method', 'attention-mass', '--distance', 'kl'], 'Expected --distance only with method gates or quadratic'],
    [['--distance', 'far'], 'Expected `--distance` to be one of "hidden", "kl", "auto"'],
    [['--objective', 'needles'], 'Expected `--objective` to be one of "passkey", "long-range", "both"'],
  ])('%j is wrong usage', async (flags, sentence) => {
    const { code, stderr } = await identify(...flags, '--out', at('refused'));
    expect(stderr).toContain(sentence);
    expect(code).toBe(2);
  });
});

// The report: what it holds of a whole run, what it says of a partial one, what it refuses, and that nothing of a file becomes markup.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { countKvBytes } from '../../../src/core/kv-cost.ts';
import { FileError, FormatError } from '../../../src/errors/errors.ts';
import { buildReport, type Report } from '../../../src/report/report.ts';
import { readRunFolder } from '../../../src/report/run-data.ts';
import { describeSummary } from '../../../src/report/summary.ts';
import { makeFolder, runDuo } from '../cli/run-duo.ts';
import { type FixtureOptions, writeRunFixture } from './run-fixture.ts';

const build = (folder: string): Report => buildReport(readRunFolder(folder), { countKvBytes });
const buildFixture = (options: FixtureOptions = {}): Report => build(writeRunFixture(options));
const named = (report: Report, name: string): string => report.files.find((file) => file.name === name)?.text ?? '';

describe('report of a whole run', () => {
  const folder = writeRunFixture();
  const report = build(folder);

  it('draws every figure and writes every table', () => {
    const names = report.files.map(({ name }) => name);
    const figures = ['gate-map', 'gate-histogram', 'gate-course', 'recall', 'needle-niah-full', 'needle-niah-given'];
    const more = [
      'budget-multi-passkey-4096',
      'kv-memory',
      'decode-speed',
      'loss-distillation',
      'loss-objective',
      'methods',
    ];
    expect(names.filter((name) => name.endsWith('.svg'))).toEqual([...figures, ...more].map((name) => `${name}.svg`));
    expect(new Set(names).size).toBe(names.length);
    expect(report.missing).toEqual([]);
  });

  it('tells each gate and its label in the map and in the CSV', () => {
    const { gates, mask } = JSON.parse(readFileSync(join(folder, 'mask.json'), 'utf8')) as Record<string, number[][]>;
    const label = mask?.[2]?.[3] === 1 ? 'retrieval' : 'streaming';
    const gate = gates?.[2]?.[3] as number;
    expect(report.html).toContain(`layer 2, KV head 3: gate ${gate.toFixed(3)}, ${label}`);
    expect(named(report, 'gates.csv').split('\n')[1 + 2 * 4 + 3]).toBe(`2,3,${gate},${label}`);
  });

  it('saves what the mask says, by hand', () => {
    const { mask } = JSON.parse(readFileSync(join(folder, 'mask.json'), 'utf8')) as { mask: number[][] };
    const share = mask.flat().reduce((a, b) => a + b, 0) / 16;
    const at32k = (1 - share) * (1 - 80 / 32_768);
    expect(report.summary.savings[0]?.saved).toBeCloseTo(at32k, 12);
    expect(report.html).toContain(`<b>${(100 * at32k).toFixed(1)} %</b>`);
  });

  it('asks nothing of a network and is the same bytes again', () => {
    const addresses = [...report.html.matchAll(/(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)/g)].map(
      (match) => match[1],
    );
    for (const address of addresses) expect(address).toMatch(/^(#|data:)/);
    expect(report.html.replaceAll('http://www.w3.org/', '')).not.toMatch(/https?:\/\//);
    expect(build(folder)).toEqual(report);
  });

  it('leaves no colour variable in files that stand alone', () => {
    for (const { name, text } of report.files) expect(text, name).not.toContain('var(');
  });

  it('says the headline in words', () => {
    expect(describeSummary(report.summary).at(-1)).toBe(
      'Recall (closing table): full 98.0 % (92.0–100.0 %), mask 97.0 % (91.0–100.0 %), 40 samples.',
    );
  });
});

describe('report of a mask with several windows', () => {
  const folder = writeRunFixture({ files: ['run', 'gates', 'mask'] });
  const path = join(folder, 'mask.json');
  const { schema, model, sink, gates, provenance } = JSON.parse(readFileSync(path, 'utf8'));
  const windows = [
    [null, 64, 64, 256],
    [64, 1024, null, 64],
    [64, 64, 64, 64],
    [256, 64, 1024, 64],
  ];
  const cut = { ladder: [64, 256, 1024], kvShare: 0.25, atTokens: 8192, predictedLoss: 0.5, lossBound: null };
  const file = { schema, version: 2, model, sink, windows, ...cut, gates, provenance };
  writeFileSync(path, JSON.stringify(file));
  const report = build(folder);

  it('draws them as shades, each head with its window, in the page and in the CSV', () => {
    expect(report.files.map(({ name }) => name)).toContain('window-map.svg');
    expect(report.html).toContain('layer 1, KV head 1: 1024 nearest tokens');
    expect(report.html).toContain('layer 1, KV head 2: whole context');
    const shade = (head: number) =>
      new RegExp(`ramp-(\\d+)\\)"[^>]*aria-label="layer 1, KV head ${head}:`).exec(report.html)?.[1];
    expect([0, 1, 2].map(shade).map(Number)).toEqual(
      [0, 1, 2]
        .map(shade)
        .map(Number)
        .sort((a, b) => a - b),
    );
    expect(new Set([0, 1, 2].map(shade)).size).toBe(3);
    expect(named(report, 'gates.csv').split('\n')[0]).toBe('layer,KV head,gate,head,window');
    expect(named(report, 'gates.csv').split('\n')[1 + 4 + 1]).toMatch(/^1,1,[\d.]+,streaming,1024$/);
  });

  it('says windows and the KV share at the length of the cut', () => {
    expect(report.html).toContain(
      '2 of 16 KV heads see the whole context, 2 the 1024 nearest tokens, 2 the 256 nearest, 10 the 64 nearest; all see 16 sink tokens.',
    );
    // (2 · 8192 + 2 · 1040 + 2 · 272 + 10 · 80) / (16 · 8192)
    expect(describeSummary(report.summary)).toContain('KV share: 15.1 % at 8K tokens.');
    expect(report.html).toContain('<b>15.1 %</b>');
  });

  it('draws no line of a cut through the gates', () => {
    expect(report.html).not.toContain('The line is where the mask cuts');
  });
});

describe('report of a mask that was cut by ranks, inside a tie', () => {
  const folder = writeRunFixture({ files: ['run', 'gates', 'mask'] });
  const path = join(folder, 'mask.json');
  const file = JSON.parse(readFileSync(path, 'utf8'));
  const report = (change: object): Report => {
    writeFileSync(path, JSON.stringify({ ...file, ...change }));
    return build(folder);
  };

  it('says so, shows ranks beside gates and draws no line through the gates', () => {
    const ranked = report({ ranks: file.mask });
    expect(ranked.html).toContain('Heads were kept by rank, the order in which they close');
    expect(ranked.html).not.toContain('The line is where the mask cuts');
    expect(named(ranked, 'gates.csv').split('\n')[0]).toBe('layer,KV head,gate,"rank, 0 closes first",head');
    expect(report({}).html).toContain('The line is where the mask cuts');
  });

  it('says how many labels a tie decided', () => {
    const sentence = 'The labels of 5 heads with equal gates were decided by (layer, head) order';
    expect(report({ provenance: { ...file.provenance, tieDecided: 5 } }).html).toContain(sentence);
    expect(report({}).html).not.toContain('with equal gates');
  });
});

describe('report of a partial run', () => {
  it('leaves out what is absent and names the command that makes it', () => {
    const report = buildFixture({ files: ['run'] });
    const titles = ['Heads', 'Held-out tasks', 'Memory', 'Speed', 'Optimisation', 'Methods compared'];
    expect(report.missing.map(({ title }) => title)).toEqual(titles);
    for (const { command } of report.missing)
      if (command !== null) expect(command).toMatch(/^duo (identify|eval|export|bench) /);
    for (const title of titles) expect(report.html).toContain(`<b>${title}</b> is left out`);
  });

  it('makes do with metrics, or with gates of one head', () => {
    expect(buildFixture({ files: ['metrics'] }).html).toContain('id="optimisation"');
    const single = buildFixture({ layers: 1, kvHeads: 1, files: ['gates'] });
    expect(single.html).toContain('id="heads"');
    expect(single.html).not.toMatch(/NaN|undefined|Infinity/);
  });
});

describe('what a run was made of', () => {
  const withRun = (change: { identity?: object; config?: object }, options: FixtureOptions = {}): Report => {
    const folder = writeRunFixture(options);
    const path = join(folder, 'run.json');
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }));
    return build(folder);
  };
  const caption = (config: object): string =>
    /id="figure-loss-distillation"><figcaption><h3>.*?<\/h3><p>(.*?)<\/p>/s.exec(withRun({ config }).html)?.[1] ?? '';

  it('says what the loss of a step is', () => {
    expect(caption({})).toMatch(/^Mean squared difference of the hidden states/);
    expect(caption({ distance: 'auto', objective: 'passkey' })).toMatch(/^Mean squared difference/);
    expect(caption({ distance: 'kl' })).toMatch(/^KL divergence of the gated/);
    expect(caption({ distance: 'auto', objective: 'both' })).toMatch(/^Mean squared .*, of long-range samples KL/);
  });

  it('offers no steps to a method that has none, and names the demo in commands as its tasks want it', () => {
    const model = join(import.meta.dirname, '../../../models/demo');
    const { missing } = withRun({ identity: { method: 'quadratic' } }, { model, files: ['run', 'gates', 'mask'] });
    expect(missing).toContainEqual({ title: 'Optimisation', reason: 'method quadratic has no steps', command: null });
    const tasks = missing.find(({ title }) => title === 'Held-out tasks');
    expect(tasks?.command).toMatch(/^duo eval --model demo --mask /);
  });
});

describe('report input', () => {
  it('escapes what files say, in page, attributes and title', () => {
    const report = buildFixture({ model: '/m/<script>alert("1")</script>&\'' });
    expect(report.html).not.toContain('<script>alert');
    expect(report.html.match(/<script>/g)).toHaveLength(1);
    const hostile = writeRunFixture({ files: ['results'] });
    const path = join(hostile, 'results.json');
    writeFileSync(path, readFileSync(path, 'utf8').replaceAll('"niah"', '"<img src=x onerror=alert(1)>"'));
    expect(build(hostile).html).not.toContain('<img');
    expect(build(hostile).files.every(({ name }) => /^[\w-]+\.(svg|csv)$/.test(name))).toBe(true);
  });

  it('refuses what is no run folder', () => {
    expect(() => readRunFolder('/nowhere/run')).toThrow(FileError);
    expect(() => readRunFolder(makeFolder())).toThrow(/found none; name the folder that identify wrote/);
  });

  it.each([
    ['gates.json', '{"schema": "duo.gates"', /gates\.json to hold JSON/],
    ['mask.json', '{"schema": "duo.gates"}', /`schema` in .*mask\.json/],
    ['metrics.jsonl', '{"step": -1}\n', /`step` in line 1 of .*metrics\.jsonl/],
    ['results.json', '{"schema": "duo.results", "version": 1, "rows": [{}]}', /`rows\[0\]\.task` in .*results\.json/],
    ['bench.json', '{"model": 1}', /`model` in .*bench\.json/],
  ])('names the malformed %s and the place', (name, text, message) => {
    const folder = writeRunFixture();
    writeFileSync(join(folder, name), text);
    expect(() => readRunFolder(folder)).toThrow(FormatError);
    expect(() => readRunFolder(folder)).toThrow(message);
  });

  it('refuses a malformed closing table, and files of two models', () => {
    const folder = writeRunFixture();
    const run = join(folder, 'run.json');
    writeFileSync(run, readFileSync(run, 'utf8').replace('"accuracy": 0.98', '"accuracy": 98'));
    expect(() => readRunFolder(folder)).toThrow(/`results\.heldOut\[0\]\.accuracy` in .*run\.json/);
    const mixed = writeRunFixture();
    const mask = join(mixed, 'mask.json');
    writeFileSync(mask, readFileSync(mask, 'utf8').replace('sha256:0123', 'sha256:9999'));
    expect(() => readRunFolder(mixed)).toThrow(/belong to different models/);
  });
});

describe('duo report', () => {
  it('writes the page, the figures and the tables', async () => {
    const folder = writeRunFixture();
    const { code, stdout, stderr } = await runDuo(['report', folder]);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(stdout).toContain('KV heads stream');
    expect(readFileSync(join(folder, 'report.html'), 'utf8')).toBe(build(folder).html);
    expect(readdirSync(join(folder, 'report-files'))).toContain('gate-map.svg');
  });
});

// What is said of the noise floor: identify tells it of its mask and keeps it in gates.json and run.json, export of any other cut.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readGates } from '../../../src/formats/gates.ts';
import { readNoise } from '../../../src/formats/noise.ts';
import { makeFolder, runDuo } from './run-duo.ts';

describe('the noise floor of a quadratic measurement', () => {
  it('is told with the mask, kept in both files, and warns where rounding decides a cut', async () => {
    const folder = makeFolder();
    const out = join(folder, 'run');
    const flags = ['--method', 'quadratic', '--quadratic-samples', '1', '--held-out-samples', '0', '--out', out];
    const { code, stderr } = await runDuo(['identify', '--model', 'demo', '--engine', 'tensorflow', ...flags]);
    expect(code).toBe(0);
    const told =
      /^The effect of (\d+) heads is below the noise floor of this measurement \(\d\.\de-1\d\); no label/m.exec(stderr);
    const path = join(out, 'gates.json');
    const noise = readNoise(readGates(path).provenance, path);
    expect(noise?.floor).toBeGreaterThan(0);
    // The demo's first layer sees one token at a time: its heads do nothing.
    expect(noise?.below.length).toBeGreaterThan(1);
    expect(noise?.below.every(([layer]) => layer === 0)).toBe(true);
    expect(told?.[1]).toBe(String(noise?.below.length));
    const run = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as { results: { noise: object } };
    expect(run.results.noise).toEqual({
      floor: noise?.floor,
      below: noise?.below.length,
      decided: 0,
      of: 6,
      isLarge: false,
    });

    const cut = await runDuo([
      'export',
      '--gates',
      path,
      '--streaming-fraction',
      '0.1',
      '--out',
      join(folder, 'm.json'),
    ]);
    expect(cut.stderr).toMatch(/^Warning: The effect of \d+ heads is below .* of the 3 labels of the smaller class/m);
  });
});

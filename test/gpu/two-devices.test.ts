// Cards of one kind give the same bytes: each alone, and both sharing the samples of one identification. Skipped by name where there are not two.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { identify } from '../../identify/identify.ts';
import { DEVICE, describeGpu, listAlike } from './device.ts';

describeGpu('two cards of one kind', () => {
  const [, other] = listAlike();
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'duo-gpu-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** The gates of the demo, without what names the run's own device. */
  async function identifyOn(device: string): Promise<unknown> {
    const out = join(folder, device.replaceAll(/[:,]/g, ''));
    const config = { method: 'quadratic', quadraticSamples: 4, heldOutSamples: 0 } as const;
    await identify({ model: 'demo', device, out, config });
    const { gates, path, provenance } = JSON.parse(readFileSync(join(out, 'gates.json'), 'utf8'));
    return { gates, path, noise: provenance.noise };
  }

  test.skipIf(other === undefined)(
    'give the same gates, alone and together',
    async () => {
      const first = await identifyOn(DEVICE);
      expect(await identifyOn(other as string)).toEqual(first);
      expect(await identifyOn(`${DEVICE},${other}`)).toEqual(first);
    },
    300_000,
  );
});
